package track

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

const ms = time.Millisecond

// base is a time by which everything of before has settled.
const base = time.Minute

func testFile(n int) *snapshot.File {
	return &snapshot.File{Key: uint64(n), ID: file.LayerID(1, uint64(n)), Ctime: 1, Size: 1}
}

// reading is what a source shows of a process: files[0] is the executable.
func readingOf(pid int, start time.Duration, files ...int) snapshot.Process {
	p := snapshot.Process{PID: pid, TID: pid, PPID: 1, Start: start, Comm: "read"}
	for i, n := range files {
		m := snapshot.Mapping{File: testFile(n), Exe: i == 0}
		if i > 0 {
			m.Start = uint64(n) << 12
			m.End = m.Start + 1
		}
		p.Mappings = append(p.Mappings, m)
	}
	return p
}

// seeded knows process 1, which has files 1 and 2.
func seeded(limits Limits, more ...snapshot.Process) *State {
	s := New(limits)
	s.Seed(append([]snapshot.Process{readingOf(1, 1, 1, 2)}, more...), base, base+ms)
	return s
}

func forkOf(ppid, pid int, start time.Duration) trace.Event {
	return trace.Event{Kind: trace.Fork, At: start, PID: pid, Start: start, Image: 1,
		Process: &snapshot.Process{PID: pid, PPID: ppid, Start: start, Comm: "forked"}}
}

func event(kind trace.Kind, at time.Duration, pid int, start time.Duration, image uint32) trace.Event {
	e := trace.Event{Kind: kind, At: at, PID: pid, Start: start, Image: image}
	if kind == trace.Exec {
		e.Process = &snapshot.Process{PID: pid, PPID: 1, Start: start, Comm: "executed"}
	}
	return e
}

func mapOf(at time.Duration, pid int, start time.Duration, image uint32, n int) trace.Event {
	e := event(trace.Map, at, pid, start, image)
	e.File, e.Name = testFile(n), fmt.Sprintf("/lib/%d", n)
	return e
}

// filesOf are the files of a process in order, nil if it is not known.
func filesOf(s *State, pid int) []uint64 {
	p, _, ok := s.Process(pid)
	if !ok {
		return nil
	}
	keys := []uint64{}
	for _, m := range p.Mappings {
		keys = append(keys, m.File.Key)
	}
	return keys
}

func ats(s *State, pid int) []time.Duration {
	var list []time.Duration
	p, _, _ := s.Process(pid)
	for _, m := range p.Mappings {
		list = append(list, m.At)
	}
	return list
}

// want holds which files a process has, and whether it is to be read.
func want(t *testing.T, s *State, pid int, dirty bool, files ...uint64) {
	t.Helper()
	if got := filesOf(s, pid); !slices.Equal(got, files) || got == nil {
		t.Errorf("%d has %v, want %v", pid, got, files)
	}
	pids, all := s.Dirty()
	if got := all || slices.Contains(pids, pid); got != dirty {
		t.Errorf("%d is dirty: %v, want %v", pid, got, dirty)
	}
}

func TestFork(t *testing.T) {
	at := base + 10*ms
	s := seeded(Limits{}, snapshot.Process{PID: 5, TID: 5, Start: 5, Err: errTestRefused})
	s.Apply(forkOf(1, 2, at))
	want(t, s, 2, false, 1, 2)
	parent, _, _ := s.Process(1)
	child, info, _ := s.Process(2)
	if &parent.Mappings[0] != &child.Mappings[0] {
		t.Error("a fork has another list than its parent")
	}
	if child.PPID != 1 || child.Comm != "forked" || !child.ForkNoExec || child.Start != at || child.Err != nil || info.Read != base {
		t.Errorf("the fork is %+v, %+v", child, info)
	}
	if c := s.Count(); c.Loads != 2 {
		t.Errorf("%d loads", c.Loads)
	}
	s.Apply(forkOf(77, 3, at))
	want(t, s, 3, true)
	if p, _, _ := s.Process(3); !errors.Is(p.Err, ErrUnread) {
		t.Errorf("a fork of nobody: %v", p.Err)
	}
	s.Apply(mapOf(at+ms, 1, 1, 1, 3))
	s.Apply(forkOf(1, 4, at+2*ms))
	want(t, s, 4, true, 1, 2, 3)
	s.Apply(forkOf(5, 6, at))
	want(t, s, 6, true)
}

