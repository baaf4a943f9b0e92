package track

import (
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// process is what is known of one process. All times are on CLOCK_BOOTTIME; never
// stands for what did not happen.
//
// The process was born in the span from Start to Start+Uncertainty, whatever the
// sources tell of it.
type process struct {
	snapshot.Process
	// shares counts the processes that have the same Mappings, nil if none else has.
	shares *int
	// read is the time whose state is known: that of all changes before it. It is
	// when the last reading began or, for a fork, what was known of its parent.
	read time.Duration
	// first is when the first reading since execve began; 0 if execve, or something
	// that it mapped since, was not told.
	first time.Duration
	// touched is the last time up to which a change may be missing: the process is
	// dirty unless it was read after.
	touched time.Duration
	// mapped is when it last told of a mapping.
	mapped time.Duration
	// quiet is when it last told of a file that it had.
	quiet time.Duration
	// changed is when the files mapped may have changed last.
	changed time.Duration
	// begun is when its program began, as far as events tell.
	begun time.Duration
	exec  time.Duration // of the last execve, 0 if not told
	// seen is the last time at which it is known to have lived.
	seen time.Duration
	// forked is when it was forked, lastFork when it forked last.
	forked, lastFork time.Duration
	revision         uint64
	image            uint32 // trace.Event.Image of the program, 0 if not known
	// program says how far the last execve has come.
	program stage
	// inherited says that the mappings are its parent's, and were not read since.
	inherited bool
	// own says that it was read, or that an event told of it after its fork.
	own bool
	// gap says that it may have had mappings that were neither told nor read, so
	// that what is told may not be the first mapping of a file.
	gap bool
	// blank says that nothing is known but that something has this PID.
	blank bool
	// stripped says that its mappings were let go for a limit.
	stripped bool
}

// stage is how far an execve has come, as far as events tell.
type stage uint8

const (
	executed stage = iota // its Exec was told, or none was seen
	begun                 // the new program began, what the old one had is gone
	// guessed: the first image that was told. It may be that of the old program or
	// of the new one, which the next Exec will show.
	guessed
)

// span is an interval of time, both ends included.
type span struct{ lo, hi time.Duration }

func (a span) meets(b span) bool  { return a.lo <= b.hi && b.lo <= a.hi }
func (a span) before(b span) bool { return a.hi < b.lo }

func (p *process) born() span { return span{p.Start, p.Start + p.Uncertainty} }

// narrow takes in what else is known of a process's birth.
func (s *State) narrow(p *process, born span) {
	was := p.born()
	if p.blank {
		// It was anybody who had the number since.
		was.hi = max(was.hi, born.hi)
	}
	lo, hi := max(was.lo, born.lo), min(was.hi, born.hi)
	if was.hi-was.lo > forkDelay && born.hi-born.lo <= forkDelay {
		lo, hi = born.lo, born.hi
	}
	if p.born() != (span{lo, hi}) {
		p.Start, p.Uncertainty = lo, hi-lo
		s.change(p)
	}
}

// create adds a process, or returns nil if there are too many.
func (s *State) create(pid int, born span) *process {
	if len(s.processes) >= s.limits.Processes {
		s.evicted++
		s.crowded, s.left = true, s.now
		return nil
	}
	p := &process{
		Process: snapshot.Process{PID: pid, TID: pid, Err: ErrUnread},
		read:    never, touched: never, mapped: never, quiet: never, changed: never,
		begun: never, seen: never, forked: never, lastFork: never, gap: true,
	}
	if g, ok := s.dead.of(pid); ok {
		// What was said of the number after its last holder's end is about the
		// next one.
		p.touched = g.touched
		if g.told && born.lo == 0 {
			born.lo = min(g.at, born.hi)
		}
	}
	if born.lo <= s.dead.forgotten {
		// It may have ended, and that be forgotten.
		p.touch(s.dead.forgotten + settle)
	}
	if born.lo <= s.left {
		// What was told of it while there was no room is not known.
		p.touch(s.left + settle)
	}
	p.Start, p.Uncertainty = born.lo, born.hi-born.lo
	s.processes[pid] = p
	s.change(p)
	return p
}

// dirty says that a process has to be read again.
func (s *State) dirty(p *process) bool {
	return p.touched >= p.read || p.read <= s.lost || p.stripped
}

// forkedSince says that the process forked at a time or after.
func (p *process) forkedSince(at time.Duration) bool {
	return p.lastFork != never && p.lastFork >= at
}

// touch notes that a change at a time has to be looked at.
func (p *process) touch(at time.Duration) { p.touched = max(p.touched, at) }

// change notes that what Processes returns of a process has changed.
func (s *State) change(p *process) {
	s.revision++
	p.revision = s.revision
}

// doubt notes that processes forked at a time or after may lack what their parents
// had mapped or lost at that time.
func (s *State) doubt(at time.Duration) {
	if s.doubtful == never || at < s.doubtful {
		s.doubtful = max(at, 0)
	}
}

// resolve marks all processes that are in doubt. It does not look whose children
// they are: the ancestors in between may be gone, and each process is in doubt
// at most once, as reading it ends its inheritance.
func (s *State) resolve() {
	if s.doubtful == never {
		return
	}
	for _, p := range s.processes {
		if p.inherited && p.forked >= s.doubtful {
			p.touch(p.forked)
			p.gap = true
		}
	}
	s.doubtful = never
}

// show returns the process for others to keep.
func (p *process) show() snapshot.Process {
	shown := p.Process
	shown.Mappings = slices.Clip(shown.Mappings)
	return shown
}
