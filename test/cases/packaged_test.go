package cases

import (
	"os"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The versions of the lab's package libfoo1, of source foo, and what its
// changelogs say of each.
const (
	first  = "1.0-1"
	second = "1.0-1+deb12u1"
	third  = "1.0-1+deb12u2"
)

var (
	changesFirst  = lab.ChangelogEntry("foo", first, "medium", "Fix CVE-2025-0001.")
	changesSecond = lab.ChangelogEntry("foo", second, "high", "Fix CVE-2026-0002 and", "  CVE-2026-0003.") + changesFirst
	changesThird  = lab.ChangelogEntry("foo", third, "medium", "Fix cve-2026-0010, once more CVE-2026-0003.") + changesSecond
)

// packaged is a case in a root directory with its own dpkg database, in which
// libfoo1 is installed in its first version.
type packaged struct {
	*box
	lab.Tree
	libdir string // of the tree's architecture
}

func newPackaged(t *testing.T) *packaged {
	t.Helper()
	b := newBox(t)
	p := &packaged{box: b, libdir: "/usr/lib/" + strings.TrimSpace(lab.Output(t, "gcc", "-print-multiarch"))}
	p.Tree = p.tree("root")
	return p
}

// tree makes a root with the first version of libfoo1 and a daemon in /usr/sbin
// that needs its library; it is owned by no package.
func (p *packaged) tree(name string) lab.Tree {
	p.t.Helper()
	food := daemon(p.t, "1", library(p.t, "libfoo.so.1", "1"))
	tree := lab.NewTree(p.t, p.box.path(name), food)
	p.install(food, name+"/usr/sbin/food")
	p.install(daemon(p.t, "1"), name+"/usr/sbin/plain")
	tree.Install(p.t, p.libfoo(first, "1", changesFirst).Build(p.t))
	// History knows seconds: what follows is later.
	lab.NextSecond()
	return tree
}

// libfoo is the package libfoo1 with the given content of its library.
func (p *packaged) libfoo(version, content, changelog string, flags ...string) lab.Deb {
	p.t.Helper()
	return lab.Deb{
		Name: "libfoo1", Version: version, Source: "foo", Changelog: changelog,
		Files: map[string]string{p.lib(): library(p.t, "libfoo.so.1", content, flags...)},
	}
}

// lib is the library's path in the package.
func (p *packaged) lib() string { return p.libdir + "/libfoo.so.1" }

// food starts the daemon in the tree.
func (p *packaged) food() *lab.Daemon {
	p.t.Helper()
	return p.start(lab.Command{Path: "/usr/sbin/food", Root: p.Dir})
}

// upgrade installs packages, a second or more after the daemons began.
func (p *packaged) upgrade(debs ...lab.Deb) {
	p.t.Helper()
	var files []string
	for _, deb := range debs {
		files = append(files, deb.Build(p.t))
	}
	lab.NextSecond()
	p.change(func() {
		for _, file := range files {
			p.Install(p.t, file)
		}
	})
}

// upgraded is the finding for a daemon that runs the first version of the
// library while the second is installed.
func (p *packaged) upgraded(d *lab.Daemon) lab.Finding {
	p.t.Helper()
	f := p.stale(d, sensor.Replaced, p.lib(), library(p.t, "libfoo.so.1", "1"), library(p.t, "libfoo.so.1", "2"))
	f.Files[0].Package = "libfoo1"
	f.Packages = []sensor.Package{p.pkg(first, sensor.History, second, "high", "CVE-2026-0002", "CVE-2026-0003")}
	return f
}

func (p *packaged) pkg(loaded string, evidence sensor.Evidence, installed, urgency string, cves ...string) sensor.Package {
	return sensor.Package{
		Manager: "dpkg", Name: "libfoo1", Source: "foo", Arch: lab.Arch(p.t),
		Loaded:    sensor.LoadedVersion{Version: loaded, Evidence: evidence},
		Installed: sensor.InstalledVersion{Version: installed},
		CVEs:      cves, Urgency: urgency,
	}
}

func TestPackageUpgraded(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	p.upgrade(p.libfoo(second, "2", changesSecond))
	p.expect(p.upgraded(d))
	r := sensorAt.Stale(t)
	lab.CheckTimes(t, &r.Report, d, p.changed, p.done, false)
}

// Two upgrades after the start: the finding spans both, the daemon that was
// started in between only the second.
func TestPackageUpgradedTwice(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	early := p.food()
	p.upgrade(p.libfoo(second, "2", changesSecond))
	lab.NextSecond()
	late := p.food()
	p.upgrade(p.libfoo(third, "3", changesThird))

	v3 := library(t, "libfoo.so.1", "3")
	both, one := p.upgraded(early), p.upgraded(late)
	both.Files[0].InstalledBuildID = lab.BuildID(t, v3)
	both.Packages[0] = p.pkg(first, sensor.History, third, "high", "CVE-2026-0002", "CVE-2026-0003", "CVE-2026-0010")
	one.Files[0].LoadedBuildID = lab.BuildID(t, library(t, "libfoo.so.1", "2"))
	one.Files[0].InstalledBuildID = lab.BuildID(t, v3)
	one.Packages[0] = p.pkg(second, sensor.History, third, "medium", "CVE-2026-0003", "CVE-2026-0010")
	p.expect(both, one)
}

func TestPackageWithUnchangedFile(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	p.food()
	p.upgrade(p.libfoo(second, "1", changesSecond))
	p.silence()
}

func TestPackageReinstalled(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	p.food()
	p.upgrade(p.libfoo(first, "1", changesFirst))
	p.silence()
}

func TestPackageUpgradedAndRolledBack(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	p.food()
	p.upgrade(p.libfoo(second, "2", changesSecond), p.libfoo(first, "1", changesFirst))
	p.silence()
}

// One package, three libraries, one of them changed. The daemon that has that
// one is told which; the one that has the others is left alone.
func TestPackageOfSeveralLibraries(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	several := func(version, b, changelog string) lab.Deb {
		deb := lab.Deb{Name: "libseveral1", Version: version, Source: "several", Changelog: changelog, Files: map[string]string{}}
		for name, content := range map[string]string{"liba.so.1": "1", "libb.so.1": b, "libc.so.1": "1"} {
			deb.Files[p.libdir+"/"+name] = library(t, name, content)
		}
		return deb
	}
	changes := lab.ChangelogEntry("several", first, "medium", "New.")
	p.Install(t, several(first, "1", changes).Build(t))
	lab.NextSecond()
	start := func(names ...string) *lab.Daemon {
		var steps []string
		for _, name := range names {
			steps = append(steps, "open", p.libdir+"/"+name)
		}
		return p.start(lab.Command{Path: "/usr/sbin/plain", Root: p.Dir, Args: steps})
	}
	d := start("liba.so.1", "libb.so.1", "libc.so.1")
	start("liba.so.1", "libc.so.1")
	p.upgrade(several(second, "2", lab.ChangelogEntry("several", second, "low", "Say more.")+changes))

	f := p.stale(d, sensor.Replaced, p.libdir+"/libb.so.1", library(t, "libb.so.1", "1"), library(t, "libb.so.1", "2"))
	f.Files[0].Package = "libseveral1"
	pkg := p.pkg(first, sensor.History, second, "low")
	pkg.Name, pkg.Source, pkg.CVEs = "libseveral1", "several", []string{}
	f.Packages = []sensor.Package{pkg}
	p.expect(f)
}

// The package's new version names its file otherwise, and dpkg removes the old.
func TestPackageWithVersionInTheFileName(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	changes := lab.ChangelogEntry("bar", first, "low", "Fix CVE-2025-0003.")
	versioned := func(version, file, content, changelog string) lab.Deb {
		return lab.Deb{
			Name: "libbar1", Version: version, Source: "bar", Changelog: changelog,
			Files: map[string]string{p.libdir + "/" + file: library(t, "libbar.so.1", content)},
			Links: map[string]string{p.libdir + "/libbar.so.1": file},
		}
	}
	p.Install(t, versioned(first, "libbar.so.1.0", "1", changes).Build(t))
	lab.NextSecond()
	d := p.start(lab.Command{Path: "/usr/sbin/plain", Root: p.Dir, Args: []string{"open", "libbar.so.1"}})
	p.upgrade(versioned(second, "libbar.so.1.1", "2", lab.ChangelogEntry("bar", second, "medium", "Fix CVE-2026-0004.")+changes))

	f := p.stale(d, sensor.Superseded, p.libdir+"/libbar.so.1.0", library(t, "libbar.so.1", "1"), library(t, "libbar.so.1", "2"))
	f.Files[0].Package = "libbar1"
	pkg := p.pkg(first, sensor.History, second, "medium", "CVE-2026-0004")
	pkg.Name, pkg.Source = "libbar1", "bar"
	f.Packages = []sensor.Package{pkg}
	p.expect(f)
}

// dpkg was stopped half way: the files are new, the package is not configured.
func TestPackageUnpackedOnly(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	deb := p.libfoo(second, "2", changesSecond).Build(t)
	lab.NextSecond()
	p.Unpack(t, deb)
	f := p.upgraded(d)
	f.Packages[0].Installed.State = "unpacked"
	p.expect(f)
}

// A file of the package is gone although the package is installed.
func TestPackagedFileRemoved(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	lab.NextSecond()
	must(t, os.Remove(p.Tree.Path(p.lib())))
	f := want(d, sensor.Missing, sensor.MissingFile, p.lib(), lab.BuildID(t, library(t, "libfoo.so.1", "1")), "")
	f.Files[0].Package = "libfoo1"
	f.Packages = []sensor.Package{p.pkg(first, sensor.History, first, "")}
	f.Packages[0].CVEs = []string{}
	p.expect(f)
}

// The package was purged, and with it the library that the daemon needs.
func TestPackagePurged(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	d := p.food()
	lab.NextSecond()
	p.Purge(t, "libfoo1")
	p.expect(want(d, sensor.Missing, sensor.MissingFile, p.lib(), lab.BuildID(t, library(t, "libfoo.so.1", "1")), ""))
}

// The daemon's own program is packaged; its name leads there by a link that
// belongs to nobody.
func TestPackagedExecutable(t *testing.T) {
	t.Parallel()
	p := newPackaged(t)
	changes := lab.ChangelogEntry("bard", first, "low", "New.")
	bard := func(version, content, changelog string) lab.Deb {
		return lab.Deb{
			Name: "bard", Version: version, Changelog: changelog,
			Files: map[string]string{"/usr/sbin/bard": daemon(t, content)},
		}
	}
	p.Install(t, bard(first, "1", changes).Build(t))
	lab.NextSecond()
	d := p.start(lab.Command{Path: "/sbin/bard", Root: p.Dir})
	p.upgrade(bard(second, "2", lab.ChangelogEntry("bard", second, "emergency", "Fix CVE-2026-0005.")+changes))

	d.Exe = "/usr/sbin/bard"
	f := p.stale(d, sensor.Replaced, "/usr/sbin/bard", daemon(t, "1"), daemon(t, "2"))
	f.Files[0].Package = "bard"
	pkg := p.pkg(first, sensor.History, second, "emergency", "CVE-2026-0005")
	pkg.Name, pkg.Source = "bard", "bard"
	f.Packages = []sensor.Package{pkg}
	p.expect(f)
}
