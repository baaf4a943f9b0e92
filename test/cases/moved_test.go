package cases

import (
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

func TestLibraryMovedAside(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	lib := b.path("lib/libfoo.so.1")
	b.change(func() {
		must(t, os.Rename(lib, lib+".orig"))
		b.install(v2, "lib/libfoo.so.1")
	})
	b.expect(b.stale(d, sensor.MovedAside, lib, v1, v2))
}

func TestExecutableMovedAside(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := daemon(t, "1"), daemon(t, "2")
	exe := b.install(v1, "bin/food")
	d := b.start(lab.Command{Path: exe})
	b.change(func() {
		must(t, os.Rename(exe, exe+".orig"))
		b.install(v2, "bin/food")
	})
	d.Exe = exe + ".orig" // where the running program is now
	b.expect(b.stale(d, sensor.MovedAside, exe, v1, v2))
}

// Moved aside and put back byte for byte: nothing newer exists.
func TestMovedAsideForTheSameBytes(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.food()
	lib := b.path("lib/libfoo.so.1")
	b.change(func() {
		must(t, os.Rename(lib, lib+".orig"))
		b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1")
	})
	b.silence()
}

func TestDirectoryMovedAside(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.change(func() {
		must(t, os.Rename(b.path("lib"), b.path("lib.orig")))
		b.install(v2, "lib/libfoo.so.1")
	})
	b.expect(b.stale(d, sensor.MovedAside, b.path("lib/libfoo.so.1"), v1, v2))
}

// Both versions stay; the name by which the daemon loaded its library leads to
// the new one.
func TestLibrarySymlinkSwitched(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.install(v1, "lib/libfoo.so.1.0")
	link := b.path("lib/libfoo.so.1")
	b.link("libfoo.so.1.0", link)
	d := b.start(lab.Command{
		Path: b.install(daemon(t, "1", v1), "bin/food"),
		Env:  []string{"LD_LIBRARY_PATH=" + b.path("lib")},
	})
	b.change(func() {
		b.install(v2, "lib/libfoo.so.1.1")
		b.link("libfoo.so.1.1", link)
	})
	b.expect(b.stale(d, sensor.SymlinkSwitched, link, v1, v2))
}

// The release directory of a deployment: current -> releases/N.
func TestReleaseSymlinkSwitched(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := daemon(t, "1"), daemon(t, "2")
	b.install(v1, "releases/1/food")
	b.link("releases/1", b.path("current"))
	d := b.start(lab.Command{Path: b.path("current/food")})
	b.change(func() {
		b.install(v2, "releases/2/food")
		b.link("releases/2", b.path("current"))
	})
	d.Exe = b.path("releases/1/food") // the link leads elsewhere now
	b.expect(b.stale(d, sensor.SymlinkSwitched, b.path("current/food"), v1, v2))
}

// The library's version stands in its file name and the old file goes away.
func TestVersionInTheFileName(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	first := b.install(v1, "lib/libfoo.so.1.0")
	link := b.path("lib/libfoo.so.1")
	b.link("libfoo.so.1.0", link)
	d := b.start(lab.Command{
		Path: b.install(daemon(t, "1", v1), "bin/food"),
		Env:  []string{"LD_LIBRARY_PATH=" + b.path("lib")},
	})
	b.change(func() {
		b.install(v2, "lib/libfoo.so.1.1")
		b.link("libfoo.so.1.1", link)
		must(t, os.Remove(first))
	})
	b.expect(b.stale(d, sensor.SymlinkSwitched, link, v1, v2))
}

// link makes the symbolic link name lead to target at once, as ln -sfT and
// deployment tools do.
func (b *box) link(target, name string) {
	b.t.Helper()
	must(b.t, os.Symlink(target, name+".new"))
	must(b.t, os.Rename(name+".new", name))
}

// A library that the daemon cannot start without is gone: a restart would
// fail, so none is advised.
func TestNeededLibraryRemoved(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v1 := library(t, "libfoo.so.1", "1")
	lib := b.path("lib/libfoo.so.1")
	b.change(func() { must(t, os.Remove(lib)) })
	b.expect(want(d, sensor.Missing, sensor.MissingFile, lib, lab.BuildID(t, v1), ""))
}

func TestExecutableRemoved(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1 := daemon(t, "1")
	exe := b.install(v1, "bin/food")
	d := b.start(lab.Command{Path: exe})
	b.change(func() { must(t, os.Remove(exe)) })
	b.expect(want(d, sensor.Missing, sensor.MissingFile, exe, lab.BuildID(t, v1), ""))
}
