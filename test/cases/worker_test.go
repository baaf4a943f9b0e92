package cases

import (
	"fmt"
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// worker is testdata/worker.c in a version, linked against the given libraries.
func worker(t *testing.T, version string, needed ...string) string {
	t.Helper()
	return workshop.C(t, append([]string{"-DVERSION=\"" + version + "\"", "testdata/worker.c"}, needed...)...)
}

// work starts a worker with the given steps.
func (b *box) work(steps ...string) *lab.Daemon {
	b.t.Helper()
	return b.start(lab.Command{Path: b.install(worker(b.t, "1"), "bin/worker"), Args: steps})
}

// signal makes the file name for which a worker waits, and returns the process
// in which it has done all its steps.
func (b *box) signal(d *lab.Daemon, name string) *lab.Daemon {
	b.t.Helper()
	must(b.t, os.WriteFile(name, nil, 0o644))
	done := &lab.Daemon{Exe: d.Exe, Comm: d.Comm}
	line := d.Line(b.t)
	if _, err := fmt.Sscanf(line, "DONE %d", &done.PID); err != nil {
		b.t.Fatalf("%q said %q instead of DONE: %v", d.Exe, line, err)
	}
	if done.PID != d.PID {
		b.pids = append(b.pids, done.PID)
	}
	return done
}

// with adds the files of another finding for the same process.
func with(f, other lab.Finding) lab.Finding {
	f.Files = append(f.Files, other.Files...)
	return f
}

// neverStale asserts with every source that nothing is said of the case's
// processes but, at most, that it cannot be told for d.
func (b *box) neverStale(d *lab.Daemon) {
	b.t.Helper()
	lab.EachSource(b.t, func(t *testing.T, source string) {
		r := sensorAt.Stale(t, "--source", source)
		got, err := lab.ByProcess(&r.Report, b.pids...)
		must(t, err)
		for _, f := range got {
			if f.PID != d.PID || f.State != sensor.Unknown || f.Action != sensor.None {
				t.Errorf("PID %d (%s, the case's is %d) is %s (%s), action %s: %+v", f.PID, f.Comm, d.PID, f.State, f.Reason, f.Action, f.Files)
			}
		}
	})
}
