package api

import (
	"sync"
	"time"
)

// quota bounds how much of one thing is in use at once. One user can have only
// a part of it, and some of it is kept for root, who could otherwise not ask what
// is going on when others take all there is.
type quota struct {
	total, perUser, reserved int

	mu   sync.Mutex
	held int
	by   map[uint32]int
}

// take returns how to give back what was taken, to be called once; false if
// there is none left for this peer. It never waits.
func (q *quota) take(p peer) (release func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	limit := q.total
	if !p.trusted {
		limit -= q.reserved
	}
	if q.held >= limit || q.by[p.uid] >= q.perUser {
		return nil, false
	}
	if q.by == nil {
		q.by = make(map[uint32]int)
	}
	q.held++
	q.by[p.uid]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.held--
		// Users who hold nothing take no room.
		if q.by[p.uid]--; q.by[p.uid] == 0 {
			delete(q.by, p.uid)
		}
	}, true
}

// inUse is how much is taken.
func (q *quota) inUse() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// pace spreads the requests of a user out in time, so that one who asks without
// a pause takes little of the processor from the tracking.
type pace struct {
	// interval is the time between requests once burst of them came at once.
	interval time.Duration
	burst    int

	mu   sync.Mutex
	next map[uint32]time.Time
}

// delay is how long a request of a user that came at now has to wait. The
// number of a user's connections bounds how many wait.
func (p *pace) delay(uid uint32, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = make(map[uint32]time.Time)
	}
	full := now.Add(-p.interval * time.Duration(p.burst))
	for other, at := range p.next {
		// Whose allowance is full again needs no entry.
		if !at.After(full) {
			delete(p.next, other)
		}
	}
	at, known := p.next[uid]
	if !known {
		at = full
	}
	at = at.Add(p.interval)
	p.next[uid] = at
	return max(0, at.Sub(now))
}