// TestLateChange holds that forks which missed a change, as it was told after them,
// are read.
func TestLateChange(t *testing.T) {
	at := base + 10*ms
	for name, e := range map[string]trace.Event{
		"map":            mapOf(at, 1, 1, 1, 3),
		"exec":           event(trace.Exec, at, 1, 1, 2),
		"map of no more": mapOf(at, 9, 9, 1, 3),
	} {
		s := seeded(Limits{})
		s.Apply(forkOf(1, 2, at-ms))
		s.Apply(forkOf(1, 3, at+ms))
		s.Apply(forkOf(3, 4, at+2*ms))
		s.Apply(e)
		want(t, s, 2, false, 1, 2)
		want(t, s, 3, true, 1, 2)
		want(t, s, 4, true, 1, 2)
		if name == "exec" {
			s.Apply(forkOf(1, 5, at-ms))
			want(t, s, 5, true)
		}
	}
}

func TestExec(t *testing.T) {
	at := base + 10*ms
	for name, events := range map[string][]trace.Event{
		"mappings first": {
			mapOf(at, 1, 1, 2, 3), mapOf(at+ms, 1, 1, 2, 2), event(trace.Exec, at+2*ms, 1, 1, 2),
		},
		"unknown before, first told the old image": {
			mapOf(at-ms, 1, 1, 7, 4), mapOf(at, 1, 1, 8, 3), mapOf(at+ms, 1, 1, 8, 2), event(trace.Exec, at+2*ms, 1, 1, 8),
		},
		"unknown before, first told the new image": {
			mapOf(at, 1, 1, 8, 3), mapOf(at+ms, 1, 1, 8, 2), event(trace.Exec, at+2*ms, 1, 1, 8),
		},
		"exec first, no images": {
			event(trace.Exec, at, 1, 0, 0), mapOf(at, 1, 0, 0, 3), mapOf(at+ms, 1, 0, 0, 2),
		},
		"exec told after its mappings, no images": {
			mapOf(at, 1, 0, 0, 3), event(trace.Exec, at, 1, 0, 0), mapOf(at+ms, 1, 0, 0, 2),
		},
		"image": {
			event(trace.Image, at-ms, 1, 1, 0), mapOf(at, 1, 0, 0, 3), mapOf(at+ms, 1, 0, 0, 2), event(trace.Exec, at+2*ms, 1, 1, 0),
		},
		"image counted": {
			event(trace.Image, at-ms, 1, 1, 2), mapOf(at, 1, 0, 0, 3), mapOf(at+ms, 1, 0, 0, 2), event(trace.Exec, at+2*ms, 1, 1, 2),
		},
		"mapping of the old program late": {
			mapOf(at, 1, 1, 2, 3), mapOf(at-ms, 1, 1, 1, 9), mapOf(at+ms, 1, 1, 2, 2), event(trace.Exec, at+2*ms, 1, 1, 2),
		},
		"exec twice": {
			mapOf(at, 1, 1, 2, 3), event(trace.Exec, at+2*ms, 1, 1, 2), mapOf(at+3*ms, 1, 1, 2, 2), event(trace.Exec, at+2*ms, 1, 1, 2),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := seeded(Limits{})
			start := base + 5*ms
			s.Apply(forkOf(1, 2, start))
			if strings.HasPrefix(name, "unknown") {
				s = seeded(Limits{}, readingOf(2, start, 1, 4))
			}
			for _, e := range events {
				if e.PID = 2; e.Start != 0 {
					e.Start = start
				}
				s.Apply(e)
			}
			want(t, s, 2, true, 3, 2)
			if got := ats(s, 2)[0]; got != at {
				t.Errorf("mapped at %v, want %v", got, at)
			}
			p, _, _ := s.Process(2)
			if !errors.Is(p.Err, ErrUnread) || p.ForkNoExec {
				t.Errorf("Err is %v, ForkNoExec %v", p.Err, p.ForkNoExec)
			}
			s.Update([]int{2}, []snapshot.Process{readingOf(2, start, 3, 2)}, at+5*time.Second, at+6*time.Second)
			want(t, s, 2, false, 3, 2)
			if got := ats(s, 2)[0]; got != at {
				t.Errorf("after a reading, mapped at %v, want %v", got, at)
			}
		})
	}
}

