package track

import (
	"cmp"
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
// kernel's marks say, which were collected from began to ended. What was marked
// before began must be in this collection or in an earlier one, and what has not
// been done yet must be in the next one as well.
func (s *State) Mark(pids []int, began, ended time.Duration) {
	s.now = max(s.now, ended)
	for _, pid := range pids {
		p := s.processes[pid]
		if p == nil {
			// Its children may be without what was marked, if it had any since.
			if g, ok := s.dead.of(pid); !ok || g.lastFork >= s.marked {
				s.doubt(s.marked)
			}
			if p = s.create(pid, span{0, ended}); p == nil {
				continue
			}
			p.blank = true
		} else if p.lastFork >= s.marked {
			s.doubt(s.marked)
		}
		p.touch(ended)
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
		s.end(p, span{born.lo, born.lo}, false)
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
	if p == nil || p.lastFork >= e.At && !p.knows(e) {
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

func (s *State) fork(e *trace.Event) {
	born, told := bornOf(e)
	p, late := s.find(e.PID, born, told, e.At)
	if late {
		return
	}
	if p != nil && !p.blank {
		p.seen = max(p.seen, e.At)
		if e.Process != nil && p.PPID == 0 {
			p.PPID = e.Process.PPID
			s.change(p)
		}
		return
	}
	if p == nil {
		if p = s.create(e.PID, born); p == nil {
			return
		}
	}
	p.blank = false
	p.forked, p.changed, p.image = e.At, e.At, e.Image
	p.seen = max(p.seen, e.At)
	if e.At <= s.dead.forgotten {
		// It may have ended already.
		p.touch(e.At)
	}
	if e.Process != nil {
		if parent := s.processes[e.Process.PPID]; parent != nil && parent != p && parent.Start <= e.At {
			s.inherit(p, parent)
		}
		p.tell(e.Process)
	}
	p.ForkNoExec = true
	s.change(p)
}

// inherit gives a new process what its parent had when it was forked.
func (s *State) inherit(p, parent *process) {
	at := p.forked
	parent.lastFork = max(parent.lastFork, at)
	parent.seen = max(parent.seen, at)
	d := parent.Process
	d.PID, d.TID, d.PPID, d.InnerPID = p.PID, p.PID, parent.PID, 0
	d.Start, d.Uncertainty, d.Mappings, d.Err = p.Start, p.Uncertainty, nil, p.Err
	p.Process = d
	switch {
	case parent.begun > at:
		// It forked before its program began; what the program before had is gone.
	case parent.changed >= at:
		for _, m := range parent.Mappings {
			if m.At <= at {
				s.add(p, m)
			}
		}
	default:
		s.share(p, parent)
		p.gap = parent.gap
		p.read, p.Err = min(parent.read, at), parent.Err
		p.inherited = true
		if s.dirty(parent) || parent.Err != nil {
			p.touch(at)
		}
	}
}

// tell takes over what an event tells of a process; zero is not told, except for
// UID.
func (p *process) tell(d *snapshot.Process) {
	p.UID = d.UID
	p.PPID = cmp.Or(d.PPID, p.PPID)
	p.InnerPID = cmp.Or(d.InnerPID, p.InnerPID)
	p.Comm = cmp.Or(d.Comm, p.Comm)
	p.PIDNS = cmp.Or(d.PIDNS, p.PIDNS)
	p.MntNS = cmp.Or(d.MntNS, p.MntNS)
	p.RootKey = cmp.Or(d.RootKey, p.RootKey)
	p.CgroupKey = cmp.Or(d.CgroupKey, p.CgroupKey)
	p.Aux = cmp.Or(d.Aux, p.Aux)
	p.Exe = cmp.Or(d.Exe, p.Exe)
}

func (s *State) exit(e *trace.Event) {
	born, told := bornOf(e)
	p := s.processes[e.PID]
	if p != nil && p.seen > e.At && p.born().meets(born) && (!told || p.Uncertainty > forkDelay) {
		// Either another one has the number since, or this one was read while it
		// was dying.
		if p.seen-e.At < settle {
			p.touch(e.At + settle)
		}
		return
	}
	p, late := s.find(e.PID, born, told, e.At)
	switch {
	case p != nil:
		s.end(p, span{e.At, e.At}, true)
	case !late:
		// Its fork may be told later.
		s.dead.add(e.PID, grave{born: born, at: e.At, told: true, touched: never, lastFork: e.At})
	}
}

// execute takes an Exec.
func (s *State) execute(p *process, e *trace.Event) {
	counted := e.Image != 0 && p.image != 0
	switch {
	case counted && e.Image < p.image, !counted && e.At < p.begun:
		return // of a program before
	case counted && e.Image == p.image && !p.open, e.At == p.exec:
		return // told already
	}
	from := e.At
	if p.open && (e.Image == 0 || e.Image == p.image) {
		from = min(from, p.begun)
	}
	s.begin(p, from)
	p.image, p.open, p.exec = e.Image, false, e.At
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
	p.image, p.open = e.Image, true
	p.changed = max(p.changed, e.At)
	p.touch(e.At)
}

// begin lets go what the program before had mapped.
func (s *State) begin(p *process, from time.Duration) {
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
	p.begun, p.inherited, p.stripped, p.gap = from, false, false, false
	p.first = never
	if covered {
		p.first = p.read
	} else {
		p.Err = ErrUnread
	}
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
			p.image, p.begun, p.open = e.Image, e.At, true
		}
	case e.Image < p.image:
		return // of a program before
	case e.Image > p.image:
		s.begin(p, e.At)
		p.image, p.open = e.Image, true
		p.touch(e.At)
	case p.open:
		p.begun = min(p.begun, e.At)
	}
	if len(p.Mappings) >= maxTold {
		p.changed, p.gap = max(p.changed, e.At), true
		p.touch(e.At)
		return
	}
	p.mapped = max(p.mapped, e.At)
	f := s.files.intern(e.File)
	s.files.name(f, e.Name)
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
	switch {
	case provisional(&m):
		m.At = min(m.At, e.At)
		p.touch(e.At)
	case e.At < m.At, m.At == 0 && e.At < p.first:
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
