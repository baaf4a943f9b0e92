package probe_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

func readProcesses(t testing.TB, s *probe.Snapshot, pids ...int) []snapshot.Process {
	t.Helper()
	list, err := s.ReadProcesses(context.Background(), pids)
	if errors.Is(err, probe.ErrNoProcessIter) && !kernelHas(6, 1) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestReadProcesses holds that single processes look as in a full pass.
func TestReadProcesses(t *testing.T) {
	s := openBPF(t)
	readProcesses(t, s, os.Getpid())
	all := subjects(t)
	var pids []int
	for _, subject := range all {
		pids = append(pids, subject.pid)
	}
	full, err := s.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// Twice: what one call wrote is not left out of the next.
	for range 2 {
		list := readProcesses(t, s, pids...)
		if len(list) != len(pids) {
			t.Errorf("%d of %d processes", len(list), len(pids))
		}
		for _, subject := range all {
			t.Run(subject.name, func(t *testing.T) { equal(t, find(t, list, subject.pid), find(t, full, subject.pid)) })
		}
	}
}

func equal(t *testing.T, p, full snapshot.Process) {
	t.Helper()
	// Which of several threads stands for an ended main thread is open.
	if p.TID != p.PID && full.TID != full.PID {
		p.TID = full.TID
	}
	if !same(p, full) || p.Comm != full.Comm || p.Exe != full.Exe || len(p.Mappings) != len(full.Mappings) {
		t.Fatalf("%+v, in a full pass %+v", p, full)
	}
	for i, m := range p.Mappings {
		o := full.Mappings[i]
		if *m.File != *o.File || m.Start != o.Start || m.End != o.End || m.Exe != o.Exe {
			t.Errorf("%+v %+v, in a full pass %+v %+v", m, m.File, o, o.File)
		}
	}
}

// TestReadNoProcesses holds that what has ended is left out, and nothing else.
func TestReadNoProcesses(t *testing.T) {
	s := openBPF(t)
	ended := self(childObeys)
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	mine := os.Getpid()
	list := readProcesses(t, s, ended.Process.Pid, mine, 1<<30, mine, ended.Process.Pid)
	if len(list) != 1 || list[0].PID != mine {
		t.Errorf("%+v", list)
	}
	if list := readProcesses(t, s); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.ReadProcesses(ctx, []int{mine}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !slices.ContainsFunc(readProcesses(t, s, mine), func(p snapshot.Process) bool { return p.PID == mine }) {
		t.Error("not there after a cancelled call")
	}
}

// BenchmarkReadProcess is to be compared with BenchmarkSnapshotBPF: one process
// with all of the machine's.
func BenchmarkReadProcess(b *testing.B) {
	s := openBPF(b)
	cmd := sleeper(b)
	start(b, cmd, false)
	pid := cmd.Process.Pid
	readProcesses(b, s, pid)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ReadProcesses(context.Background(), []int{pid}); err != nil {
			b.Fatal(err)
		}
	}
}