// TestLateExec holds that an exec which a reading covers undoes nothing, but for the
// times at which the program before mapped.
func TestLateExec(t *testing.T) {
	s := seeded(Limits{})
	at := base + 10*ms
	s.Apply(mapOf(at, 1, 1, 1, 3))
	s.Update([]int{1}, []snapshot.Process{readingOf(1, 1, 5, 3)}, at+2*time.Second, at+3*time.Second)
	s.Apply(event(trace.Exec, at+time.Second, 1, 1, 2))
	want(t, s, 1, false, 5, 3)
	if got := ats(s, 1); got[0] != 0 || got[1] != 0 {
		t.Errorf("mapped at %v, want never", got)
	}
	if p, _, _ := s.Process(1); p.Comm != "read" {
		t.Errorf("the late exec renamed it to %q", p.Comm)
	}
}

func TestMap(t *testing.T) {
	at := base + 10*ms
	s := seeded(Limits{})
	handed := s.Processes()
	revision := s.Revision()
	s.Apply(mapOf(at, 1, 1, 1, 2))
	want(t, s, 1, false, 1, 2)
	if s.Revision() != revision {
		t.Error("mapping a file again is a change")
	}
	s.Apply(mapOf(at+ms, 1, 1, 1, 3))
	want(t, s, 1, true, 1, 2, 3)
	if s.Revision() == revision {
		t.Error("mapping a file is no change")
	}
	if got := ats(s, 1); !slices.Equal(got, []time.Duration{0, 0, at + ms}) {
		t.Errorf("mapped at %v", got)
	}
	if len(handed[0].Mappings) != 2 {
		t.Error("what was handed out has changed")
	}
	// Found by one reading, with a file that nobody told of.
	s.Update([]int{1}, []snapshot.Process{readingOf(1, 1, 1, 2, 3, 4)}, at+2*ms, at+3*ms)
	want(t, s, 1, false, 1, 2, 3, 4)
	if got := ats(s, 1); !slices.Equal(got, []time.Duration{0, 0, at + ms, 0}) {
		t.Errorf("mapped at %v", got)
	}
	// Without a key, the inode tells.
	e := mapOf(at+5*ms, 1, 1, 1, 4)
	e.File = &snapshot.File{ID: e.File.ID, Path: "/lib/4"}
	s.Apply(e)
	want(t, s, 1, false, 1, 2, 3, 4)
	// The inode's number came again, or its content is another.
	e = mapOf(at+6*ms, 1, 1, 1, 4)
	e.File.Ctime = 2
	s.Apply(e)
	want(t, s, 1, true, 1, 2, 3, 4)
	if p, _, _ := s.Process(1); p.Mappings[3].File.Ctime != 2 {
		t.Error("the file is still the old one")
	}
	s.Apply(trace.Event{Kind: trace.Map, At: at, PID: 1, Start: 1}) // without a file
	want(t, s, 1, true, 1, 2, 3, 4)
}

// TestSettle holds that a reading refutes neither a mapping nor an exit that was just
// told, but does so later.
func TestSettle(t *testing.T) {
	s := seeded(Limits{}, readingOf(2, 2, 1))
	at := base + 10*ms
	s.Apply(mapOf(at, 1, 1, 1, 3))
	s.Apply(event(trace.Exit, at, 2, 2, 1))
	both := []snapshot.Process{readingOf(1, 1, 1, 2), readingOf(2, 2, 1)}
	s.Update([]int{1, 2}, both, at+ms, at+2*ms)
	want(t, s, 1, true, 1, 2, 3)
	if filesOf(s, 2) != nil {
		t.Error("a reading revived who ended")
	}
	later := at + settle + ms
	s.Seed(both, later, later+ms)
	want(t, s, 1, false, 1, 2)
	want(t, s, 2, false, 1)
	// A reading that began before the exit says nothing, however late it comes.
	s.Apply(event(trace.Exit, later+2*ms, 2, 2, 1))
	s.Seed(both, later+ms, later+9*time.Second)
	if filesOf(s, 2) != nil {
		t.Error("an old reading revived who ended")
	}
}

