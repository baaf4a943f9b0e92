package cases

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The new program needs a library of another name, and the old library went
// with the old program: a restart works and is what is missing.
func TestMajorUpgrade(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	lib1, lib2 := library(t, "libp-1.so", "1"), library(t, "libp-2.so", "2")
	rpath := "-Wl,-rpath," + b.path("lib")
	v1, v2 := daemon(t, "1", lib1, rpath), daemon(t, "2", lib2, rpath)
	lib := b.install(lib1, "lib/libp-1.so")
	d := b.start(lab.Command{Path: b.install(v1, "bin/food")})
	b.change(func() {
		b.install(lib2, "lib/libp-2.so")
		b.install(v2, "bin/food")
		must(t, os.Remove(lib))
	})
	b.expect(with(b.stale(d, sensor.Replaced, d.Exe, v1, v2),
		want(d, sensor.Stale, sensor.Superseded, lib, lab.BuildID(t, lib1), "")))
	// The advice holds.
	b.start(lab.Command{Path: d.Exe})
}

// Something stands at the name of what the daemon cannot start without, and it
// is nothing that can be loaded.
func TestRestartWouldFail(t *testing.T) {
	for name, put := range map[string]func(name string) error{
		"directory":  func(name string) error { return os.Mkdir(name, 0o755) },
		"empty file": func(name string) error { return os.WriteFile(name, nil, 0o755) },
		"FIFO":       func(name string) error { return unix.Mkfifo(name, 0o755) },
	} {
		t.Run("library/"+name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			d := b.food()
			lib := b.path("lib/libfoo.so.1")
			b.change(func() {
				must(t, os.Remove(lib))
				must(t, put(lib))
			})
			b.expect(want(d, sensor.Missing, sensor.MissingFile, lib, lab.BuildID(t, library(t, "libfoo.so.1", "1")), ""))
		})
		t.Run("executable/"+name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			v1 := daemon(t, "1")
			d := b.start(lab.Command{Path: b.install(v1, "bin/food")})
			b.change(func() {
				must(t, os.Remove(d.Exe))
				must(t, put(d.Exe))
			})
			b.expect(want(d, sensor.Missing, sensor.MissingFile, d.Exe, lab.BuildID(t, v1), ""))
		})
	}
}

// The new file is older than the process; what counts is when it came to its
// name.
func TestSinceTheRename(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.install(v2, "lib/prepared")
	replaced, lib1 := b.food(), b.path("lib/libfoo.so.1")
	lib2 := b.install(v1, "lib/plugin.so")
	b.install(v2, "lib/plugin.so.prepared")
	moved := b.work("open", lib2)
	lab.NextSecond()
	lab.NextSecond()
	b.change(func() {
		must(t, os.Rename(b.path("lib/prepared"), lib1))
		must(t, os.Rename(lib2, lib2+".orig"))
		must(t, os.Rename(lib2+".prepared", lib2))
	})
	b.expect(b.stale(replaced, sensor.Replaced, lib1, v1, v2), b.stale(moved, sensor.MovedAside, lib2, v1, v2))
	r := sensorAt.Stale(t)
	lab.CheckTimes(t, &r.Report, replaced, b.changed, b.done, false)
	lab.CheckTimes(t, &r.Report, moved, b.changed, b.done, false)
}

// The program's code is in anonymous memory; only its executable tells that it
// was replaced.
func TestExecutableInAnonymousMemory(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := worker(t, "1"), worker(t, "2")
	d := b.work("anonymous", ".")
	b.change(func() { b.install(v2, "bin/worker") })
	b.expect(b.stale(d, sensor.Replaced, d.Exe, v1, v2))
}
