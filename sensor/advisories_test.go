package sensor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/advisory"
	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// changelogDB is a package database of which only changelogs are asked.
type changelogDB struct {
	database
	log owner.Changelog
	err error
}

func (d changelogDB) Changelog(owner.Package, string) (owner.Changelog, error) { return d.log, d.err }

// Advisories add severities and what the changelog does not name, and never make "not
// known" an empty list.
func TestAdvise(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("tracker.json", `{"openssl": {
		"CVE-2026-0001": {"scope": "remote", "releases": {"bookworm": {"status": "resolved", "repositories": {"bookworm": "3.0.20-1"}, "fixed_version": "3.0.20-1", "urgency": "high"}}},
		"CVE-2026-0002": {"scope": "remote", "releases": {"bookworm": {"status": "resolved", "repositories": {"bookworm": "3.0.30-1"}, "fixed_version": "3.0.30-1", "urgency": "low"}}}}}`)
	write("cve.json", `{"schema_version": "1.6.0", "id": "CVE-2026-0003", "modified": "2026-01-01T00:00:00Z",
		"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}`)
	write("kev.json", `{"title": "CISA Catalog of Known Exploited Vulnerabilities", "catalogVersion": "2026.01.01", "dateReleased": "2026-01-01T00:00:00Z", "count": 1,
		"vulnerabilities": [{"cveID": "CVE-2026-0003", "vendorProject": "x", "product": "y"}]}`)
	index := filepath.Join(t.TempDir(), "advisories.db")
	if stats, err := advisory.Import(t.Context(), []string{dir}, index); err != nil || stats.Malformed > 0 {
		t.Fatalf("%+v, %v", stats, err)
	}
	fs, err := proc.NewFS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := file.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sc := newScan(New(Options{Advisories: index, Log: zap.NewNop()}), fs, root, SourceMaps, snapshot.BootTime(time.Now()))
	defer sc.close()
	sc.openAdvisories()
	m := managers()[0]
	pk := newPackages("/", m)
	pk.release.ID, pk.release.VersionID = "debian", "12"
	p := owner.Package{Manager: "dpkg", Name: "libssl3", Source: "openssl", Arch: "amd64", Version: "3.0.22-1", SourceVersion: "3.0.22-1"}
	noLog := changelogDB{err: owner.ErrNoChangelog}

	// From the changelog one that the tracker does not name, with what is known of it.
	pk.db = changelogDB{log: owner.Changelog{Entries: []owner.Entry{{Version: p.Version, CVEs: []string{"CVE-2026-0003"}}}}}
	ch := sc.changesOf(t.Context(), pk, p, "3.0.19-1")
	if len(ch.cves) != 2 || ch.cves[0] != "CVE-2026-0001" || ch.cves[1] != "CVE-2026-0003" {
		t.Errorf("CVEs %q", ch.cves)
	}
	if len(ch.fixed) != 2 || ch.fixed[0].ID != "CVE-2026-0003" || !ch.fixed[0].Exploited || ch.fixed[0].Severity != "critical" || ch.fixed[0].Score != 9.8 ||
		ch.fixed[1].ID != "CVE-2026-0001" || ch.fixed[1].Fixed != "3.0.20-1" {
		t.Errorf("fixed %+v", ch.fixed)
	}
	f := Finding{Packages: []Package{{Vulnerabilities: ch.fixed}}}
	if f.weigh(); !f.Exploited || f.Severity != "critical" {
		t.Errorf("finding %+v", f)
	}

	for _, c := range []struct {
		what, version, source, loaded, release string
		want                                   int // CVEs; -1 for not known
	}{
		{"between", "3.0.22-1", "3.0.22-1", "3.0.19-1", "12", 1},
		{"nothing fixed between", "3.0.22-1", "3.0.22-1", "3.0.21-1", "12", -1},
		{"built anew", "3.0.22-1+b2", "3.0.22-1", "3.0.19-1+b1", "12", 1},
		{"numbered otherwise", "5.1", "3.0.22-1", "5.0", "12", -1},
		{"no such release", "3.0.22-1", "3.0.22-1", "3.0.19-1", "99", -1},
		{"no release", "3.0.22-1", "3.0.22-1", "3.0.19-1", "", -1},
	} {
		pk := newPackages("/", m)
		pk.db, pk.release.ID, pk.release.VersionID = noLog, "debian", c.release
		p := p
		p.Version, p.SourceVersion = c.version, c.source
		ch := sc.changesOf(t.Context(), pk, p, c.loaded)
		if c.want < 0 && ch.cves != nil || c.want >= 0 && (ch.cves == nil || len(ch.cves) != c.want) {
			t.Errorf("%s: %#v, want %d", c.what, ch.cves, c.want)
		}
	}
	if w := sc.warnings.all(); len(w) > 0 {
		t.Errorf("warnings %+v", w)
	}
}

// An index that somebody named must be there; the usual one need not.
func TestAdvisoriesMissing(t *testing.T) {
	var a advisories
	if _, err := a.load(filepath.Join(t.TempDir(), "none.db")); err == nil {
		t.Error("a named index is missing, and nobody is told")
	}
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	if err := os.WriteFile(foreign, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := a.load(foreign); err == nil || a.index != nil {
		t.Error("a foreign file was taken for an index")
	}
}
