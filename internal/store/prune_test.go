package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestPruneAge: what is older than MaxAge goes, what is just as old stays, and so
// does what is open.
func TestPruneAge(t *testing.T) {
	ctx := context.Background()
	s := open(t, newPath(t), Options{MaxAge: 100 * time.Second})
	b := &Batch{Beat: at(1), Meta: map[string]string{"k": "v"}}
	for i := range 2500 { // More than two steps of each.
		b.Patches = append(b.Patches, Patch{At: at(i)})
		b.Learned = append(b.Learned, Knowledge{File: FileKey{Ino: uint64(i)}, SeenAt: at(i)})
		b.Opened = append(b.Opened, Exposure{Finding: fmt.Sprint(i), Opened: at(-1000), Closed: at(i)}, Exposure{Finding: "open", Opened: at(i)})
		b.Gaps = append(b.Gaps, Gap{From: at(0), To: at(i)})
		b.Events = append(b.Events, Event{At: at(i)})
	}
	write(t, s, b)
	for _, now := range []int{50, 100, 2200, 2200, 9999} {
		if err := s.Prune(ctx, at(now)); err != nil {
			t.Fatal(err)
		}
		kept := min(2500, max(0, 2500-(now-100)))
		patches, err1 := s.Patches(ctx, 0)
		exposures, err2 := s.Exposures(ctx, time.Time{}, 0)
		opened, err3 := s.OpenExposures(ctx)
		gaps, err4 := s.Gaps(ctx, time.Time{}, 0)
		events, oldest, err5 := s.Events(ctx, 0, 0)
		known, err6 := s.Known(ctx, []FileKey{{Ino: uint64(max(0, now-101))}, {Ino: uint64(max(0, now-100))}})
		if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
			t.Fatal(err)
		}
		if len(patches) != kept || len(exposures) != 2500+kept || len(opened) != 2500 || len(gaps) != kept || len(events) != kept {
			t.Errorf("at %d, want %d: %d patches, %d exposures, %d of them open, %d gaps, %d events", now, kept, len(patches), len(exposures),
				len(opened), len(gaps), len(events))
		}
		if want := b.Events[2500-kept:]; kept > 0 && (oldest != want[0].Seq || events[0].Seq != oldest) {
			t.Errorf("at %d: oldest %d, want %d", now, oldest, want[0].Seq)
		}
		if kept == 0 && oldest != b.Events[2499].Seq+1 {
			t.Errorf("all gone, oldest is %d", oldest)
		}
		if _, there := known[FileKey{Ino: uint64(max(0, now-101))}]; now > 100 && there {
			t.Errorf("at %d: knowledge that is too old is known", now)
		}
		if _, there := known[FileKey{Ino: uint64(max(0, now-100))}]; kept > 0 && !there {
			t.Errorf("at %d: knowledge that is young enough is not known", now)
		}
	}
	if beat, err := s.LastBeat(ctx); err != nil || !beat.Equal(at(1)) {
		t.Error(beat, err)
	}
	if v, ok, err := s.Meta(ctx, "k"); err != nil || !ok || v != "v" {
		t.Error(v, ok, err)
	}
	next := &Batch{Events: []Event{{At: at(1)}}}
	write(t, s, next)
	if next.Events[0].Seq <= b.Events[2499].Seq {
		t.Error("a number was used again")
	}
}

// TestPruneEvents: events go in order, also where the clock jumped.
func TestPruneEvents(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		at   []int
		o    Options
		want int // first that is kept
	}{
		"too many":       {[]int{1, 2, 3, 4, 5}, Options{MaxEvents: 2}, 3},
		"just as many":   {[]int{1, 2, 3, 4, 5}, Options{MaxEvents: 5}, 0},
		"too old":        {[]int{1, 2, 3, 4, 5}, Options{MaxAge: 97 * time.Second}, 2},
		"jumped ahead":   {[]int{1, 99, 2, 3, 99}, Options{MaxAge: 50 * time.Second}, 1},
		"jumped back":    {[]int{99, 1, 99, 99, 99}, Options{MaxAge: 50 * time.Second}, 0},
		"old, too many":  {[]int{1, 2, 99, 99, 99}, Options{MaxAge: 50 * time.Second, MaxEvents: 1}, 4},
		"all":            {[]int{1, 2, 3, 4, 5}, Options{MaxAge: time.Second}, 5},
		"none by bounds": {[]int{1, 2, 3, 4, 5}, Options{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, newPath(t), c.o)
			b := &Batch{}
			for _, n := range c.at {
				b.Events = append(b.Events, Event{At: at(n)})
			}
			write(t, s, b)
			if err := s.Prune(ctx, at(100)); err != nil {
				t.Fatal(err)
			}
			events, oldest, err := s.Events(ctx, 0, 0)
			if err != nil || len(events) != len(c.at)-c.want {
				t.Fatalf("%d kept, want %d, %v", len(events), len(c.at)-c.want, err)
			}
			if c.want < len(c.at) && events[0].Seq != b.Events[c.want].Seq || c.want > 0 && oldest != b.Events[c.want-1].Seq+1 {
				t.Errorf("oldest %d of %+v", oldest, b.Events)
			}
		})
	}
}

