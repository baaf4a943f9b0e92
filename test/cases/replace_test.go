package cases

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

func TestNothingChanged(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.food()
	b.silence()
}

func TestLibraryReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })
	b.expect(b.stale(d, sensor.Replaced, b.path("lib/libfoo.so.1"), v1, v2))
	r := sensorAt.Stale(t)
	lab.CheckTimes(t, &r.Report, d, b.changed, b.done, true)
}

// A relocatable program finds its library by way of its own directory; the
// loader then calls it bin/../lib/libfoo.so.1.
func TestLibraryFoundRelativeToProgram(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.install(v1, "lib/libfoo.so.1")
	d := b.start(lab.Command{Path: b.install(daemon(t, "1", v1, "-Wl,-rpath,$ORIGIN/../lib"), "bin/food")})
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })
	b.expect(b.stale(d, sensor.Replaced, b.path("lib/libfoo.so.1"), v1, v2))
}

func TestExecutableReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := daemon(t, "1"), daemon(t, "2")
	d := b.start(lab.Command{Path: b.install(v1, "bin/food")})
	b.change(func() { b.install(v2, "bin/food") })
	b.expect(b.stale(d, sensor.Replaced, b.path("bin/food"), v1, v2))
}

func TestStaticGoBinaryReplaced(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := workshop.Go(t, "testdata/static.go", "1"), workshop.Go(t, "testdata/static.go", "2")
	d := b.start(lab.Command{Path: b.install(v1, "bin/static")})
	b.change(func() { b.install(v2, "bin/static") })
	b.expect(b.stale(d, sensor.Replaced, b.path("bin/static"), v1, v2))
}

func TestSeveralLibrariesOneChanged(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	names := []string{"liba.so.1", "libb.so.1", "libc.so.1"}
	var steps []string
	for _, name := range names {
		steps = append(steps, "open", b.install(library(t, name, "1"), "lib/"+name))
	}
	d := b.start(lab.Command{Path: b.install(daemon(t, "1"), "bin/food"), Args: steps})
	b.change(func() {
		b.install(library(t, "liba.so.1", "1"), "lib/liba.so.1")
		b.install(library(t, "libb.so.1", "2"), "lib/libb.so.1")
		b.install(library(t, "libc.so.1", "1"), "lib/libc.so.1")
	})
	b.expect(b.stale(d, sensor.Replaced, b.path("lib/libb.so.1"), library(t, "libb.so.1", "1"), library(t, "libb.so.1", "2")))
}

func TestReinstallOfTheSameBytes(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.food()
	b.change(func() {
		b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1")
		b.install(daemon(t, "1", library(t, "libfoo.so.1", "1")), "bin/food")
	})
	b.silence()
}

func TestUpgradeThenRollback(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.food()
	b.change(func() {
		b.install(library(t, "libfoo.so.1", "2"), "lib/libfoo.so.1")
		b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1")
	})
	b.silence()
}

// A plugin that is still open runs its old code; one that was closed again
// left nothing behind.
func TestDlopen(t *testing.T) {
	for step, kept := range map[string]bool{"open": true, "openclose": false} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			v1, v2 := library(t, "plugin.so", "1"), library(t, "plugin.so", "2")
			plugin := b.install(v1, "lib/plugin.so")
			d := b.start(lab.Command{Path: b.install(daemon(t, "1"), "bin/food"), Args: []string{step, plugin}})
			b.change(func() { b.install(v2, "lib/plugin.so") })
			if kept {
				b.expect(b.stale(d, sensor.Replaced, plugin, v1, v2))
			} else {
				b.silence()
			}
		})
	}
}

// The old file lives on under its second name, so nothing about it says
// "deleted"; a process started by that second name is current.
func TestExecutableWithSecondHardLink(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := daemon(t, "1"), daemon(t, "2")
	first := b.install(v1, "bin/food")
	second := b.path("bin/food-1.0")
	must(t, os.Link(first, second))
	d := b.start(lab.Command{Path: first})
	b.start(lab.Command{Path: second})
	b.change(func() { b.install(v2, "bin/food") })
	b.expect(b.stale(d, sensor.Replaced, first, v1, v2))
}

// The child inherits what the parent loaded, however new the child is.
func TestForkWithoutExecAfterTheUpgrade(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })
	child := d.Fork(t)
	b.pids = append(b.pids, child.PID)
	lib := b.path("lib/libfoo.so.1")
	b.expect(b.stale(d, sensor.Replaced, lib, v1, v2), b.stale(child, sensor.Replaced, lib, v1, v2))
}

func TestZombieLeader(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	lib := b.install(v1, "lib/libfoo.so.1")
	d := b.start(lab.Command{Path: b.install(daemon(t, "1"), "bin/food"), Args: []string{"open", lib, "orphan"}})
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })
	b.expect(b.stale(d, sensor.Replaced, lib, v1, v2))
}

// Exit codes for one process, as a script would ask.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	control := b.pids[0]
	must(t, os.Mkdir(b.path("empty"), 0o755))
	b.change(func() { b.install(library(t, "libfoo.so.1", "2"), "lib/libfoo.so.1") })
	for name, c := range map[string]struct {
		args []string
		exit int
	}{
		"stale":           {[]string{"stale", "--pid", strconv.Itoa(d.PID)}, lab.ExitStale},
		"current":         {[]string{"stale", "--pid", strconv.Itoa(control)}, lab.ExitClean},
		"stale json":      {[]string{"stale", "-o", "json", "--pid", strconv.Itoa(d.PID)}, lab.ExitStale},
		"current json":    {[]string{"stale", "-o", "json", "--pid", strconv.Itoa(control)}, lab.ExitClean},
		"unknown flag":    {[]string{"stale", "--no-such-flag"}, lab.ExitUsage},
		"unknown output":  {[]string{"stale", "-o", "no-such-format"}, lab.ExitUsage},
		"unknown source":  {[]string{"stale", "--source", "no-such-source"}, lab.ExitUsage},
		"unknown command": {[]string{"no-such-command"}, lab.ExitUsage},
		"no such /proc":   {[]string{"stale", "--proc", b.path("no-such-directory")}, lab.ExitUsage},
		"empty /proc":     {[]string{"stale", "--proc", b.path("empty")}, lab.ExitUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			r := lab.Run(t, append([]string{sensorAt.Path}, c.args...)...)
			if r.Exit != c.exit {
				t.Errorf("sensor %s: exit code %d, want %d\n%s%s", strings.Join(c.args, " "), r.Exit, c.exit, r.Stdout, r.Stderr)
			}
			if c.exit >= lab.ExitUsage && len(r.Stdout)+len(r.Stderr) == 0 {
				t.Errorf("sensor %s: not a word about what is wrong", strings.Join(c.args, " "))
			}
		})
	}
}
