package cases

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// Any user may serve a file system and let nobody have an answer from it. What
// is loaded from there cannot be told, and costs nobody else their verdict. It
// runs alone and briefly, for the sake of whatever else looks at all processes.
func TestFileSystemThatDoesNotAnswer(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("SKIPPED, NOT TESTED: the kernel has no FUSE")
	}
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	lib := b.install(v1, "lib/libfoo.so.1")
	served, silent := b.path("served"), b.path("silent")
	must(t, os.Mkdir(served, 0o755))
	exe := b.install(daemon(t, "1"), "bin/food")
	start := func(libs ...string) *lab.Daemon {
		args := []string{b.install(library(t, "libserved.so", "1"), "libserved.so"), served, silent, exe}
		for _, name := range libs {
			args = append(args, "open", name)
		}
		d := b.start(lab.Command{Path: workshop.C(t, "testdata/fuse.c"), Args: args})
		d.Exe, d.Comm = exe, "food"
		return d
	}
	both, only := start(lib, served+"/lib"), start(served+"/lib")
	other := b.start(lab.Command{Path: exe, Args: []string{"open", lib}})
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })

	unread := want(only, sensor.Unknown, sensor.Unresolved, served+"/lib", "", "")
	lab.EachSource(t, func(t *testing.T, source string) {
		must(t, os.WriteFile(silent, nil, 0o644))
		defer os.Remove(silent)
		r := sensorAt.StaleBy(t, []string{"timeout", "-s", "KILL", "15"}, "--source", source)
		lab.Check(t, &r.Report, b.pids, with(b.stale(both, sensor.Replaced, lib, v1, v2), unread), unread,
			b.stale(other, sensor.Replaced, lib, v1, v2))
	})
}
