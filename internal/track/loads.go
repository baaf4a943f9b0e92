package track

import (
	"slices"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// assign gives a process a list of mappings, which becomes its own.
func (s *State) assign(p *process, list []snapshot.Mapping) {
	s.release(p)
	p.Mappings = list
	s.pairs += len(list)
	s.change(p)
}

// release takes a process's list away.
func (s *State) release(p *process) {
	last := true
	if p.shares != nil {
		*p.shares--
		last = *p.shares == 0
	}
	if last {
		s.pairs -= len(p.Mappings)
	}
	p.Mappings, p.shares = nil, nil
}

// share gives a process the list of another one.
func (s *State) share(p, with *process) {
	s.release(p)
	if len(with.Mappings) == 0 {
		return
	}
	if with.shares == nil {
		one := 1
		with.shares = &one
	}
	*with.shares++
	// Without room behind it, whoever appends to it makes a copy.
	with.Mappings = slices.Clip(with.Mappings)
	p.Mappings, p.shares = with.Mappings, with.shares
}

// add appends to a process's list. What was handed out of it ends before.
func (s *State) add(p *process, m snapshot.Mapping) {
	const room = 8
	if p.shares != nil || p.Mappings == nil {
		s.assign(p, append(make([]snapshot.Mapping, 0, len(p.Mappings)+room), p.Mappings...))
	}
	p.Mappings = append(p.Mappings, m)
	s.pairs++
	s.change(p)
}

// set replaces one mapping, in a copy of the list.
func (s *State) set(p *process, i int, m snapshot.Mapping) {
	if p.Mappings[i] == m {
		return
	}
	list := slices.Clone(p.Mappings)
	list[i] = m
	s.assign(p, list)
}

// provisional says that a mapping was told by an event and not read yet.
func provisional(m *snapshot.Mapping) bool { return m.End == 0 && !m.Exe }

// tidy holds the limits after a change.
func (s *State) tidy() {
	if s.pairs > s.limits.Loads {
		s.evict()
	}
	if s.files.crowded() {
		s.files.sweep(s.processes)
	}
}

// evict lets go the longest lists, as many as leave some room: the one that takes
// most of it shall not push out all others.
func (s *State) evict() {
	longest := make([]*process, 0, len(s.processes))
	for _, p := range s.processes {
		longest = append(longest, p)
	}
	slices.SortFunc(longest, func(a, b *process) int {
		if n := len(b.Mappings) - len(a.Mappings); n != 0 {
			return n
		}
		return a.PID - b.PID
	})
	for _, p := range longest {
		if s.pairs <= s.limits.Loads-s.limits.Loads/8 {
			return
		}
		s.release(p)
		p.Err, p.stripped, p.inherited, p.gap = ErrLimit, true, false, true
		s.evicted++
		s.change(p)
	}
}
