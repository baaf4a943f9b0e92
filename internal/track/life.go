package track

import (
	"cmp"

	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// fork takes a Fork.
func (s *State) fork(e *trace.Event) {
	born, told := bornOf(e)
	p, late := s.find(e.PID, born, told, e.At)
	if late {
		s.mistaken(e, born)
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

// exit takes an Exit.
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
		dead := p.born()
		if !told {
			dead.hi = e.At
		}
		s.end(p, dead, span{e.At, e.At}, true)
	case late:
		s.mistaken(e, born)
	default:
		// Its fork may be told later.
		s.dead.add(e.PID, grave{born: born, at: e.At, told: true, touched: never, lastFork: e.At})
	}
}

// mistaken takes the Fork or Exit of a process that was gone already. Forks since
// then may have been taken for those of another holder of its number.
func (s *State) mistaken(e *trace.Event, born span) {
	g, ok := s.dead.of(e.PID)
	if repeated := ok && g.told && g.born.meets(born) && s.processes[e.PID] == nil; !repeated {
		s.doubt(e.At)
	}
}