// TestOrder holds that what is known for a later time stays in force.
func TestOrder(t *testing.T) {
	at := base + 10*ms
	s := seeded(Limits{})
	s.Apply(mapOf(at, 1, 1, 1, 3))
	s.Apply(forkOf(1, 2, at))
	s.Apply(forkOf(1, 3, at))
	s.Apply(event(trace.Exit, at+ms, 3, at, 1))
	// A snapshot that began before all this, and had passed by 2 and 3.
	s.Seed([]snapshot.Process{readingOf(1, 1, 1, 2), readingOf(3, at, 1, 2)}, at-ms, at+9*ms)
	want(t, s, 1, true, 1, 2, 3)
	if filesOf(s, 2) == nil || filesOf(s, 3) != nil {
		t.Error("the snapshot undid a fork or an exit of after it began")
	}
	// One that began after it: 2 is gone, and its exit was lost.
	s.Seed([]snapshot.Process{readingOf(1, 1, 1, 2, 3)}, at+2*time.Second, at+3*time.Second)
	want(t, s, 1, false, 1, 2, 3)
	if filesOf(s, 2) != nil {
		t.Error("a process that is not in a full snapshot is still there")
	}
	// An older reading, and an event older than the reading, change nothing.
	s.Update([]int{1}, []snapshot.Process{readingOf(1, 1, 9)}, at+ms, at+4*time.Second)
	s.Apply(mapOf(at+ms, 1, 1, 1, 8))
	want(t, s, 1, false, 1, 2, 3)
	// Nor does an exec of a time before that of the program it runs.
	s.Apply(event(trace.Exec, at+4*time.Second, 1, 1, 5))
	s.Apply(mapOf(at+4*time.Second+ms, 1, 1, 5, 6))
	s.Update([]int{1}, []snapshot.Process{readingOf(1, 1, 6)}, at+5*time.Second, at+5*time.Second)
	s.Apply(event(trace.Exec, at+3*time.Second, 1, 1, 4))
	want(t, s, 1, false, 6)
}

func TestExit(t *testing.T) {
	at := base + 10*ms
	s := seeded(Limits{Ended: 2})
	s.Apply(forkOf(1, 2, at))
	s.Apply(event(trace.Exit, at+ms, 2, at, 1))
	if got := s.Ended(); len(got) != 0 {
		t.Errorf("a mere fork is reported: %+v", got)
	}
	s.Apply(forkOf(1, 2, at+2*ms))
	s.Apply(mapOf(at+3*ms, 2, at+2*ms, 2, 7))
	e := mapOf(at+4*ms, 2, at+2*ms, 2, 8)
	e.Name = ""
	s.Apply(e)
	s.Apply(event(trace.Exec, at+5*ms, 2, at+2*ms, 2))
	s.Apply(event(trace.Exit, at+6*ms, 2, at+2*ms, 2))
	got := s.Ended()
	if len(got) != 1 {
		t.Fatalf("%d ended", len(got))
	}
	p := got[0].Process
	if p.PID != 2 || len(p.Mappings) != 2 || p.Mappings[0].At != at+3*ms || p.Comm != "executed" || !errors.Is(p.Err, ErrUnread) ||
		!slices.Equal(got[0].Names, []string{"/lib/7", ""}) || got[0].At != at+6*ms || !got[0].Told || got[0].Exec != at+5*ms {
		t.Errorf("ended: %+v", got[0])
	}
	if filesOf(s, 2) != nil || len(s.Ended()) != 0 {
		t.Error("it is still there")
	}
	// Late and repeated events.
	s.Apply(forkOf(1, 2, at+2*ms))
	s.Apply(mapOf(at+3*ms, 2, at+2*ms, 2, 9))
	s.Apply(event(trace.Exec, at+5*ms, 2, 0, 0))
	s.Apply(event(trace.Exit, at+6*ms, 2, at+2*ms, 2))
	// An exit that is told before its fork.
	s.Apply(event(trace.Exit, at+8*ms, 3, at+7*ms, 1))
	s.Apply(forkOf(1, 3, at+7*ms))
	if filesOf(s, 2) != nil || filesOf(s, 3) != nil || len(s.Ended()) != 0 {
		t.Error("late events revived a process")
	}
	for i := range 4 {
		pid, start := 10+i, at+time.Second+time.Duration(i)*ms
		s.Apply(forkOf(1, pid, start))
		s.Apply(mapOf(start, pid, start, 2, 7))
		s.Apply(event(trace.Exit, start+1, pid, start, 2))
	}
	if n, c := len(s.Ended()), s.Count(); n != 2 || c.EndedDropped != 2 {
		t.Errorf("%d ended, %d dropped", n, c.EndedDropped)
	}
	// The first are forgotten by now: a late event has to be looked into.
	s.Apply(forkOf(1, 10, at+time.Second))
	want(t, s, 10, true, 1, 2)
	s.Update([]int{10}, nil, at+9*time.Second, at+9*time.Second)
	if filesOf(s, 10) != nil {
		t.Error("it stays for ever")
	}
}

