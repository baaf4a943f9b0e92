package track

import (
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// scratch is what readings are put together in.
type scratch struct {
	list  []snapshot.Mapping
	index map[identity]int
	files map[*snapshot.File]*snapshot.File
}

// Seed replaces everything by a full snapshot that was read from began to ended
// (CLOCK_BOOTTIME), except for what changed since began.
func (s *State) Seed(list []snapshot.Process, began, ended time.Duration) {
	s.takeAll(list, began, ended)
	for _, p := range s.processes {
		s.missed(p, began, ended)
	}
	s.seeded = max(s.seeded, began)
	s.tidy()
}

// Update replaces the processes asked for by what was read of them from began to
// ended (CLOCK_BOOTTIME), except for what changed since began. Those that were
// asked for and are not in list are gone.
func (s *State) Update(asked []int, list []snapshot.Process, began, ended time.Duration) {
	s.takeAll(list, began, ended)
	for _, pid := range asked {
		if p := s.processes[pid]; p != nil {
			s.missed(p, began, ended)
		}
	}
	s.tidy()
}

func (s *State) takeAll(list []snapshot.Process, began, ended time.Duration) {
	s.resolve()
	s.now = max(s.now, ended)
	s.scratch.files = make(map[*snapshot.File]*snapshot.File)
	for i := range list {
		s.take(&list[i], began, ended)
	}
	s.scratch = scratch{}
}

// missed ends a process that a reading from began on has not shown, unless it was
// born or seen since.
func (s *State) missed(p *process, began, ended time.Duration) {
	if max(p.born().hi, p.seen) < began {
		s.end(p, p.born(), span{began, ended}, false)
	}
}

// take replaces one process by what was read of it.
func (s *State) take(e *snapshot.Process, began, ended time.Duration) {
	unborn := e.Start == 0 && e.Uncertainty == 0
	born := span{e.Start, e.Start + e.Uncertainty}
	if unborn {
		born.hi = ended
	}
	p := s.processes[e.PID]
	switch {
	case p == nil:
	case born.before(p.born()):
		return // read before the number had its holder of now
	case p.born().before(born):
		s.end(p, p.born(), span{born.lo, born.lo}, false)
		p = nil
	}
	if p == nil {
		dying := s.dying(e.PID, born, began)
		if dying && !unborn {
			return
		}
		if p = s.create(e.PID, born); p == nil {
			return
		}
		if dying {
			// The one that ended, or the next one: time will tell.
			p.blank = true
			p.touch(began + settle)
			return
		}
	}
	s.narrow(p, born)
	p.seen = max(p.seen, began)
	if p.read > began || p.begun >= began {
		return // what is known is newer
	}
	if s.dirty(p) {
		// What it had in between is not known.
		p.changed = max(p.changed, ended)
	}
	pending, gap := s.merge(p, e, began)
	if !slices.Equal(p.Mappings, s.scratch.list) {
		if p.forkedSince(p.read) {
			// Its children may be without what was found only now.
			s.doubt(p.read)
		}
		if parent := s.processes[e.PPID]; e.ForkNoExec && parent != nil && slices.Equal(parent.Mappings, s.scratch.list) {
			s.share(p, parent)
		} else {
			s.assign(p, slices.Clone(s.scratch.list))
		}
		s.change(p)
		p.changed = max(p.changed, ended)
	}
	s.describe(p, e, unborn)
	if pending {
		p.touch(began)
	}
	p.read = began
	if p.first == never {
		p.first = began
	}
	p.own, p.blank, p.inherited, p.stripped = true, false, false, false
	p.gap = gap || e.Err != nil || p.gap && p.touched >= began
}

// dying says that what was read of a process is of one that has ended: its exit is
// told before its memory is gone.
func (s *State) dying(pid int, born span, began time.Duration) bool {
	g, ok := s.dead.of(pid)
	switch {
	case !ok:
		return false
	case born.meets(g.born):
		return began <= g.at || g.told && began < g.at+settle
	}
	return born.before(g.born)
}

// describe takes over what was read of a process beside its mappings.
func (s *State) describe(p *process, e *snapshot.Process, unborn bool) {
	d := *e
	if unborn && e.Err != nil {
		// Nothing is told but why.
		d = p.Process
		d.Err = e.Err
	}
	d.Start, d.Uncertainty, d.Mappings = p.Start, p.Uncertainty, p.Mappings
	if p.blank || !alike(&p.Process, &d) {
		p.Process = d
		s.change(p)
	}
}

// alike says that two descriptions differ in nothing but the mappings.
func alike(a, b *snapshot.Process) bool {
	return a.PID == b.PID && a.TID == b.TID && a.PPID == b.PPID && a.InnerPID == b.InnerPID &&
		a.Start == b.Start && a.Uncertainty == b.Uncertainty && a.UID == b.UID && a.Comm == b.Comm &&
		a.PIDNS == b.PIDNS && a.MntNS == b.MntNS && a.RootKey == b.RootKey && a.CgroupKey == b.CgroupKey &&
		a.ForkNoExec == b.ForkNoExec && a.Aux == b.Aux && a.Exe == b.Exe &&
		(a.Err == nil) == (b.Err == nil) && (a.Err == nil || a.Err.Error() == b.Err.Error())
}

// merge puts together in scratch.list what a reading says of a process and what
// events told and it does not show. Pending says that it has to be read again for
// that, gap that what comes may have been told already.
func (s *State) merge(p *process, e *snapshot.Process, began time.Duration) (pending, gap bool) {
	list := s.scratch.list[:0]
	for _, m := range e.Mappings {
		if m.File == nil {
			continue
		}
		f := s.scratch.files[m.File]
		if f == nil {
			f = s.files.intern(m.File, "")
			s.scratch.files[m.File] = f
		}
		m.File = f
		list = append(list, m)
	}
	n := len(list)
	find := s.finder(list)
	whole := !p.gap && max(p.read, p.begun) > s.lost
	dropped := p.stripped
	for i := range p.Mappings {
		k := &p.Mappings[i]
		told := provisional(k)
		if j := find(i, k.File); j >= 0 {
			// The same place tells that it is the same mapping; what was told, and the
			// executable, have none.
			if m := &list[j]; m.At == 0 && (k.Start == 0 && whole || k.Start != 0 && k.Start == m.Start) {
				m.At = k.At
			}
			continue
		}
		unsettled := e.Err == nil && told && k.At+settle > began && sameView(k.File, list[:n])
		if unsettled || e.Err != nil {
			list = append(list, *k)
		} else {
			dropped = true
		}
		pending = pending || unsettled
	}
	if dropped && p.mapped+settle > began {
		// Perhaps it was mapped before, let go, and is about to be mapped again.
		p.touch(p.mapped + settle)
		gap = true
	}
	s.scratch.list = list
	return pending, gap
}

// sameView says that a file that was told could be found among those read.
func sameView(f *snapshot.File, read []snapshot.Mapping) bool {
	return len(read) == 0 || read[len(read)-1].File.ID.View == f.ID.View
}

// finder returns a function that finds a file in a list, where it was in another
// list at hint; it returns -1 if it is not there.
func (s *State) finder(list []snapshot.Mapping) func(hint int, f *snapshot.File) int {
	const few = 64
	indexed := false
	return func(hint int, f *snapshot.File) int {
		if hint < len(list) && list[hint].File == f {
			return hint
		}
		if len(list) <= few {
			return slices.IndexFunc(list, func(m snapshot.Mapping) bool { return same(m.File, f) })
		}
		if !indexed {
			indexed = true
			s.scratch.index = make(map[identity]int, 2*len(list))
			for i := len(list) - 1; i >= 0; i-- {
				id := identityOf(list[i].File)
				s.scratch.index[identity{0, id.id}] = i
				s.scratch.index[id] = i
			}
		}
		id := identityOf(f)
		if i, ok := s.scratch.index[id]; ok && same(list[i].File, f) {
			return i
		}
		if i, ok := s.scratch.index[identity{0, id.id}]; ok && same(list[i].File, f) {
			return i
		}
		return -1
	}
}
