package probe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// kernelHas reports whether the running kernel is at least this old.
func kernelHas(major, minor int) bool {
	a, b, ok := host.KernelVersion(host.KernelRelease())
	return ok && (a > major || (a == major && b >= minor))
}

func openBPF(t testing.TB) *probe.Snapshot {
	t.Helper()
	s, err := probe.OpenSnapshot()
	if errors.Is(err, probe.ErrUnavailable) && (os.Geteuid() != 0 || !kernelHas(5, 12)) {
		t.Skipf("the BPF iterator needs root and Linux 5.12: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type source struct {
	name string
	take func(testing.TB) []snapshot.Process
}

func byBPF(t testing.TB) []snapshot.Process {
	t.Helper()
	list, err := openBPF(t).Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func byText(t testing.TB) []snapshot.Process {
	t.Helper()
	list, err := procfs(t).Snapshot(context.Background(), proc.ByText)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func byQuery(t testing.TB) []snapshot.Process {
	t.Helper()
	list, err := procfs(t).Snapshot(context.Background(), proc.ByQuery)
	if errors.Is(err, proc.ErrNoQuery) && !kernelHas(6, 11) {
		t.Skip("PROCMAP_QUERY needs Linux 6.11")
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var sources = []source{{"bpf", byBPF}, {"procmap", byQuery}, {"maps", byText}}

// subject is a process and what every source must say of it.
type subject struct {
	name string
	pid  int
	want snapshot.Process // UID, Comm, Exe, InnerPID (0: as pid) and ForkNoExec
	// leaderless: another thread stands for the process.
	leaderless bool
	// extra is how many files beyond its own it has mapped.
	extra int
}

// target is the path that name leads to.
func target(t testing.TB, name string) string {
	t.Helper()
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// subjects starts one process of each kind that is special somewhere.
func subjects(t testing.TB) []subject {
	t.Helper()
	uid := uint32(os.Geteuid())
	dir := t.TempDir()
	var list []subject
	add := func(s subject) {
		s.want.UID += uid
		list = append(list, s)
	}

	plain := sleeper(t)
	start(t, plain, false)
	sleep, sh, test := target(t, plain.Path), target(t, "/bin/sh"), target(t, "/proc/self/exe")
	add(subject{name: "plain", pid: plain.Process.Pid, want: snapshot.Process{Comm: "sleep", Exe: sleep}})

	// A file by two names, and names that the text of maps has to escape.
	one := copyOf(t, plain.Path, dir, "one  two\n(deleted)")
	two := filepath.Join(dir, "three")
	if err := os.Link(one, two); err != nil {
		t.Fatal(err)
	}
	// No name at all: the memory file is mapped beside.
	many := self(childWaits, one, two, one)
	start(t, many, true)
	add(subject{name: "threads and files", pid: many.Process.Pid, want: snapshot.Process{Comm: "exe", Exe: test}, extra: 3})

	leaderless := self(childLeader, one, two)
	start(t, leaderless, true)
	settle(t, leaderless.Process.Pid, "the end of the main thread", proc.Stat.Dead)
	add(subject{name: "main thread has ended", pid: leaderless.Process.Pid, want: snapshot.Process{Comm: "exe", Exe: test}, leaderless: true, extra: 3})

	add(subject{name: "forked", pid: forked(t), want: snapshot.Process{Comm: "sh", Exe: sh, ForkNoExec: true}})

	odd := sleeper(t)
	odd.Path = copyOf(t, plain.Path, dir, "a) b\n(deleted)")
	start(t, odd, false)
	if err := os.Remove(odd.Path); err != nil {
		t.Fatal(err)
	}
	add(subject{name: "odd name, deleted", pid: odd.Process.Pid, want: snapshot.Process{Comm: "a) b\n(deleted)", Exe: odd.Path + " (deleted)"}})

	if uid == 0 {
		inner := sleeper(t)
		inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
		start(t, inner, false)
		add(subject{name: "own namespaces", pid: inner.Process.Pid, want: snapshot.Process{Comm: "sleep", Exe: sleep, InnerPID: 1}})

		other := sleeper(t)
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		start(t, other, false)
		add(subject{name: "other user", pid: other.Process.Pid, want: snapshot.Process{Comm: "sleep", Exe: sleep, UID: nobody}})
	}
	for _, s := range list {
		if !s.leaderless { // exec was called, but ld.so may still be at work
			settle(t, s.pid, "rest", func(st proc.Stat) bool { return st.State == 'S' })
		}
	}
	return list
}

func find(t testing.TB, list []snapshot.Process, pid int) snapshot.Process {
	t.Helper()
	var found []snapshot.Process
	for _, p := range list {
		if p.PID == pid {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("process %d is listed %d times", pid, len(found))
	}
	return found[0]
}

// TestSource asks each source for what is known of each subject beforehand.
func TestSource(t *testing.T) {
	all := subjects(t)
	mntNS, pidNS := namespaces(t, os.Getpid())
	for _, src := range sources {
		t.Run(src.name, func(t *testing.T) {
			list := src.take(t)
			for _, s := range all {
				t.Run(s.name, func(t *testing.T) { s.check(t, find(t, list, s.pid), mntNS, pidNS) })
			}
		})
	}
}

func namespaces(t testing.TB, pid int) (mnt, ids uint32) {
	t.Helper()
	for name, to := range map[string]*uint32{"mnt": &mnt, "pid": &ids} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(link, name+":[%d]", to); err != nil {
			t.Fatalf("%s: %v", link, err)
		}
	}
	return mnt, ids
}

func (s subject) check(t *testing.T, p snapshot.Process, mntNS, pidNS uint32) {
	want := s.want
	if want.InnerPID == 0 {
		want.InnerPID = s.pid
	}
	if p.Err != nil || p.UID != want.UID || p.Comm != want.Comm || p.Exe != want.Exe || p.InnerPID != want.InnerPID || p.ForkNoExec != want.ForkNoExec {
		t.Errorf("%+v; want %+v", p, want)
	}
	if own := s.want.InnerPID == 1; (p.MntNS != mntNS) != own || (p.PIDNS != pidNS) != own {
		t.Errorf("namespaces %d and %d; the test's are %d and %d", p.MntNS, p.PIDNS, mntNS, pidNS)
	}
	if p.Aux.Phdr == 0 || p.Aux.Phnum == 0 || p.Aux.ExecFn == 0 {
		t.Errorf("auxiliary vector %+v", p.Aux)
	}
	if s.leaderless {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", s.pid, p.TID)); err != nil || p.TID == s.pid {
			t.Errorf("thread %d: %v", p.TID, err)
		}
	} else if p.TID != s.pid {
		t.Errorf("thread %d", p.TID)
	}
	if err := open(t, s.pid).Verify(p.Start); err != nil {
		t.Error(err)
	}
	exe := 0
	seen := make(map[uint64]bool)
	for i, m := range p.Mappings {
		if m.Exe {
			exe++
		}
		// The executable is first and has no addresses, the others follow by address.
		if seen[m.File.Key] || m.Exe != (i == 0) || m.Exe != (m.Start >= m.End) || (i > 0 && m.Start <= p.Mappings[i-1].Start) {
			t.Errorf("mapping %d: %+v", i, m)
		}
		seen[m.File.Key] = true
	}
	if exe != 1 || len(p.Mappings) <= s.extra {
		t.Errorf("%d executables, %d mappings", exe, len(p.Mappings))
	}
}
