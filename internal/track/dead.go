package track

import (
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// Ended is a process that is no more, or a program that made place for another in
// its process: then only what it mapped by itself is told.
type Ended struct {
	Process snapshot.Process
	// Names are what Map events last called the files of Process.Mappings, in the
	// same order, "" where none told. It is nil if they told none at all.
	Names []string
	// At is when it ended or, unless Told, when it was first known to be gone.
	At   time.Duration
	Told bool
	// Exec is when it last called execve, where that was told; 0 if not.
	Exec time.Duration
}

// Ended returns the processes that ended since the last call. Those are left out
// of which nothing was known but that they were forked.
func (s *State) Ended() []Ended {
	ended := s.ended
	s.ended = nil
	return ended
}

// end removes a process that ended within a span; told says that an event gave
// the time. Whoever was born with its number within born is taken for it from now on.
func (s *State) end(p *process, born, gone span, told bool) {
	delete(s.processes, p.PID)
	if !p.blank {
		s.revision++
	}
	if p.own && len(p.Mappings) > 0 {
		if len(s.ended) < s.limits.Ended {
			s.ended = append(s.ended, Ended{p.show(), s.namesOf(p), gone.hi, told, p.exec})
		} else {
			s.dropped++
		}
	}
	if p.forkedSince(gone.lo) {
		// That was a fork of the next holder of the number.
		s.doubt(gone.lo)
	}
	g := grave{born: born, at: gone.lo, told: told, touched: never, lastFork: p.lastFork}
	if p.touched > gone.lo {
		g.touched = p.touched
	}
	if p.mapped > gone.lo {
		g.touched = max(g.touched, p.mapped+settle)
	}
	s.dead.add(p.PID, g)
	s.release(p)
	if s.crowded && len(s.processes) < s.limits.Processes-s.limits.Processes/8 {
		// There is room for those that were left out.
		s.crowded = false
		s.lost = max(s.lost, s.now)
	}
}

func (s *State) namesOf(p *process) []string {
	var names []string
	for i := range p.Mappings {
		name := s.files.known[identityOf(p.Mappings[i].File)].name
		if name == "" {
			continue
		}
		if names == nil {
			names = make([]string, len(p.Mappings))
		}
		names[i] = name
	}
	return names
}

// grave is the last process that is known to have had a number and to be gone.
type grave struct {
	born span
	// at is when it ended or, unless told, a time after which it was not seen.
	at   time.Duration
	told bool
	// touched is the last change of whoever had the number after at.
	touched time.Duration
	// lastFork is when it forked last, as far as that was told.
	lastFork time.Duration
	turn     uint64
}

// graves remembers the processes that ended last.
type graves struct {
	byPID map[int]grave
	// ring says in which order they came, from next on.
	ring []turn
	next int
	size int
	turn uint64
	// forgotten is the time up to which processes may have ended that are not
	// remembered.
	forgotten time.Duration
}

type turn struct {
	pid  int
	turn uint64
}

func newGraves(size int) graves {
	return graves{byPID: make(map[int]grave), size: size, forgotten: never}
}

func (d *graves) of(pid int) (grave, bool) {
	g, ok := d.byPID[pid]
	return g, ok
}

func (d *graves) add(pid int, g grave) {
	d.turn++
	g.turn = d.turn
	d.byPID[pid] = g
	if len(d.ring) < d.size {
		d.ring = append(d.ring, turn{pid, d.turn})
		return
	}
	oldest := d.ring[d.next]
	if old := d.byPID[oldest.pid]; old.turn == oldest.turn {
		delete(d.byPID, oldest.pid)
		d.forgotten = max(d.forgotten, old.at)
	}
	d.ring[d.next] = turn{pid, d.turn}
	d.next = (d.next + 1) % d.size
}
