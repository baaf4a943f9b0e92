package probe

import "time"

// pacer bounds how many records a second one process may cause, as limited of
// bpf/sensor.bpf.c does: a process that causes more is passed over for a second,
// and twice as long each time that it goes on.
type pacer struct {
	rate int
	// since begins the second in which counts are made. Times need not be in order.
	since  time.Duration
	counts map[int]int
	pauses map[int]pause
}

// pause is a time in which a process is passed over, the row-th in a row.
type pause struct {
	until time.Duration
	row   int
}

// longestPause is the row from which on pauses get no longer: 32 s.
const longestPause = 5

func newPacer(rate int) pacer {
	return pacer{rate: rate, counts: make(map[int]int), pauses: make(map[int]pause)}
}

// limits counts a record of a process and reports whether to pass over it.
func (p *pacer) limits(pid int, at time.Duration) bool {
	if at-p.since >= time.Second {
		p.since = at
		clear(p.counts)
		// Who was quiet for as long as its last pause begins anew.
		for pid, pause := range p.pauses {
			if at-pause.until > time.Second<<pause.row {
				delete(p.pauses, pid)
			}
		}
	}
	last, paused := p.pauses[pid]
	if paused && at < last.until {
		return true
	}
	p.counts[pid]++
	if p.counts[pid] <= p.rate {
		return false
	}
	row := 0
	if paused {
		row = min(last.row+1, longestPause)
	}
	p.pauses[pid] = pause{at + time.Second<<row, row}
	delete(p.counts, pid)
	return true
}
