package watch

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSettling goes through timelines, in milliseconds. Settle is 300, MaxWait
// 2000.
func TestSettling(t *testing.T) {
	type step struct {
		at     int
		change bool // before asking
		busy   bool
		tell   bool
		due    int // if nothing was told
	}
	tests := []struct {
		name        string
		steps       []step
		first, last int // of the last thing told
	}{
		{"nothing", []step{{at: 0}, {at: 5000, busy: true}}, 0, 0},
		{"one change", []step{
			{at: 100, change: true, due: 400},
			{at: 399, due: 400},
			{at: 400, tell: true},
			{at: 5000},
		}, 100, 100},
		{"quiet counts from the last change", []step{
			{at: 100, change: true, due: 400},
			{at: 350, change: true, due: 650},
			{at: 400, due: 650},
			{at: 650, tell: true},
		}, 100, 350},
		{"quiet counts from the release of the lock", []step{
			{at: 100, change: true, busy: true, due: 400},
			{at: 600, busy: true, due: 900},
			{at: 700, due: 900},
			{at: 900, tell: true},
		}, 100, 100},
		{"locked again while it settles", []step{
			{at: 100, change: true, busy: true, due: 400},
			{at: 300, due: 400},
			{at: 390, busy: true, due: 690},
			{at: 690, tell: true},
		}, 100, 100},
		{"busy for ever", []step{
			{at: 100, change: true, busy: true, due: 400},
			{at: 1900, busy: true, due: 2100}, // not 2200
			{at: 2099, busy: true, due: 2100},
			{at: 2100, busy: true, tell: true},
			{at: 9000, busy: true},
		}, 100, 100},
		{"changing for ever", []step{
			{at: 100, change: true, due: 400},
			{at: 350, change: true, due: 650},
			{at: 1950, change: true, due: 2100},
			{at: 2200, change: true, tell: true},
			{at: 2300, change: true, due: 2600},
			{at: 2600, tell: true},
		}, 2300, 2300},
		{"the lock of before does not count", []step{
			{at: 100, change: true, busy: true, due: 400},
			{at: 2100, busy: true, tell: true},
			{at: 2110, change: true, due: 2410},
			{at: 2410, tell: true},
		}, 2110, 2110},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			ms := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
			s := settling{settle: 300 * time.Millisecond, maxWait: 2 * time.Second}
			var first, last time.Time
			for _, st := range tt.steps {
				if st.change {
					s.changed(ms(st.at))
				}
				waited := s.waiting()
				f, l, tell := s.ask(ms(st.at), st.busy)
				if tell != st.tell {
					t.Fatalf("at %d: told %v", st.at, tell)
				}
				if tell {
					first, last = f, l
				} else if waited && !s.due().Equal(ms(st.due)) {
					t.Errorf("at %d: due at %v, want %d", st.at, s.due().Sub(start), st.due)
				}
			}
			if !first.IsZero() && (!first.Equal(ms(tt.first)) || !last.Equal(ms(tt.last))) || first.IsZero() && tt.first != 0 {
				t.Errorf("told %v to %v", first.Sub(start), last.Sub(start))
			}
		})
	}
}

// TestSettlingOrder: a change noticed late, as of an earlier time, is part of it.
func TestSettlingOrder(t *testing.T) {
	start := time.Now()
	s := settling{settle: 1, maxWait: 1000}
	s.changed(start.Add(10))
	s.changed(start.Add(5))
	first, last, tell := s.ask(start.Add(11), false)
	if !tell || !first.Equal(start.Add(5)) || !last.Equal(start.Add(10)) {
		t.Errorf("%v, %v to %v", tell, first.Sub(start), last.Sub(start))
	}
}

// TestSettlingProperties drives random timelines of changes, locks and
// questions, the latter no more than poll apart, and holds what is told against
// the whole timeline.
func TestSettlingProperties(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		settle := time.Duration(1 + rng.IntN(50))
		maxWait := settle + time.Duration(rng.IntN(300))
		poll := time.Duration(1 + rng.IntN(20))
		s := settling{settle: settle, maxWait: maxWait}
		start := time.Now()
		at := start
		var (
			untold          []time.Time // changes not told yet, in order
			noisy, lastTold time.Time   // the last moment that was not quiet; the last Change
			busy            bool
			told            int
		)
		for range 400 {
			at = at.Add(1 + time.Duration(rng.Int64N(int64(poll))))
			if rng.IntN(8) == 0 {
				s.changed(at)
				untold = append(untold, at)
				noisy = at
			}
			if rng.IntN(10) == 0 {
				busy = !busy
			}
			if busy {
				noisy = at
			}
			first, last, tell := s.ask(at, busy)
			switch {
			case tell && len(untold) == 0:
				t.Fatalf("seed %d: told without a change", seed)
			case tell && (!first.Equal(untold[0]) || !last.Equal(untold[len(untold)-1])):
				t.Fatalf("seed %d: told other changes than there were", seed)
			case tell && at.Sub(first) < maxWait && (busy || at.Sub(noisy) < settle):
				t.Fatalf("seed %d: told before it settled", seed)
			case tell && !lastTold.IsZero() && at.Sub(lastTold) < settle:
				t.Fatalf("seed %d: told twice within the time to settle", seed)
			case !tell && len(untold) > 0 && at.Sub(untold[0]) >= maxWait:
				t.Fatalf("seed %d: not told after the longest wait", seed)
			case !tell && len(untold) > 0 && !busy && at.Sub(noisy) >= settle:
				t.Fatalf("seed %d: not told though it settled", seed)
			case !tell && len(untold) > 0 && !s.due().After(at):
				t.Fatalf("seed %d: due at once after it was asked", seed)
			}
			if tell {
				untold, lastTold = nil, at
				told++
			}
			if s.waiting() != (len(untold) > 0) {
				t.Fatalf("seed %d: waiting is %v with %d changes", seed, s.waiting(), len(untold))
			}
		}
		if told == 0 {
			t.Errorf("seed %d: nothing was told in 400 steps", seed)
		}
	}
}
