package probe_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// TestProgram follows a process from its fork to its end, and compares what is
// told of it with a snapshot.
func TestProgram(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		tr := openTracer(t, probe.TracerOptions{Tier: tier}).run()
		// A name of its own, so that it is told however often it ran before.
		name := copyOf(t, "/proc/self/exe", t.TempDir(), "pro gram")
		lib := code(t, 1)[0]
		cmd := self(childObeys)
		cmd.Path = name
		c := startObedient(t, cmd)
		pid := cmd.Process.Pid
		c.do(t, "map", lib)
		list := taken(t, pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		events := tr.of(pid)

		// The program is mapped before the kernel tells of its exec.
		want := []trace.Kind{trace.Fork, trace.Map, trace.Exec, trace.Map, trace.Exit}
		switch tier {
		case probe.TierSysExit:
			want = slices.Delete(want, 1, 2) // execve itself is no mmap
		case probe.TierPerf:
			want = slices.Insert(want, 1, trace.Image)
		}
		if got := slices.Compact(kinds(events)); !slices.Equal(got, want) {
			t.Fatalf("kinds %v; want %v: %+v", got, want, events)
		}
		fork, exit := events[0], events[len(events)-1]
		run := events[slices.Index(kinds(events), trace.Exec)]
		if fork.Process.PPID != os.Getpid() || !fork.Process.ForkNoExec || fork.Process.PID != pid || run.Process.ForkNoExec {
			t.Errorf("fork of %d: %+v, exec %+v", os.Getpid(), fork.Process, run.Process)
		}
		if run.Image != fork.Image+1 || exit.Image != run.Image || run.Start != fork.Start || exit.Start != fork.Start {
			t.Errorf("fork %+v, exec %+v, exit %+v", fork, run, exit)
		}
		if run.Name != name || run.File == nil || !isFile(t, run.File, name) {
			t.Errorf("exec of %q: %q, %+v", name, run.Name, run.File)
		}
		program := mapsOf(t, events, name)
		if tier != probe.TierSysExit && (len(program) == 0 || inKernel(tier) && program[0].Image != run.Image || program[0].At > run.At || program[0].At < fork.At) {
			t.Errorf("program %+v; exec %+v", program, run)
		}
		if i := slices.Index(kinds(events), trace.Image); i >= 0 && (events[i].Image != run.Image || events[i].Start != run.Start) {
			t.Errorf("image %+v; exec %+v", events[i], run)
		}
		libs := mapsOf(t, events, lib)
		if len(libs) != 1 || libs[0].At < run.At || libs[0].At > exit.At {
			t.Fatalf("library %+v", libs)
		}
		if named := tier == probe.TierPerf; named && libs[0].Name != lib || !named && (libs[0].Image != run.Image || libs[0].Start != run.Start) {
			t.Errorf("library %+v", libs[0])
		}
		if list != nil {
			agrees(t, *run.Process, *list, run.File)
		}
		if list != nil && inKernel(tier) && tier != probe.TierSysExit {
			for _, m := range list.Mappings {
				if !slices.ContainsFunc(events, func(e trace.Event) bool { return e.File != nil && *e.File == *m.File }) {
					t.Errorf("%+v was not told", *m.File)
				}
			}
		}
	})
}

// taken is a snapshot of one process; nil where there is none.
func taken(t *testing.T, pid int) *snapshot.Process {
	if !kernelHas(5, 12) {
		return nil
	}
	list, err := openBPF(t).Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p := find(t, list, pid)
	return &p
}

// agrees compares what an event says of a process with what a snapshot says.
func agrees(t *testing.T, told, taken snapshot.Process, exe *snapshot.File) {
	t.Helper()
	if told.Mappings != nil || len(taken.Mappings) == 0 || *taken.Mappings[0].File != *exe {
		t.Errorf("told %+v, taken %+v", exe, taken.Mappings)
	}
	a, b := told, taken
	a.Exe, b.Exe, a.Mappings, b.Mappings, a.Comm, b.Comm = "", "", nil, nil, "", ""
	if !same(a, b) || !strings.HasPrefix(told.Comm, "pro gram") {
		t.Errorf("told  %+v\ntaken %+v", told, taken)
	}
}

func same(a, b snapshot.Process) bool {
	return a.PID == b.PID && a.TID == b.TID && a.PPID == b.PPID && a.InnerPID == b.InnerPID && a.Start == b.Start && a.UID == b.UID &&
		a.PIDNS == b.PIDNS && a.MntNS == b.MntNS && a.RootKey == b.RootKey && a.CgroupKey == b.CgroupKey && a.ForkNoExec == b.ForkNoExec && a.Aux == b.Aux
}

