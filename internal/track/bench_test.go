package track

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

const (
	manyProcesses = 10000
	filesEach     = 30
	manyFiles     = 500
)

// crowd is a full snapshot of many processes, all forks of the first or all
// different.
func crowd(forks bool) []snapshot.Process {
	files := make([]*snapshot.File, manyFiles)
	for i := range files {
		files[i] = &snapshot.File{Key: uint64(i + 1), ID: file.LayerID(1, uint64(i+1)), Ctime: 1, Size: 1}
	}
	exe := "/usr/bin/program"
	list := make([]snapshot.Process, manyProcesses)
	for i := range list {
		p := snapshot.Process{PID: i + 1, TID: i + 1, PPID: 1, Start: time.Duration(i + 1), ForkNoExec: forks,
			Comm: fmt.Sprintf("program %d", i), Exe: exe}
		for j := range filesEach {
			m := snapshot.Mapping{File: files[j]}
			if j == 0 {
				m.Exe = true
			} else {
				m.Start = uint64(j+1) << 12
			}
			if !forks {
				m.File = files[(i*7+j)%manyFiles]
				m.Start += uint64(i) << 30
			}
			if !m.Exe {
				m.End = m.Start + 1
			}
			p.Mappings = append(p.Mappings, m)
		}
		list[i] = p
	}
	return list
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// perPair is how many bytes of heap a State takes for each pair of process and
// file.
func perPair(forks bool) float64 {
	before := heap()
	s := New(Limits{})
	s.Seed(crowd(forks), time.Second, time.Second)
	after := heap()
	n := s.Count().Processes * filesEach
	return float64(after-before) / float64(n)
}

// TestMemory holds that a pair costs little more than its snapshot.Mapping, and a
// fork's next to nothing.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		forks bool
		most  float64
	}{{false, 60}, {true, 16}} {
		if got := perPair(c.forks); got > c.most {
			t.Errorf("forks %v: %.1f bytes a pair, at most %.0f wanted", c.forks, got, c.most)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, forks := range []bool{false, true} {
		b.Run(fmt.Sprintf("forks=%v", forks), func(b *testing.B) {
			var sum float64
			for range b.N {
				sum += perPair(forks)
			}
			b.ReportMetric(sum/float64(b.N), "B/pair")
		})
	}
}

// BenchmarkApply lets short-lived processes run beside many others, and marks and
// reads them as the kernel side and the daemon do, every thousand processes.
func BenchmarkApply(b *testing.B) {
	s := New(Limits{})
	s.Seed(crowd(false), time.Second, time.Second)
	files := make([]*snapshot.File, 5)
	for i := range files {
		files[i] = &snapshot.File{Key: uint64(i + 1), ID: file.LayerID(1, uint64(i+1)), Ctime: 1, Size: 1}
	}
	now := 2 * time.Second
	tick := func() time.Duration { now += 10 * time.Microsecond; return now }
	const events = 8 // of each process
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += events {
		pid, start := manyProcesses+1+i/events%20000, tick()
		facts := snapshot.Process{PID: pid, PPID: 1 + i%manyProcesses, Start: start, Comm: "short"}
		s.Apply(trace.Event{Kind: trace.Fork, At: tick(), PID: pid, Start: start, Image: 1, Process: &facts})
		for _, f := range files {
			s.Apply(trace.Event{Kind: trace.Map, At: tick(), PID: pid, Start: start, Image: 2, File: f, Name: "/usr/lib/file"})
		}
		s.Apply(trace.Event{Kind: trace.Exec, At: tick(), PID: pid, Start: start, Image: 2, Process: &facts})
		s.Apply(trace.Event{Kind: trace.Exit, At: tick(), PID: pid, Start: start, Image: 2})
		if i/events%1000 == 999 {
			began := tick()
			s.Mark([]int{pid}, began, tick())
			dirty, _ := s.Dirty()
			began = tick()
			s.Update(dirty, nil, began, tick())
			s.Ended()
		}
	}
}

func BenchmarkSeed(b *testing.B) {
	s := New(Limits{})
	list := crowd(false)
	at := time.Second
	s.Seed(list, at, at)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		at += time.Second
		s.Seed(list, at, at)
	}
}

func BenchmarkProcesses(b *testing.B) {
	s := New(Limits{})
	s.Seed(crowd(false), time.Second, time.Second)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if len(s.Processes()) != manyProcesses {
			b.Fatal("processes are missing")
		}
	}
}

func BenchmarkDirty(b *testing.B) {
	s := New(Limits{})
	s.Seed(crowd(false), time.Second, time.Second)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if pids, all := s.Dirty(); all || len(pids) != 0 {
			b.Fatal("dirty")
		}
	}
}
