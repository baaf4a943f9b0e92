package watch

import "time"

// settling decides when the changes of one target are told. It has no clock: all
// that it knows of time is what it is given.
//
// A change is told once nothing has changed, and no package manager was seen at
// work, for the time settle; and in any case maxWait after the first change.
type settling struct {
	settle, maxWait time.Duration

	first, last time.Time // of the changes not told yet; zero if there are none
	busy        time.Time // when a package manager was last seen at work on them
	asked       time.Time // when ask was last called
}

// changed takes note of a change. Changes may come out of order.
func (s *settling) changed(at time.Time) {
	if s.first.IsZero() || at.Before(s.first) {
		s.first = at
	}
	if at.After(s.last) {
		s.last = at
	}
}

// waiting reports whether there are changes to tell.
func (s *settling) waiting() bool { return !s.first.IsZero() }

// ask decides at a moment at which a package manager is or is not at work. If
// the changes are to be told it returns when they were, and forgets them.
func (s *settling) ask(at time.Time, busy bool) (first, last time.Time, tell bool) {
	if !s.waiting() {
		return first, last, false
	}
	s.asked = at
	if busy {
		s.busy = at
	}
	if at.Before(s.bound()) && (busy || at.Before(s.quiet())) {
		return first, last, false
	}
	first, last = s.first, s.last
	*s = settling{settle: s.settle, maxWait: s.maxWait}
	return first, last, true
}

// due is the first moment at which ask can give another answer than it just did
// without anything happening.
func (s *settling) due() time.Time {
	if q := s.quiet(); q.After(s.asked) && q.Before(s.bound()) {
		return q
	}
	return s.bound()
}

// quiet is when the target will have been quiet for long enough.
func (s *settling) quiet() time.Time {
	since := s.last
	if s.busy.After(since) {
		since = s.busy
	}
	return since.Add(s.settle)
}

// bound is when the changes are told at the latest.
func (s *settling) bound() time.Time { return s.first.Add(s.maxWait) }
