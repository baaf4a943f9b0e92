package cases

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// A daemon that went to the background after the library was overwritten is
// younger than the overwriting, and runs the old code all the same.
func TestOverwrittenBeforeTheFork(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	lib, v2 := b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1"), library(t, "libfoo.so.1", "2")
	d := b.work("child", ".", "open", lib, "ready", ".", "await", b.path("go"), "leave", ".")
	b.change(func() { copyFile(t, v2, lib, os.O_TRUNC) })
	settle()
	child := b.signal(d, b.path("go"))
	b.expect(want(child, sensor.Stale, sensor.Overwritten, lib, "", lab.BuildID(t, v2)))
}

// A file that came after the start, with an old modification time, and then
// another over it, as old: no time tells the two apart.
func TestNewFileOverwrittenWithAnOldTime(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	lib, v2 := b.path("lib/libfoo.so.1"), library(t, "libfoo.so.1", "2")
	d := b.work("ready", ".", "await", b.path("go"), "open", lib)
	settle()
	b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1")
	b.signal(d, b.path("go"))
	b.change(func() {
		copyFile(t, v2, lib, os.O_TRUNC)
		aged(t, lib, old/2)
	})
	b.expect(want(d, sensor.Stale, sensor.Overwritten, lib, "", lab.BuildID(t, v2)))
}

// Written over without truncation, and the time put back: only what the process
// still has of the old content tells.
func TestWrittenOverWithItsTimePutBack(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v2 := library(t, "libfoo.so.1", "2", "-Wl,--defsym,lib_other=lib_version", "-Wl,--defsym,lib_another=lib_version")
	lib := b.path("lib/libfoo.so.1")
	b.change(func() {
		copyFile(t, v2, lib, 0)
		aged(t, lib, old)
	})
	b.expect(want(d, sensor.Stale, sensor.Overwritten, lib, "", lab.BuildID(t, v2)))
}

// aged gives a file a modification time that lies so far back.
func aged(t *testing.T, name string, age time.Duration) {
	t.Helper()
	past := time.Now().Add(-age)
	must(t, os.Chtimes(name, past, past))
}

// Copied to its place by a slow network and loaded when it was there: its
// modification time is younger than its birth, and than the process.
func TestPluginWrittenSlowly(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	content, err := os.ReadFile(library(t, "plugin.so", "1"))
	must(t, err)
	plugin := b.path("lib/plugin.so")
	must(t, os.Mkdir(filepath.Dir(plugin), 0o755))
	d := b.work("ready", ".", "await", b.path("go"), "open", plugin)
	settle()
	f, err := os.Create(plugin)
	must(t, err)
	defer f.Close()
	half := len(content) / 2
	_, err = f.Write(content[:half])
	must(t, err)
	time.Sleep(3 * time.Second)
	_, err = f.Write(content[half:])
	must(t, err)
	must(t, f.Close())
	settle()
	b.signal(d, b.path("go"))
	b.neverStale(d)
}

// A program that keeps its code in a file which it goes on writing: no package
// ships that, so nothing newer can be installed.
func TestSharedJustInTimeCode(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	dir, err := os.MkdirTemp("/var/lib", "sensor-lab.")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	b.work("shared", filepath.Join(dir, "code"))
	settle()
	b.silence()
}
