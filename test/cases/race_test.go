package cases

import (
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// scans is how often a race is given its chance with each source.
const scans = 8

// One PID belongs in turn to a stale process and to a current one. Whatever is
// reported under it must be said of the stale one.
func TestPIDReused(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	lib := b.install(v1, "lib/libfoo.so.1")
	d := b.start(lab.Command{
		Path: b.install(workshop.C(t, "testdata/reuse.c"), "bin/reuse"),
		Args: []string{lib, b.install(daemon(t, "1"), "bin/fresh")},
	})
	pid, err := strconv.Atoi(d.Line(t))
	must(t, err)
	b.pids = append(b.pids, pid)
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })

	parent := b.stale(d, sensor.Replaced, lib, v1, v2)
	child := parent
	child.PID = pid
	lab.EachSource(t, func(t *testing.T, source string) {
		for range scans {
			r := sensorAt.Stale(t, "--source", source)
			got, err := lab.ByProcess(&r.Report, b.pids...)
			must(t, err)
			if slices.ContainsFunc(got, func(f lab.Finding) bool { return f.PID == pid }) {
				lab.Check(t, &r.Report, b.pids, parent, child)
			} else {
				lab.Check(t, &r.Report, b.pids, parent)
			}
		}
	})
}

// Processes come and go while the sensor looks; all their files are current.
func TestProcessesExitMidScan(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	stop, done := make(chan struct{}), make(chan []int)
	exe := b.install(workshop.Go(t, "testdata/static.go", "1"), "bin/short")
	go func() {
		var pids []int
		defer func() { done <- pids }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			// With an argument it prints its version and ends.
			cmd := exec.Command(exe, "version")
			if err := cmd.Run(); err != nil {
				t.Error(err)
				return
			}
			pids = append(pids, cmd.Process.Pid)
		}
	}()
	var results []lab.Result
	lab.EachSource(t, func(t *testing.T, source string) {
		for range scans {
			results = append(results, sensorAt.Stale(t, "--source", source))
		}
	})
	close(stop)
	pids := append(<-done, b.pids...)
	if len(pids) < 2*scans {
		t.Errorf("only %d processes came and went", len(pids))
	}
	for i := range results {
		lab.Check(t, &results[i].Report, pids)
	}
}

// A process that nobody may read is never called current. Here the sensor is
// the one without rights; the kernel refuses it everything of root's daemons.
func TestWithoutPrivileges(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	b.change(func() { b.install(library(t, "libfoo.so.1", "2"), "lib/libfoo.so.1") })
	binary := b.install(sensorAt.Path, "sensor")
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	r := lab.Sensor{Path: binary}.StaleBy(t, nobody)
	if r.Report.Complete || len(r.Report.Warnings) == 0 {
		t.Errorf("a report without rights: complete %v, warnings %v", r.Report.Complete, r.Report.Warnings)
	}
	got, err := lab.ByProcess(&r.Report, d.PID)
	must(t, err)
	for _, f := range got {
		if f.State != sensor.Unknown || f.Reason != sensor.Unreadable {
			t.Errorf("PID %d is %s (%s) to a sensor that cannot read it", f.PID, f.State, f.Reason)
		}
	}

	one := lab.Run(t, append(nobody, binary, "stale", "--pid", strconv.Itoa(d.PID))...)
	if one.Exit != lab.ExitUnknown {
		t.Errorf("a process that cannot be read: exit code %d, want %d\n%s%s", one.Exit, lab.ExitUnknown, one.Stdout, one.Stderr)
	}
}

// Some machines refuse even root a look at single processes, process 1 among
// them. That must not cost the rest of the report, and is never "stale".
func TestProcessOne(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	d := b.food()
	v1, v2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
	b.change(func() { b.install(v2, "lib/libfoo.so.1") })
	lab.EachSource(t, func(t *testing.T, source string) {
		r := sensorAt.Stale(t, "--source", source)
		lab.Check(t, &r.Report, b.pids, b.stale(d, sensor.Replaced, b.path("lib/libfoo.so.1"), v1, v2))
		one := lab.Run(t, sensorAt.Path, "stale", "--source", source, "--pid", "1")
		if one.Exit == lab.ExitUsage {
			t.Errorf("--pid 1: exit code %d\n%s", one.Exit, one.Stderr)
		}
	})
}
