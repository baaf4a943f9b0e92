package cases

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// old is the age of the files that a case installs: as in real packages, their
// modification time lies long before the process that loads them.
const old = 30 * 24 * time.Hour

// box is one case: a scratch directory without packages, the processes started
// in it, and among them a control whose files nobody touches and for which
// there must never be a finding.
type box struct {
	t    *testing.T
	dir  string
	pids []int
	// changed and done bound the change that makes running code stale.
	changed, done time.Time
}

func newBox(t *testing.T) *box {
	t.Helper()
	lab.Root(t)
	b := &box{t: t, dir: lab.Scratch(t)}
	b.install(library(t, "libcontrol.so.1", "1"), "control/libcontrol.so.1")
	b.start(lab.Command{
		Path: b.install(daemon(t, "1"), "control/controld"),
		Args: []string{"open", b.path("control/libcontrol.so.1")},
	})
	return b
}

// daemon is testdata/daemon.c in a version, linked against the given libraries.
func daemon(t *testing.T, version string, needed ...string) string {
	t.Helper()
	return workshop.C(t, append([]string{"-DVERSION=\"" + version + "\"", "testdata/daemon.c"}, needed...)...)
}

// library is testdata/lib.c with a soname and a content that depends on
// version.
func library(t *testing.T, soname, version string, flags ...string) string {
	t.Helper()
	return workshop.C(t, append([]string{"-shared", "-fPIC", "-DVERSION=\"" + version + "\"",
		"-Wl,-soname," + soname, "testdata/lib.c"}, flags...)...)
}

func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

// install puts a copy of the file from at name as a new inode, the way package
// managers do, renamed over what is there.
func (b *box) install(from, name string) string {
	b.t.Helper()
	to := b.path(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		b.t.Fatal(err)
	}
	copyFile(b.t, from, to+".new", os.O_CREATE|os.O_EXCL)
	if err := os.Rename(to+".new", to); err != nil {
		b.t.Fatal(err)
	}
	return to
}

// copyFile writes the content of from to the file to, opened with the given
// flags beside O_WRONLY, and makes it old.
func copyFile(t *testing.T, from, to string, flags int) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|flags, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	if flags&os.O_EXCL != 0 {
		past := time.Now().Add(-old)
		must(t, os.Chtimes(to, past, past))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settle separates what a case does before from what it does after: start times
// of processes are known in clock ticks of 10 ms, change times of files in
// those of the kernel's timer.
func settle() { time.Sleep(30 * time.Millisecond) }

// start starts a daemon of this case.
func (b *box) start(c lab.Command) *lab.Daemon {
	b.t.Helper()
	settle()
	d := lab.Start(b.t, c)
	b.pids = append(b.pids, d.PID)
	return d
}

// food starts a daemon that needs lib/libfoo.so.1, in version 1.
func (b *box) food() *lab.Daemon {
	b.t.Helper()
	lib := library(b.t, "libfoo.so.1", "1")
	b.install(lib, "lib/libfoo.so.1")
	return b.start(lab.Command{
		Path: b.install(daemon(b.t, "1", lib), "bin/food"),
		Env:  []string{"LD_LIBRARY_PATH=" + b.path("lib")},
	})
}

// change does what makes running code stale, well after the daemons began.
func (b *box) change(f func()) {
	b.t.Helper()
	settle()
	b.changed = time.Now()
	f()
	b.done = time.Now()
}

// want makes the finding for a process that belongs to nothing, with one file
// that no package owns.
func want(d *lab.Daemon, state sensor.State, reason sensor.Reason, name, loaded, installed string) lab.Finding {
	action := sensor.Restart
	if state != sensor.Stale {
		action = sensor.None
	}
	return lab.Finding{
		PID: d.PID, Comm: d.Comm, Exe: d.Exe, Workload: "process",
		State: state, Reason: reason, Domain: sensor.DomainHost, Action: action,
		Command: []string{},
		Files: []sensor.File{{
			Path: name, State: state, Reason: reason,
			LoadedBuildID: loaded, InstalledBuildID: installed,
		}},
		Packages: []sensor.Package{},
	}
}

// stale is the finding for a daemon whose file name holds another content now.
func (b *box) stale(d *lab.Daemon, reason sensor.Reason, name, loaded, installed string) lab.Finding {
	b.t.Helper()
	return want(d, sensor.Stale, reason, name, lab.BuildID(b.t, loaded), lab.BuildID(b.t, installed))
}

// expect asserts with every source that the sensor finds exactly this of the
// case's processes.
func (b *box) expect(want ...lab.Finding) {
	b.t.Helper()
	lab.EachSource(b.t, func(t *testing.T, source string) {
		r := sensorAt.Stale(t, "--source", source)
		if r.Report.Source != source {
			t.Errorf("asked for source %s, report says %s", source, r.Report.Source)
		}
		lab.Check(t, &r.Report, b.pids, want...)
	})
}

// silence asserts that there is nothing to say of the case's processes.
func (b *box) silence() {
	b.t.Helper()
	b.expect()
}