// TestPruneBytes: the files shrink to the bound, the newest rows stay, open
// exposures always.
func TestPruneBytes(t *testing.T) {
	ctx := context.Background()
	const limit = 2 << 20
	s := open(t, newPath(t), Options{})
	pad := string(bytes.Repeat([]byte{'p'}, 900))
	b := &Batch{Opened: []Exposure{{Finding: "open", Opened: at(-9999)}}}
	for i := range 5000 {
		b.Events = append(b.Events, Event{At: at(i), Body: []byte(pad)})
		b.Learned = append(b.Learned, Knowledge{File: FileKey{Ino: uint64(i)}, Version: pad, SeenAt: at(i)})
		b.Patches = append(b.Patches, Patch{At: at(i), Package: pad})
	}
	write(t, s, b)
	before, err := s.Size()
	if err != nil || before < 12<<20 {
		t.Fatalf("only %d bytes (%v)", before, err)
	}
	// The patches alone are more than the bound: they have to go as well.
	s.options.MaxBytes = limit
	for _, want := range []int64{limit, limit / 4} {
		s.options.MaxBytes = want
		if err := errors.Join(s.Prune(ctx, at(5000)), sound(ctx, s.db)); err != nil {
			t.Fatal(err)
		}
		size, err := s.Size()
		patches, err2 := s.Patches(ctx, 0)
		if err := errors.Join(err, err2); err != nil || size > want || size < want/2 {
			t.Errorf("%d bytes of at most %d, %v", size, want, err)
		}
		if len(patches) == 0 || !patches[0].At.Equal(at(4999)) {
			t.Errorf("%d patches, the newest is gone", len(patches))
		}
	}
	// Nothing left to drop: no error, and no end.
	s.options.MaxBytes = 1
	if err := s.Prune(ctx, at(5000)); err != nil {
		t.Fatal(err)
	}
	if opened, err := s.OpenExposures(ctx); err != nil || len(opened) != 1 {
		t.Errorf("%d open exposures, %v", len(opened), err)
	}
	write(t, s, &Batch{Events: []Event{{At: at(1)}}})
}

// TestPruneOrder: of events and knowledge, the older goes first.
func TestPruneOrder(t *testing.T) {
	ctx := context.Background()
	body := bytes.Repeat([]byte{1}, 2000)
	for name, events := range map[string]int{"events are older": 0, "knowledge is older": 10_000} {
		s := open(t, newPath(t), Options{MaxBytes: 4 << 20})
		b := &Batch{}
		for i := range 2000 {
			b.Events = append(b.Events, Event{At: at(events + i), Body: body})
			b.Learned = append(b.Learned, Knowledge{File: FileKey{Ino: uint64(i)}, Path: string(body), SeenAt: at(5000 + i)})
		}
		write(t, s, b)
		if err := s.Prune(ctx, at(20_000)); err != nil {
			t.Fatal(err)
		}
		list, _, err := s.Events(ctx, 0, 0)
		var known int
		err2 := s.db.QueryRow(`SELECT count(*) FROM knowledge`).Scan(&known)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if old := map[bool]int{true: len(list), false: known}[events == 0]; old != 0 || len(list)+known < 1500 {
			t.Errorf("%s: %d events, %d files known", name, len(list), known)
		}
	}
}

// TestBurst: nobody prunes, and the store stays within its bound nevertheless.
func TestBurst(t *testing.T) {
	ctx := context.Background()
	const limit = 4 << 20
	s := open(t, newPath(t), Options{MaxBytes: limit})
	var last uint64
	for i := range 200 {
		b := &Batch{}
		for range 100 {
			b.Events = append(b.Events, Event{At: at(i), Body: make([]byte, 1000)})
		}
		write(t, s, b)
		last = b.Events[99].Seq
		// A quarter more, the log, and the batch itself.
		if size, err := s.Size(); err != nil || size > limit+limit/4+4<<20+1<<20 {
			t.Fatalf("after %d batches %d bytes, %v", i, size, err)
		}
	}
	list, oldest, err := s.Events(ctx, 0, 0)
	if err != nil || len(list) < 2000 || list[len(list)-1].Seq != last || list[0].Seq != oldest {
		t.Errorf("%d events kept, oldest %d, %v", len(list), oldest, err)
	}
}
