package sensor

import "time"

// Reading the memory of a process that does not answer costs time, and a thread for as
// long as it does not. A running sensor therefore leaves such a process alone for a
// while, longer each time, and with it whatever else its user starts: any user can
// make as many such processes as he likes.

// shunned is who is left alone, and for how long.
type shunned struct {
	until time.Time
	pause time.Duration
}

const (
	shunFirst = time.Minute
	shunMost  = 6 * time.Hour
	// shunUser is how many of a user's processes may be stuck before all of them
	// are left alone.
	shunUser = 4
)

// shuns reports whether the memory of a process is not to be read now.
func (m *memory) shuns(p *process, now time.Time) bool {
	if m == nil {
		return false
	}
	if s, ok := m.shunned[p.UID]; ok && len(s) > 0 {
		stuck := 0
		for id, one := range s {
			switch {
			case now.After(one.until.Add(shunMost)):
				delete(s, id)
			case now.Before(one.until):
				stuck++
				if id == identityOfProcess(p) {
					return true
				}
			}
		}
		// Of root's too many run to be left alone; root can do worse anyway.
		return stuck >= shunUser && p.UID != 0
	}
	return false
}

// shun takes note that a process did not answer.
func (m *memory) shun(p *process, now time.Time) {
	if m == nil {
		return
	}
	if m.shunned == nil {
		m.shunned = make(map[uint32]map[processID]shunned)
	}
	if m.shunned[p.UID] == nil {
		m.shunned[p.UID] = make(map[processID]shunned)
	}
	id := identityOfProcess(p)
	pause := min(max(2*m.shunned[p.UID][id].pause, shunFirst), shunMost)
	m.shunned[p.UID][id] = shunned{now.Add(pause), pause}
}

// processID tells a process from a later one of the same number.
type processID struct {
	pid   int
	start time.Duration
}

func identityOfProcess(p *process) processID { return processID{p.PID, p.Start} }
