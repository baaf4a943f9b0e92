package distros

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// plainFoo is libfoo1 with a library that says nothing of itself.
func (b *box) plainFoo(history []release, content string) pkg {
	b.t.Helper()
	return pkg{name: "libfoo1", source: "foo", history: history, files: map[string]string{b.lib(): b.library(b.t, "libfoo.so.1", content)}}
}

// Neither a log nor a file names the version that runs, nor then the CVEs that were
// fixed since; that it is stale is known all the same.
func TestVersionNotKnown(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		b := newBox(t, d)
		b.Install(t, b.build(t, b.plainFoo(b.first(), "1")))
		food := b.food()
		newer := b.plainFoo(b.second(), "2")
		b.upgrade(newer)
		must(t, os.RemoveAll(b.Path("var/log"))) // apk-tools 3 has one there
		b.expect(b.of(b.stale(food, sensor.Replaced, b.lib(), b.library(t, "libfoo.so.1", "1"), newer.files[b.lib()]), newer, ""))
	})
}

// A package built without a changelog: the CVEs are then not known, which is not the
// same as none.
func TestNoChangelog(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	b := newBox(t, rpmDistro("rpm", sqlite))
	food := b.food()
	f := b.upgraded(food)
	p := b.libfoo(t, b.second(), "2")
	file := lab.RPM{Name: p.name, Source: p.source, Version: p.version(), Files: p.files}.Build(t)
	b.change(func() { b.Install(t, file) })
	f.Packages[0].CVEs = nil
	b.expect(f)
}

// The formats of the database, each by the rpm of a release that writes it, and the
// other place that newer distributions have for it.
func TestFormats(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	for name, c := range map[string]struct {
		db      lab.RPMDatabase
		release string // of Debian; empty for this machine's
	}{
		"sysimage": {lab.RPMDatabase{DB: "/usr/lib/sysimage/rpm", Format: "sqlite"}, ""},
		"ndb":      {lab.RPMDatabase{DB: "/usr/lib/sysimage/rpm", Format: "ndb"}, "trixie"},
		"bdb":      {lab.RPMDatabase{DB: "/var/lib/rpm", Format: "bdb"}, "bullseye"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.release != "" {
				c.db.Tool = lab.NewRPMTool(t, c.release)
			}
			b := newBox(t, rpmDistro(name, c.db))
			food := b.food()
			b.expect()
			b.upgrade(b.libfoo(t, b.second(), "2"))
			b.everywhere(b.upgraded(food))
		})
	}
}

// dnfTree is a root in which dnf installs and upgrades.
type dnfTree struct{ lab.RPMTree }

func (r dnfTree) Install(t testing.TB, files ...string) {
	t.Helper()
	r.DNF(t, "install", files...)
}

// dnf's history tells the version that ran: two upgrades after the start, and a
// daemon that was started in between.
func TestHistoryOfDNF(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	historyTells(t, dnfDistro())
}

func dnfDistro() *distro {
	d := rpmDistro("dnf", sqlite)
	d.evidence = sensor.History
	of := d.tree
	d.tree = func(t testing.TB, dir string) tree {
		t.Helper()
		return dnfTree{of(t, dir).(lab.RPMTree)}
	}
	return d
}

// So does apk's log, which apk-tools 3 keeps. It tells when each run began, and the run is
// taken to last until the next one does, or for an hour: what was started in that time is
// not told.
func TestHistoryOfAPK(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	tool := lab.APKTool()
	if tool == "" || lab.Output(t, tool, "--version") < "apk-tools 3" {
		t.Skip("SKIPPED, NOT TESTED: there is no apk-tools 3, which SENSOR_LAB_APK may name")
	}
	b := newBox(t, apkDistro("apk", tool, sensor.History))
	b.ageLog()
	old, newer := b.libfoo(t, b.first(), "1"), b.libfoo(t, b.second(), "2")
	food := b.food()
	b.upgrade(newer)
	b.expect(b.of(b.stale(food, sensor.Replaced, b.lib(), old.files[b.lib()], newer.files[b.lib()]), newer, b.first()[0].version))
}

// ageLog has all that is in apk's log be two hours old.
func (b *box) ageLog() {
	b.t.Helper()
	name := b.Path("/var/log/apk.log")
	text, err := os.ReadFile(name)
	must(b.t, err)
	aged := regexp.MustCompile(`(?m)at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$`).ReplaceAllStringFunc(string(text), func(s string) string {
		began, err := time.Parse("at "+time.DateTime, s)
		must(b.t, err)
		return began.Add(-2 * time.Hour).Format("at " + time.DateTime)
	})
	must(b.t, os.WriteFile(name, []byte(aged), 0o644))
}

func historyTells(t *testing.T, d *distro) {
	t.Helper()
	b := newBox(t, d)
	old, newer, newest := b.libfoo(t, b.first(), "1"), b.libfoo(t, b.second(), "2"), b.libfoo(t, b.third(), "3")
	early := b.food()
	b.upgrade(newer)
	late := b.food()
	b.upgrade(newest)
	b.expect(
		b.of(b.stale(early, sensor.Replaced, b.lib(), old.files[b.lib()], newest.files[b.lib()]), newest, b.first()[0].version),
		b.of(b.stale(late, sensor.Replaced, b.lib(), newer.files[b.lib()], newest.files[b.lib()]), newest, b.second()[0].version))
}
