package sensor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// changes are what a package's changelog lists between two versions.
type changes struct {
	cves    []string // nil if not known
	urgency string
	fixed   []Vulnerability // what advisories add
}

// changesOf reads what changed in a package since the loaded version.
func (sc *scan) changesOf(ctx context.Context, pk *packages, p owner.Package, loaded string) changes {
	key := span{p, loaded}
	if ch, ok := pk.cves[key]; ok {
		return ch
	}
	var ch changes
	var log owner.Changelog
	err := owner.ErrNoChangelog
	if pk.db != nil {
		log, err = pk.db.Changelog(p, loaded)
	}
	switch {
	case errors.Is(err, owner.ErrNoChangelog):
		// Not known, which the report shows as null.
	case err != nil:
		sc.warnings.add(pk.name, err, "")
	default:
		ch = summarise(log)
	}
	sc.advise(ctx, pk, p, loaded, &ch)
	pk.cves[key] = ch
	return ch
}

// urgencies, least first (Debian policy 5.6.17).
var urgencies = []string{"", "low", "medium", "high", "emergency", "critical"}

func summarise(log owner.Changelog) changes {
	var ch changes
	seen := make(map[string]bool)
	for _, e := range log.Entries {
		if slices.Index(urgencies, e.Urgency) > slices.Index(urgencies, ch.urgency) {
			ch.urgency = e.Urgency
		}
		for _, cve := range e.CVEs {
			if !seen[cve] {
				seen[cve] = true
				ch.cves = append(ch.cves, cve)
			}
		}
	}
	if ch.urgency == "critical" {
		ch.urgency = "emergency" // the two are the same word in Debian
	}
	if ch.cves == nil && log.Complete {
		ch.cves = []string{}
	}
	slices.Sort(ch.cves)
	return ch
}

// loadedVersion says which version of a package a process runs, given one of its
// files, and how that is known. Of a file that was written over only its history tells:
// whatever it says of itself now is not what was loaded.
func (sc *scan) loadedVersion(ctx context.Context, pk *packages, p owner.Package, j judgement) (string, Evidence) {
	c, started := j.class, j.facts.Started
	if r := j.verdict.Reason; r != Overwritten && r != Unverified && !c.facts.CopiedUp {
		if version, evidence := sc.versionOfFile(ctx, p, c); version != "" {
			return version, evidence
		}
	}
	// The inode's ctime is the moment at which the old file lost its last
	// name, as long as it has none.
	var replaced time.Time
	if c.file.known && c.file.info.Nlink == 0 {
		replaced = c.file.info.Ctime
	}
	version, ok := owner.LoadedVersion(sc.historyOf(pk, p), p.Name, p.Arch, p.Version, started, replaced)
	if !ok {
		return "", EvidenceUnknown
	}
	return version, History
}

// versionOfFile is the version of a package that a mapped file is of, as far as the file
// itself leads to it.
func (sc *scan) versionOfFile(ctx context.Context, p owner.Package, c *class) (string, Evidence) {
	if sc.mem != nil && c.file.known {
		if k := sc.mem.recall(ctx, c.file.info); k != nil && k.Manager == p.Manager && k.Name == p.Name && k.Arch == p.Arch {
			return k.Version, Observed
		}
	}
	if version := sc.embedded(ctx, p, c); version != "" {
		return version, Embedded
	}
	if version := sc.matched(ctx, p, c); version != "" {
		return version, Matched
	}
	return "", EvidenceUnknown
}

// historyOf are the changes of a package, oldest first.
func (sc *scan) historyOf(pk *packages, p owner.Package) []owner.Change {
	if pk.history == nil {
		pk.history = make(map[nameArch][]owner.Change)
		history, err := pk.db.History()
		if err != nil {
			sc.warnings.add(pk.name, err, "")
		}
		for _, ch := range history {
			key := nameArch{ch.Name, ch.Arch}
			pk.history[key] = append(pk.history[key], ch)
		}
	}
	return pk.history[nameArch{p.Name, p.Arch}]
}

// embedded is the version that the mapped file itself names in .note.package
// (systemd's ELF package metadata). Debian writes the source package's name and
// version there, so it stands for this package only where the two versions agree.
func (sc *scan) embedded(ctx context.Context, p owner.Package, c *class) string {
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.PackageNote == nil {
		return ""
	}
	n := e.PackageNote
	if n.Type != "" && noteManager(n.Type) != p.Manager {
		return ""
	}
	installed, source := p.Version, p.SourceVersion
	version := n.Version
	if p.Manager == "rpm" {
		// rpm's notes leave the epoch out, which hardly ever changes.
		epoch, _, ok := strings.Cut(installed, ":")
		installed, source = withoutEpoch(installed), withoutEpoch(source)
		if ok && !strings.Contains(version, ":") && version != "" {
			version = epoch + ":" + version
		}
	}
	if n.Name == p.Name || (n.Name == p.Source && installed == source) {
		return version
	}
	return ""
}

// withoutEpoch is a version without what stands before its colon.
func withoutEpoch(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		return rest
	}
	return version
}