func TestLost(t *testing.T) {
	s := New(Limits{})
	if pids, all := s.Dirty(); !all || pids != nil {
		t.Error("a new state wants no full snapshot")
	}
	s = seeded(Limits{})
	at := base + 10*ms
	s.Apply(trace.Event{Kind: trace.Lost, At: at, Count: 1})
	s.Apply(forkOf(1, 2, at+time.Second))
	if _, all := s.Dirty(); !all || s.Count().Dirty != 2 {
		t.Errorf("after a loss: all %v, %d dirty", all, s.Count().Dirty)
	}
	list := []snapshot.Process{readingOf(1, 1, 1, 2)}
	s.Seed(list, at, at+9*time.Second)
	if _, all := s.Dirty(); !all {
		t.Error("a snapshot from before the loss covers it")
	}
	s.Seed(list, at+time.Second-ms, at+9*time.Second)
	want(t, s, 1, false, 1, 2)
	// Its parent was in doubt when it was forked.
	want(t, s, 2, true, 1, 2)
	s.Apply(trace.Event{Kind: trace.Lost, At: at + ms, Count: 1})
	if _, all := s.Dirty(); all {
		t.Error("a loss of before the snapshot undoes it")
	}
}

func TestReuse(t *testing.T) {
	at := base + 10*ms
	second := at + time.Second
	for name, do := range map[string]func(*State){
		"fork": func(s *State) { s.Apply(forkOf(1, 2, second)) },
		"exec": func(s *State) { s.Apply(event(trace.Exec, second+ms, 2, second, 2)) },
		"read": func(s *State) {
			s.Seed([]snapshot.Process{readingOf(1, 1, 1, 2), readingOf(2, second, 9)}, second, second)
		},
		"tick": func(s *State) {
			p := readingOf(2, second.Truncate(10*ms), 9)
			p.Uncertainty = 10 * ms
			s.Update([]int{2}, []snapshot.Process{p}, second+10*ms, second+10*ms)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := seeded(Limits{}, readingOf(2, 2, 5))
			do(s)
			ended := s.Ended()
			if len(ended) != 1 || ended[0].Process.Start != 2 || ended[0].Told || ended[0].At > second+ms {
				t.Fatalf("ended: %+v", ended)
			}
			if p, _, _ := s.Process(2); p.Start < second.Truncate(10*ms) {
				t.Errorf("born at %v", p.Start)
			}
			// What is about the first is late now.
			s.Apply(event(trace.Exit, at, 2, 2, 1))
			s.Apply(mapOf(at, 2, 2, 1, 5))
			s.Update(nil, []snapshot.Process{readingOf(2, 2, 5)}, at, at)
			if got := filesOf(s, 2); got == nil || slices.Contains(got, 5) {
				t.Errorf("files are %v", got)
			}
		})
	}
}

// TestBirth holds that what sources know of a birth is put together.
func TestBirth(t *testing.T) {
	s := seeded(Limits{})
	at := base + 10*ms
	e := forkOf(1, 2, at)
	e.Start, e.Process.Start = 0, 0
	s.Apply(e)
	if p, _, _ := s.Process(2); p.Start > at || p.Start+p.Uncertainty != at {
		t.Errorf("born at %v+%v", p.Start, p.Uncertainty)
	}
	read := readingOf(2, at-10*ms, 1, 2)
	read.Uncertainty = 10 * ms
	s.Update([]int{2}, []snapshot.Process{read}, at+ms, at+ms)
	s.Apply(event(trace.Dirty, at+2*ms, 2, at-3*ms, 1))
	p, _, _ := s.Process(2)
	if p.Start != at-3*ms || p.Uncertainty != 0 || len(s.Ended()) != 0 {
		t.Errorf("born at %v+%v", p.Start, p.Uncertainty)
	}
	want(t, s, 2, true, 1, 2)
	// An exit that does not say whose is of who has the number then.
	s.Apply(event(trace.Exit, at-5*ms, 2, 0, 0))
	want(t, s, 2, true, 1, 2)
	s.Apply(event(trace.Exit, at+3*ms, 2, 0, 0))
	if filesOf(s, 2) != nil {
		t.Error("it is still there")
	}
}

