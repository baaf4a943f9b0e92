package track

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// ErrUnread is the Err of a process whose mappings were never read. Those that it
// has were told by events, and there may be more.
var ErrUnread = errors.New("mappings not read yet")

// ErrLimit is the Err of a process whose mappings were let go to stay within
// Limits.Loads.
var ErrLimit = errors.New("too many mappings to keep them all")

// Limits bound the memory of a State. A limit of 0 stands for the default.
type Limits struct {
	// Processes is the number of processes that are kept, by default 65,536.
	Processes int
	// Loads is the number of pairs of process and file, counted once where
	// processes share them, by default 2,097,152.
	Loads int
	// Ended is the number of processes that wait for Ended, and of those that are
	// remembered so that late events do not revive them, by default 8,192.
	Ended int
}

// never is before every time.
const never time.Duration = -1

// State is what runs. It has one user at a time.
type State struct {
	limits    Limits
	processes map[int]*process
	files     files
	dead      graves
	ended     []Ended
	revision  uint64
	// pairs is the length of all distinct lists of mappings.
	pairs int
	// lost is the time before which events are missing, seeded that from which on
	// a full snapshot stands for them.
	lost, seeded time.Duration
	// marked is when the last collection of marks began.
	marked time.Duration
	// doubtful is the earliest change that a fork may not have handed on, as the
	// change was told after the fork; never if there is none.
	doubtful time.Duration
	now      time.Duration // the newest time that was told
	// crowded says that a process was left out for Limits.Processes, left when that
	// was last.
	crowded bool
	left    time.Duration
	evicted uint64
	dropped uint64
	scratch scratch
}

// New returns a State that knows nothing and wants a full snapshot.
func New(limits Limits) *State {
	limits.Processes = cmp.Or(max(limits.Processes, 0), 1<<16)
	limits.Loads = cmp.Or(max(limits.Loads, 0), 1<<21)
	limits.Ended = cmp.Or(max(limits.Ended, 0), 1<<13)
	return &State{
		limits:    limits,
		processes: make(map[int]*process),
		files:     newFiles(limits.Loads),
		dead:      newGraves(limits.Ended),
		lost:      never, seeded: never, marked: never, doubtful: never, left: never,
	}
}

// Dirty returns the processes that have to be read again, in ascending order. All
// says that nothing less than a full snapshot will do; pids is nil then. What was
// let go for a limit is asked for again when there is room.
func (s *State) Dirty() (pids []int, all bool) {
	if s.seeded <= s.lost {
		return nil, true
	}
	s.resolve()
	room := s.pairs <= s.limits.Loads/2
	for pid, p := range s.processes {
		if s.dirty(p) && (room || !p.stripped) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, false
}

// Processes returns what runs, in ascending order of PID. The answer is shared: it
// must not be modified, and no later call modifies it.
func (s *State) Processes() []snapshot.Process {
	known := make([]*process, 0, len(s.processes))
	for _, p := range s.processes {
		if !p.blank {
			known = append(known, p)
		}
	}
	slices.SortFunc(known, func(a, b *process) int { return cmp.Compare(a.PID, b.PID) })
	list := make([]snapshot.Process, len(known))
	for i, p := range known {
		list[i] = p.show()
	}
	return list
}

// Info is what is known of a process beside what snapshot.Process says.
type Info struct {
	// Read is when the reading began that last showed its mappings, or those of the
	// process that it was forked from; 0 if there was none.
	Read time.Duration
	// Exec is when it last called execve, where that was told; 0 if not.
	Exec time.Duration
	// Revision is that of the State at the process's last change.
	Revision uint64
	// Dirty says that it has to be read again.
	Dirty bool
}

// Process returns the process that has a number; ok is false if none is known.
func (s *State) Process(pid int) (p snapshot.Process, info Info, ok bool) {
	known := s.processes[pid]
	if known == nil || known.blank {
		return snapshot.Process{}, Info{}, false
	}
	s.resolve()
	return known.show(), s.info(known), true
}

func (s *State) info(p *process) Info {
	return Info{Read: max(p.read, 0), Exec: p.exec, Revision: p.revision, Dirty: s.dirty(p)}
}

// Each calls f for every process, in no order. The process is valid during the
// call only and must not be modified; its mappings are as those of Processes.
func (s *State) Each(f func(*snapshot.Process, Info)) {
	s.resolve()
	var shown snapshot.Process
	for _, p := range s.processes {
		if !p.blank {
			shown = p.show()
			f(&shown, s.info(p))
		}
	}
}

// Revision grows with every change of what Processes returns.
func (s *State) Revision() uint64 { return s.revision }

// Count is the size of a State.
type Count struct {
	// Loads counts what processes share once. Files may count some that are not
	// used any more.
	Processes, Loads, Files, Dirty int
	// Evicted counts the times that a process was left out, or its loads were let
	// go, for a limit; EndedDropped the ended processes that were not reported.
	Evicted, EndedDropped uint64
}

// Count measures the state.
func (s *State) Count() Count {
	s.resolve()
	c := Count{Loads: s.pairs, Files: len(s.files.known), Evicted: s.evicted, EndedDropped: s.dropped}
	for _, p := range s.processes {
		if !p.blank {
			c.Processes++
		}
		if s.dirty(p) {
			c.Dirty++
		}
	}
	return c
}
