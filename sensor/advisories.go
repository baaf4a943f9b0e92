package sensor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/advisory"
	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// DefaultAdvisories is the index of advisories that is used where there is one.
const DefaultAdvisories = "/var/lib/sensor/advisories.db"

// advisories is the index of advisories as it was at the beginning of a full scan.
type advisories struct {
	index *advisory.Index // nil if there is none
	file  os.FileInfo
}

// load opens the index, or anew if it is another one, and reports whether it is. An index
// that nobody named need not be there.
func (a *advisories) load(path string) (news bool, err error) {
	wanted := path != ""
	if !wanted {
		path = DefaultAdvisories
	}
	info, err := os.Stat(path)
	if err != nil {
		news = a.index != nil
		a.close()
		if errors.Is(err, fs.ErrNotExist) && !wanted || errors.Is(err, fs.ErrPermission) && !wanted {
			err = nil
		}
		return news, err
	}
	if a.index != nil && os.SameFile(info, a.file) && info.Size() == a.file.Size() && info.ModTime().Equal(a.file.ModTime()) {
		return false, nil
	}
	a.close()
	index, err := advisory.Open(path)
	if err != nil {
		return true, err
	}
	*a = advisories{index, info}
	return true, nil
}

func (a *advisories) close() {
	if a.index != nil {
		a.index.Close()
	}
	*a = advisories{}
}

// openAdvisories opens the index for this scan; a running sensor keeps it.
func (sc *scan) openAdvisories() {
	a := &sc.advisories
	if sc.mem != nil {
		a = &sc.mem.advisories
	}
	news, err := a.load(sc.opts.Advisories)
	if err != nil {
		sc.warnings.add(SubjectAdvisories, err, "import them with: sensor advisories import")
	}
	if sc.mem != nil {
		sc.advisories = sc.mem.advisories
		if news {
			sc.mem.forgetChanges()
		}
	}
}

// forgetChanges forgets what changed in packages.
func (m *memory) forgetChanges() {
	if m.host != nil {
		clear(m.host.cves)
	}
	for _, kept := range []map[string]*keptPackages{m.chains, m.images} {
		for _, k := range kept {
			clear(k.packages.cves)
		}
	}
}

// releaseOf is what a root says that its distribution is; the zero value if it does not.
func releaseOf(root tree) host.OSRelease {
	const maxRelease = 64 << 10
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		content, err := root.ReadFile(name, maxRelease)
		if err != nil {
			continue
		}
		release, _ := host.ParseOSRelease(strings.NewReader(string(content)))
		return release
	}
	return host.OSRelease{}
}

// advise adds to the changes of a package what the advisories say of them.
func (sc *scan) advise(ctx context.Context, pk *packages, p owner.Package, loaded string, ch *changes) {
	index := sc.advisories.index
	if index == nil {
		return
	}
	// That they list nothing does not say that there was nothing: a dump may be of a
	// part of a distribution's advisories, or cut short.
	found := sc.fixedBetween(ctx, pk, p, loaded)
	listed := make(map[string]bool)
	for _, v := range found {
		listed[v.ID] = true
		ch.fixed = append(ch.fixed, vulnerabilityOf(v))
		if strings.HasPrefix(v.ID, "CVE-") && !slices.Contains(ch.cves, v.ID) {
			ch.cves = append(ch.cves, v.ID)
		}
	}
	slices.Sort(ch.cves)
	// Of those that only the changelog names, the CVE's own record may be there.
	known, err := index.Known(ctx, ch.cves)
	if err != nil {
		sc.warnings.add(SubjectAdvisories, err, "")
		return
	}
	for _, cve := range ch.cves {
		if k, ok := known[cve]; ok && !listed[cve] {
			ch.fixed = append(ch.fixed, vulnerabilityOf(advisory.Vulnerability{ID: cve, Severity: k.Severity, Exploited: k.Exploited}))
		}
	}
	slices.SortFunc(ch.fixed, worseFirst)
}

// fixedBetween is what advisories say was fixed between the loaded and the installed
// version.
func (sc *scan) fixedBetween(ctx context.Context, pk *packages, p owner.Package, loaded string) (found []advisory.Vulnerability) {
	ecosystem, ok := advisory.Ecosystem(pk.release.ID, pk.release.VersionID, p.Manager)
	if !ok {
		return nil
	}
	names := []string{p.Source}
	if p.Manager == "rpm" && p.Name != p.Source {
		names = append(names, p.Name) // some name the packages that are built of it
	}
	installed := p.Version
	if p.SourceVersion != p.Version && p.Manager == "dpkg" {
		// Advisories count the source's versions. A package that is built anew has +bN
		// behind it; what numbers itself otherwise cannot be told.
		installed, loaded = withoutBuild(p.Version), withoutBuild(loaded)
		if installed != p.SourceVersion {
			return nil
		}
	}
	seen := make(map[string]bool)
	for _, name := range names {
		list, err := sc.advisories.index.Between(ctx, advisory.Query{Ecosystem: ecosystem, Package: name, Loaded: loaded, Installed: installed})
		if errors.Is(err, advisory.ErrNotCovered) {
			return nil
		}
		if errors.Is(err, advisory.ErrVersion) && (p.Manager == managerGo || p.Manager == managerCargo) {
			return nil // what was built without a version
		}
		if err != nil {
			sc.warnings.add(SubjectAdvisories, fmt.Errorf("package %s: %w", p.Name, err), "")
		}
		for _, v := range list {
			if !seen[v.ID] && !v.Undetermined {
				seen[v.ID] = true
				found = append(found, v)
			}
		}
	}
	return found
}

// withoutBuild is a Debian version without the number of a rebuild (+bN, see "binary-only
// upload" in Debian's developers' reference).
func withoutBuild(version string) string {
	at := strings.LastIndex(version, "+b")
	if at < 0 || at+2 == len(version) || strings.Trim(version[at+2:], "0123456789") != "" {
		return version
	}
	return version[:at]
}

func vulnerabilityOf(v advisory.Vulnerability) Vulnerability {
	out := Vulnerability{
		ID: text(v.ID), Severity: v.Severity.Rating, Score: v.Severity.Score, Vector: text(v.Severity.Vector),
		Fixed: text(v.Fixed), Exploited: v.Exploited,
	}
	for _, a := range v.Advisories {
		out.Advisories = append(out.Advisories, text(a))
	}
	return out
}

// severities, least first. What is not known may be anything, and stands last.
var severities = []string{"", "low", "medium", "high", "critical"}

func severityRank(s string) int { return slices.Index(severities, s) }

func worseFirst(a, b Vulnerability) int {
	switch {
	case a.Exploited != b.Exploited:
		if a.Exploited {
			return -1
		}
		return 1
	case a.Severity != b.Severity:
		return severityRank(b.Severity) - severityRank(a.Severity)
	case a.Score != b.Score:
		if a.Score > b.Score {
			return -1
		}
		return 1
	}
	return strings.Compare(a.ID, b.ID)
}

// weigh sums up how bad what a finding leaves open is.
func (f *Finding) weigh() {
	for i := range f.Packages {
		p := &f.Packages[i]
		for _, v := range p.Vulnerabilities {
			f.Exploited = f.Exploited || v.Exploited
			if severityRank(v.Severity) > severityRank(f.Severity) {
				f.Severity = v.Severity
			}
		}
	}
}