func TestMark(t *testing.T) {
	s := seeded(Limits{})
	at := base + 10*ms
	s.Mark([]int{1, 7}, at, at+ms)
	want(t, s, 1, true, 1, 2)
	pids, _ := s.Dirty()
	if !slices.Equal(pids, []int{1, 7}) || len(s.Processes()) != 1 || filesOf(s, 7) != nil {
		t.Errorf("dirty %v, %d processes", pids, len(s.Processes()))
	}
	s.Update(pids, []snapshot.Process{readingOf(1, 1, 1, 2)}, at+2*ms, at+3*ms)
	if pids, _ := s.Dirty(); len(pids) != 0 {
		t.Errorf("dirty %v", pids)
	}
	// Its fork may be without what the mark is about.
	s.Apply(forkOf(1, 2, at+4*ms))
	s.Mark([]int{1}, at+5*ms, at+6*ms)
	want(t, s, 2, true, 1, 2)
	// A mark that came after the end is about the next one with the number.
	s.Apply(forkOf(1, 3, at+7*ms))
	s.Mark([]int{3}, at+10*ms, at+11*ms)
	s.Apply(event(trace.Exit, at+8*ms, 3, at+7*ms, 1))
	s.Apply(forkOf(1, 3, at+9*ms))
	want(t, s, 3, true, 1, 2)
}

// TestUpdate holds that reading what is known changes nothing.
func TestUpdate(t *testing.T) {
	s := seeded(Limits{})
	at := base + 10*ms
	s.Apply(forkOf(1, 2, at))
	s.Apply(trace.Event{Kind: trace.Dirty, At: at, PID: 2})
	s.Apply(trace.Event{Kind: trace.Dirty, At: at, PID: 3})
	p, _, _ := s.Process(2)
	p.Mappings = slices.Clone(p.Mappings)
	for i, n := range []int{1, 2} {
		p.Mappings[i].File = testFile(n)
	}
	revision := s.Revision()
	s.Update([]int{2, 3}, []snapshot.Process{p}, at+ms, at+ms)
	parent, _, _ := s.Process(1)
	child, info, _ := s.Process(2)
	if s.Revision() != revision || &parent.Mappings[0] != &child.Mappings[0] || info.Read != at+ms || info.Dirty {
		t.Errorf("revision %d, was %d; %+v", s.Revision(), revision, info)
	}
	if s.Count().Processes != 2 {
		t.Error("who was asked for and is not there is still known")
	}
	// Who is refused keeps what is known of it.
	s.Apply(mapOf(at+2*ms, 2, at, 1, 3))
	s.Update([]int{2}, []snapshot.Process{{PID: 2, TID: 2, Err: errTestRefused}}, at+3*ms, at+3*ms)
	want(t, s, 2, false, 1, 2, 3)
	if p, _, _ := s.Process(2); !errors.Is(p.Err, errTestRefused) || p.Comm != "forked" {
		t.Errorf("refused: %+v", p)
	}
	// Mapped elsewhere: not the mapping that was told.
	p = readingOf(2, at, 1, 2, 3)
	s.Update([]int{2}, []snapshot.Process{p}, at+4*ms, at+4*ms)
	p = readingOf(2, at, 1, 2, 3)
	p.Mappings[2].Start += 4096
	s.Update([]int{2}, []snapshot.Process{p}, at+5*ms, at+5*ms)
	if got := ats(s, 2); got[2] != 0 {
		t.Errorf("mapped at %v", got)
	}
}

// TestAlike holds that every part of a description is compared.
func TestAlike(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[snapshot.Process]()) {
		var a, b snapshot.Process
		v := reflect.ValueOf(&b).Elem().FieldByIndex(f.Index)
		switch v.Kind() {
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint32, reflect.Uint64:
			v.SetUint(1)
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Struct:
			v.Field(0).SetUint(1)
		case reflect.Interface:
			v.Set(reflect.ValueOf(errTestRefused))
		case reflect.Slice:
			continue
		default:
			t.Fatalf("%s: no value for %v", f.Name, v.Kind())
		}
		if alike(&a, &b) {
			t.Errorf("%s is not compared", f.Name)
		}
	}
}