// TestMappings holds what is told of files that become executable in a process
// that runs already.
func TestMappings(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		c := startObedient(t, self(childObeys))
		files := code(t, 4)
		tr := openTracer(t, probe.TracerOptions{Tier: tier}).run()
		pid := c.Process.Pid
		c.do(t, "read", files[0])
		c.do(t, "map", files[1])
		c.do(t, "protect", files[2])
		events := tr.of(pid)
		for i, want := range []int{0, 1, 1} {
			if got := mapsOf(t, events, files[i]); len(got) != want {
				t.Errorf("file %d: %+v", i, got)
			}
		}
		if !tr.isDirty(pid) {
			t.Error("not marked")
		}
		time.Sleep(2 * settling)
		tr.TakeDirty()
		if tr.isDirty(pid) {
			t.Error("still marked")
		}
		// Repetitions mark the process, which may have unmapped the file before.
		c.do(t, "map", files[1])
		c.do(t, "protect", files[2])
		events = tr.of(pid)
		if !tr.isDirty(pid) {
			t.Error("not marked by a repetition")
		}
		for i, want := range []int{0, 1, 1} {
			if got := mapsOf(t, events, files[i]); inKernel(tier) && len(got) != want {
				t.Errorf("file %d: %+v", i, got)
			}
		}
		if inKernel(tier) && tr.Stats().Observed[probe.ObservedRepeated] < 2 {
			t.Errorf("%+v", tr.Stats())
		}
		// The same inode with other content is something else.
		c.do(t, "touch", files[1])
		c.do(t, "map", files[1])
		if got := mapsOf(t, tr.of(pid), files[1]); len(got) < 2 {
			t.Errorf("changed file: %+v", got)
		}
		// And so is the same file in another program.
		c.do(t, "map", files[3])
		before := mapsOf(t, tr.of(pid), files[3])
		c.do(t, "exec", target(t, "/proc/self/exe"))
		c.do(t, "map", files[3])
		after := mapsOf(t, tr.of(pid), files[3])
		if len(before) != 1 || len(after) != 2 || inKernel(tier) && after[1].Image != before[0].Image+1 {
			t.Errorf("before exec %+v, after %+v", before, after)
		}
	})
}

// settling is longer than a mark stands that is not sure to be of the past.
const settling = 25 * time.Millisecond

// TestThreads holds that threads are no processes, and that a process ends once,
// with its last thread.
func TestThreads(t *testing.T) {
	tr := openTracer(t, probe.TracerOptions{Tier: probe.TierExec}).run()
	cmd := self(childLeader)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	settle(t, pid, "the end of the main thread", proc.Stat.Dead)
	if got := kinds(tr.of(pid)); !slices.Contains(got, trace.Exec) || slices.Contains(got, trace.Exit) {
		t.Errorf("main thread has ended: %v", got)
	}
	threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	if err != nil || len(threads) < 2 {
		t.Fatalf("%v, %v", threads, err)
	}
	stdin.Close()
	_ = cmd.Wait()
	events := tr.of(pid)
	if got := kinds(events); count(events, trace.Exit) != 1 || got[len(got)-1] != trace.Exit {
		t.Errorf("process has ended: %v", got)
	}
	for _, thread := range threads {
		if tid, _ := strconv.Atoi(thread.Name()); tid != pid && len(tr.of(tid)) > 0 {
			t.Errorf("thread %d: %+v", tid, tr.of(tid))
		}
	}
}

// TestExitOnce ends processes whose threads all end at the same time.
func TestExitOnce(t *testing.T) {
	tr := openTracer(t, probe.TracerOptions{Tier: probe.TierExec}).run()
	var pids []int
	for range 30 {
		cmd := self(childWaits)
		start(t, cmd, true)
		pids = append(pids, cmd.Process.Pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = cmd.Process.Wait()
	}
	for _, pid := range pids {
		if events := tr.of(pid); count(events, trace.Fork) != 1 || count(events, trace.Exit) != 1 {
			t.Errorf("process %d: %v", pid, kinds(events))
		}
	}
	if dirty, complete := tr.TakeDirty(); complete && slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(dirty, pid) }) {
		t.Errorf("processes that have ended are marked: %v of %v", dirty, pids)
	}
}

// TestOwnNamespaces holds which numbers and namespaces are told of a container's
// processes.
func TestOwnNamespaces(t *testing.T) {
	tr := openTracer(t, probe.TracerOptions{Tier: probe.TierExec}).run()
	cmd := self(childWaits)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	start(t, cmd, true)
	mntNS, pidNS := namespaces(t, cmd.Process.Pid)
	events := tr.of(cmd.Process.Pid)
	run := events[slices.Index(kinds(events), trace.Exec)].Process
	if run.InnerPID != 1 || run.PID != cmd.Process.Pid || run.UID != nobody || run.MntNS != mntNS || run.PIDNS != pidNS || run.PPID != os.Getpid() {
		t.Errorf("%+v", run)
	}
}
