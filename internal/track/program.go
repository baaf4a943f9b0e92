package track

import (
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// execute takes an Exec.
func (s *State) execute(p *process, e *trace.Event) {
	counted := e.Image != 0 && p.image != 0
	switch {
	case counted && e.Image < p.image, !counted && e.At < p.begun:
		return // of a program before
	case counted && e.Image == p.image && p.program == executed, e.At == p.exec:
		return // told already
	}
	switch known := e.Image == 0 || e.Image == p.image; {
	case known && p.program == begun && p.begun <= e.At:
	case known && p.program == guessed:
		s.begin(p, min(p.begun, e.At))
	default:
		s.begin(p, e.At)
	}
	p.image, p.program, p.exec = e.Image, executed, e.At
	p.changed = max(p.changed, e.At)
	p.touch(e.At)
	if e.At >= p.read {
		p.ForkNoExec, p.Exe, p.Aux = false, "", snapshot.Aux{}
		if e.Process != nil {
			p.tell(e.Process)
		}
	}
	s.change(p)
}

// image takes an Image.
func (s *State) image(p *process, e *trace.Event) {
	if e.At <= p.begun {
		return
	}
	s.begin(p, e.At)
	p.image, p.program = e.Image, begun
	p.changed = max(p.changed, e.At)
	p.touch(e.At)
}

// begin lets go what the program before had mapped.
func (s *State) begin(p *process, from time.Duration) {
	s.retire(p, from)
	covered := p.read > from
	var kept []snapshot.Mapping
	for _, m := range p.Mappings {
		switch {
		case m.At >= from:
			kept = append(kept, m)
		case covered && !provisional(&m):
			// It was read of the new program; what was told before is of the old one.
			m.At = 0
			kept = append(kept, m)
		}
	}
	s.assign(p, kept)
	p.begun, p.inherited, p.stripped = from, false, false
	if p.gap = p.quiet >= from; p.gap {
		// What it mapped since went unnoticed, as the program before had it too.
		p.touch(p.quiet + settle)
	}
	switch {
	case p.gap:
		p.first = 0
	case covered:
		p.first = p.read
	default:
		p.first = never
	}
	if !covered {
		p.Err = ErrUnread
	}
}

// retire hands over what a program mapped by itself, before it made place for
// another in the same process: it ran that no less than one that ended.
func (s *State) retire(p *process, from time.Duration) {
	mine := func(m *snapshot.Mapping) bool { return m.At > p.Start && m.At < from }
	if !slices.ContainsFunc(p.Mappings, func(m snapshot.Mapping) bool { return mine(&m) }) {
		return
	}
	if len(s.ended) >= s.limits.Ended {
		s.dropped++
		return
	}
	e := Ended{Process: p.show(), At: from, Told: true, Exec: p.exec}
	names := s.namesOf(p)
	e.Process.Mappings = nil
	for i := range p.Mappings {
		if !mine(&p.Mappings[i]) {
			continue
		}
		e.Process.Mappings = append(e.Process.Mappings, p.Mappings[i])
		if names != nil {
			e.Names = append(e.Names, names[i])
		}
	}
	s.ended = append(s.ended, e)
}

// load takes a Map.
func (s *State) load(p *process, e *trace.Event) {
	switch {
	case e.Image == 0 || p.image == 0:
		if e.At < p.begun {
			return // of a program before
		}
		if e.Image != 0 {
			// Whether this program is the one that was there or a new one will be
			// seen from the next Exec.
			p.image, p.begun, p.program = e.Image, e.At, guessed
		}
	case e.Image < p.image:
		return // of a program before
	case e.Image > p.image:
		s.begin(p, e.At)
		p.image, p.program = e.Image, begun
		p.touch(e.At)
	case p.program != executed:
		p.begun = min(p.begun, e.At)
	}
	if len(p.Mappings) >= maxTold {
		p.changed, p.gap = max(p.changed, e.At), true
		p.touch(e.At + blind)
		return
	}
	p.mapped = max(p.mapped, e.At)
	f := s.files.intern(e.File, e.Name)
	i := p.index(f)
	if i < 0 {
		if e.At+settle <= p.read {
			return // read since, and gone again
		}
		p.changed = max(p.changed, e.At)
		p.touch(max(e.At, p.read))
		s.add(p, snapshot.Mapping{File: f, At: e.At})
		return
	}
	m := p.Mappings[i]
	if !provisional(&m) || e.Image == 0 || p.program == guessed {
		p.quiet = max(p.quiet, e.At)
	}
	switch {
	case provisional(&m):
		m.At = min(m.At, e.At)
		p.touch(e.At)
	case e.At < m.At, m.At == 0 && e.At < p.first && p.begun > s.lost:
		m.At = e.At
	default:
		if e.At >= p.read && f.Key == m.File.Key && f.Ctime != 0 && f != m.File {
			// The number of an inode may come again with another file.
			m.File = f
			p.touch(e.At)
		}
	}
	s.set(p, i, m)
}
