package track

import (
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

const (
	// settle is how long the kernel may take to do what it told: a mapping is told
	// before it is made, and an exit before the memory is gone. Between the two a
	// task may wait for a lock or for its turn.
	settle = time.Second
	// blind is how long it may take until what was not told has been done.
	blind = 20 * time.Millisecond
	// forkDelay is how much later than the start of a process its fork may be told.
	forkDelay = 100 * time.Millisecond
	// maxTold is the number of files from which on what a process maps is only
	// read, so that looking one up stays cheap.
	maxTold = 1024
)

// Apply takes one event.
func (s *State) Apply(e trace.Event) {
	s.now = max(s.now, e.At)
	switch e.Kind {
	case trace.Lost:
		s.lost = max(s.lost, e.At+blind)
	case trace.Fork:
		s.fork(&e)
	case trace.Exit:
		s.exit(&e)
	case trace.Exec, trace.Image, trace.Map, trace.Dirty:
		p := s.holder(&e)
		if p == nil {
			return
		}
		p.seen = max(p.seen, e.At)
		if e.Kind != trace.Dirty {
			p.own = true
			if p.blank {
				p.blank = false
				s.change(p)
			}
		}
		switch {
		case e.Kind == trace.Exec:
			s.execute(p, &e)
		case e.Kind == trace.Image:
			s.image(p, &e)
		case e.Kind == trace.Map && e.File != nil:
			s.load(p, &e)
		default:
			p.touch(e.At)
		}
	}
	s.tidy()
}

// Mark says that processes changed in ways that events may not tell, as the
// kernel's marks say, which were collected from began until then. What was marked
// before began must be in this collection or in an earlier one, and what has not
// been done yet must be in the next one as well.
func (s *State) Mark(pids []int, began, until time.Duration) {
	s.now = max(s.now, until)
	for _, pid := range pids {
		p := s.processes[pid]
		g, ended := s.dead.of(pid)
		switch {
		case p != nil && p.forkedSince(s.marked), ended && g.lastFork >= max(s.marked, 0),
			!ended && (p == nil || s.dead.forgotten >= s.marked):
			// The children of this holder of the number, or of the one before, may
			// be without what was marked.
			s.doubt(s.marked)
		}
		if p == nil {
			if p = s.create(pid, span{0, until}); p == nil {
				continue
			}
			p.blank = true
		}
		p.touch(until)
	}
	s.marked = max(s.marked, began)
}

// bornOf is when the process of an event was born, and whether the event says so.
func bornOf(e *trace.Event) (span, bool) {
	switch {
	case e.Start != 0 && e.Process != nil && e.Process.Start == e.Start:
		return span{e.Start, e.Start + e.Process.Uncertainty}, true
	case e.Start != 0:
		return span{e.Start, e.Start}, true
	case e.Kind == trace.Fork:
		return span{max(0, e.At-forkDelay), e.At}, false
	}
	return span{0, e.At}, false
}

// find returns the process with a number that was born then and lived at a time, nil
// if it is not known. Late says that it is gone.
func (s *State) find(pid int, born span, told bool, at time.Duration) (p *process, late bool) {
	if p = s.processes[pid]; p != nil {
		switch {
		case born.meets(p.born()):
			s.narrow(p, born)
			return p, false
		case born.before(p.born()):
			return nil, true
		}
		// The number has a new holder, so the old one's exit was lost.
		s.end(p, p.born(), span{born.lo, born.lo}, false)
		return nil, false
	}
	g, ok := s.dead.of(pid)
	switch {
	case !ok:
		return nil, false
	case told && born.meets(g.born):
		return nil, g.told || at < g.at
	case told:
		return nil, born.before(g.born)
	}
	return nil, at < g.at || g.told && at == g.at
}

// holder returns the process that an event tells of, nil if it is gone or there
// are too many.
func (s *State) holder(e *trace.Event) *process {
	born, told := bornOf(e)
	p, late := s.find(e.PID, born, told, e.At)
	if p == nil || p.forkedSince(e.At) && !p.knows(e) {
		// A process that was forked since may have got what this event tells.
		s.doubt(e.At)
	}
	if p == nil && !late {
		if p = s.create(e.PID, born); p != nil {
			p.blank = true
		}
	}
	return p
}

// knows says that an event repeats what was known when the process forked last.
func (p *process) knows(e *trace.Event) bool {
	if e.Kind != trace.Map || e.File == nil {
		return false
	}
	i := p.index(e.File)
	return i >= 0 && p.Mappings[i].At == e.At
}

// index finds a file among the mappings, -1 if it is not there.
func (p *process) index(f *snapshot.File) int {
	for i := range p.Mappings {
		if same(p.Mappings[i].File, f) {
			return i
		}
	}
	return -1
}
