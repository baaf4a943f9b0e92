package cases

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// overlaid is a case whose processes have an overlay as their root, in a mount
// namespace of its own, the way containers do.
type overlaid struct {
	*box
	merged box // files by their names in that root
	keeper *lab.Daemon
	v1, v2 string // of libfoo.so.1
}

// newOverlaid makes the overlay, with all that is in it in the lower layer, and
// starts a process in it whose files nobody touches.
func newOverlaid(t *testing.T) *overlaid {
	t.Helper()
	b := newBox(t)
	o := &overlaid{box: b, v1: library(t, "libfoo.so.1", "1"), v2: library(t, "libfoo.so.1", "2")}
	plain := daemon(t, "1")
	lower := lab.NewTree(t, b.path("lower"), plain)
	for _, name := range []string{"/usr/bin/keeper", "/srv/1/food", "/srv/food"} {
		b.install(plain, "lower"+name)
	}
	b.install(daemon(t, "2"), "lower/srv/2/food")
	b.link("1", lower.Path("/srv/current"))
	b.install(o.v1, "lower/opt/libfoo.so.1")
	b.install(o.v1, "lower/opt/kept/libfoo.so.1")
	argv := []string{"mount", lower.Dir}
	for _, name := range []string{"upper", "work", "merged"} {
		must(t, os.Mkdir(b.path(name), 0o755))
		argv = append(argv, b.path(name))
	}
	o.keeper = o.run(argv, "/usr/bin/keeper", "open", "/opt/kept/libfoo.so.1")
	o.merged = box{t: t, dir: fmt.Sprintf("/proc/%d/root", o.keeper.PID)}
	return o
}

func (o *overlaid) run(how []string, program string, args ...string) *lab.Daemon {
	o.t.Helper()
	argv := append(append(append([]string{}, how...), program), args...)
	d := o.start(lab.Command{Path: workshop.C(o.t, "testdata/overlay.c"), Args: argv})
	d.Exe, d.Comm = program, path.Base(program)
	return d
}

// in starts a daemon in the overlay, in a copy of its mount namespace or in it.
func (o *overlaid) in(namespace, program string, args ...string) *lab.Daemon {
	o.t.Helper()
	return o.run([]string{"join", strconv.Itoa(o.keeper.PID), namespace}, program, args...)
}

func TestOverlaySymlinkSwitched(t *testing.T) {
	t.Parallel()
	o := newOverlaid(t)
	d := o.in("share", "/srv/current/food")
	o.change(func() { o.merged.link("2", o.merged.path("/srv/current")) })
	d.Exe = "/srv/1/food"
	o.expect(o.stale(d, sensor.SymlinkSwitched, "/srv/current/food", daemon(t, "1"), daemon(t, "2")))
}

func TestOverlayExecutableRemoved(t *testing.T) {
	t.Parallel()
	o := newOverlaid(t)
	d := o.in("share", "/srv/food")
	o.change(func() { must(t, os.Remove(o.merged.path("/srv/food"))) })
	o.expect(want(d, sensor.Missing, sensor.MissingFile, "/srv/food", lab.BuildID(t, daemon(t, "1")), ""))
}

func TestOverlayLibraryReplaced(t *testing.T) {
	t.Parallel()
	o := newOverlaid(t)
	d := o.in("share", "/srv/food", "open", "/opt/libfoo.so.1")
	o.change(func() { o.merged.install(o.v2, "/opt/libfoo.so.1") })
	o.expect(o.stale(d, sensor.Replaced, "/opt/libfoo.so.1", o.v1, o.v2))
}

// Writing to a file of the lower layer makes a copy in the upper one; what is
// mapped stays as it was.
func TestOverlayLibraryOverwritten(t *testing.T) {
	for name, flags := range map[string]int{"written over": 0, "truncated and rewritten": os.O_TRUNC} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOverlaid(t)
			d := o.in("share", "/srv/food", "open", "/opt/libfoo.so.1")
			o.change(func() { copyFile(t, o.v2, o.merged.path("/opt/libfoo.so.1"), flags) })
			o.expect(want(d, sensor.Stale, sensor.Overwritten, "/opt/libfoo.so.1", "", lab.BuildID(t, o.v2)))
		})
	}
}

// A new mode makes a copy too, of the same bytes.
func TestOverlayLibraryCopiedUp(t *testing.T) {
	t.Parallel()
	o := newOverlaid(t)
	d := o.in("share", "/srv/food", "open", "/opt/libfoo.so.1")
	o.change(func() { must(t, os.Chmod(o.merged.path("/opt/libfoo.so.1"), 0o711)) })
	o.neverStale(d)
	lab.EachSource(t, func(t *testing.T, source string) {
		if source != "bpf" {
			return // the others do not see which of the two is mapped
		}
		r := sensorAt.Stale(t, "--source", source)
		lab.Check(t, &r.Report, o.pids)
	})
}

// One file, seen through two mounts of the same overlay.
func TestOverlayInTwoMountNamespaces(t *testing.T) {
	t.Parallel()
	o := newOverlaid(t)
	one := o.in("share", "/srv/food", "open", "/opt/libfoo.so.1")
	two := o.in("copy", "/srv/food", "open", "/opt/libfoo.so.1")
	o.silence()
	o.change(func() { o.merged.install(o.v2, "/opt/libfoo.so.1") })
	o.expect(o.stale(one, sensor.Replaced, "/opt/libfoo.so.1", o.v1, o.v2),
		o.stale(two, sensor.Replaced, "/opt/libfoo.so.1", o.v1, o.v2))
}
