package api

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestQuota takes and gives back at random and holds the bounds.
func TestQuota(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := &quota{total: 10, perUser: 4, reserved: 3}
	type held struct {
		peer    peer
		release func()
	}
	var all []held
	byUser := func(uid uint32) (n int) {
		for _, h := range all {
			if h.peer.uid == uid {
				n++
			}
		}
		return n
	}
	refused := 0
	for range 10000 {
		if len(all) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(all))
			all[i].release()
			all = append(all[:i], all[i+1:]...)
			continue
		}
		p := peer{uid: r.Uint32N(5)}
		p.trusted = p.uid == 0
		room := 7
		if p.trusted {
			room = 10
		}
		release, ok := q.take(p)
		if want := len(all) < room && byUser(p.uid) < 4; ok != want {
			t.Fatalf("user %d takes: %t, with %d held by all and %d by the user", p.uid, ok, len(all), byUser(p.uid))
		}
		if ok {
			all = append(all, held{p, release})
		} else {
			refused++
		}
		if q.inUse() != len(all) {
			t.Fatalf("%d in use, %d held", q.inUse(), len(all))
		}
	}
	if refused == 0 {
		t.Error("nothing was ever refused")
	}
	for _, h := range all {
		h.release()
	}
	if q.inUse() != 0 || len(q.by) != 0 {
		t.Errorf("%d in use, %v remembered", q.inUse(), q.by)
	}
}

// TestPace holds that over any time a user's requests are let through at no more
// than the pace and a burst.
func TestPace(t *testing.T) {
	p := &pace{interval: 10 * time.Millisecond, burst: 5}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		if d := p.delay(1, now); d != 0 {
			t.Errorf("request %d of the burst waits %v", i, d)
		}
	}
	for i := range 5 {
		if d := p.delay(1, now); d != time.Duration(i+1)*p.interval {
			t.Errorf("request %d after the burst waits %v", i, d)
		}
	}
	if d := p.delay(2, now); d != 0 {
		t.Errorf("another user waits %v", d)
	}
	now = now.Add(time.Second)
	if d := p.delay(1, now); d != 0 {
		t.Errorf("after a pause a request waits %v", d)
	}
	if len(p.next) != 1 {
		t.Errorf("%d users are remembered", len(p.next))
	}
	// One request each interval is the pace itself.
	for i := range 100 {
		now = now.Add(p.interval)
		if d := p.delay(1, now); d != 0 {
			t.Fatalf("request %d at the pace waits %v", i, d)
		}
	}
}
