package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
)

// model is what the store should hold, in plain slices.
type model struct {
	o         Options
	patches   []Patch
	known     map[FileKey]Knowledge
	exposures map[int64]Exposure
	gaps      []Gap
	events    []Event
	last      uint64
	oldest    uint64
	beat      time.Time
	meta      map[string]string
}

func (m *model) write(b *Batch) {
	m.patches = append(m.patches, b.Patches...)
	for _, k := range b.Learned {
		if old, ok := m.known[k.File]; !ok || !k.SeenAt.Before(old.SeenAt) {
			m.known[k.File] = k
		}
	}
	for _, e := range b.Opened {
		m.exposures[e.ID] = e
	}
	for _, e := range b.Changed {
		e.Closed = m.exposures[e.ID].Closed
		m.exposures[e.ID] = e
	}
	for _, c := range b.Closed {
		e := m.exposures[c.ID]
		e.Closed = c.Closed
		m.exposures[c.ID] = e
	}
	m.gaps = append(m.gaps, b.Gaps...)
	m.events = append(m.events, b.Events...)
	if n := len(b.Events); n > 0 {
		m.last = b.Events[n-1].Seq
	}
	if !b.Beat.IsZero() {
		m.beat = b.Beat
	}
	for k, v := range b.Meta {
		m.meta[k] = v
	}
}

func (m *model) prune(now time.Time) {
	oldest := now.Add(-m.o.MaxAge)
	m.patches = slices.DeleteFunc(m.patches, func(p Patch) bool { return p.At.Before(oldest) })
	m.gaps = slices.DeleteFunc(m.gaps, func(g Gap) bool { return g.To.Before(oldest) })
	for k, v := range m.known {
		if v.SeenAt.Before(oldest) {
			delete(m.known, k)
		}
	}
	for id, e := range m.exposures {
		if !e.Closed.IsZero() && e.Closed.Before(oldest) {
			delete(m.exposures, id)
		}
	}
	for len(m.events) > 0 && (m.events[0].At.Before(oldest) || len(m.events) > m.o.MaxEvents) {
		m.oldest = m.events[0].Seq + 1
		m.events = m.events[1:]
	}
}

// generator makes random batches from few values, so that they collide.
type generator struct{ *rand.Rand }

func (g generator) text() string {
	return []string{"", "a", "b", "\x00", "\xff\xfe", "ü", "'; DROP TABLE events; --", "a\nb"}[g.IntN(8)]
}

func (g generator) time() time.Time { return at(g.IntN(1000)).Add(time.Duration(g.IntN(1e9))) }

func (g generator) key() FileKey {
	return FileKey{Dev: uint64(g.IntN(2)) << 63, Ino: uint64(g.IntN(20)), Birth: int64(g.IntN(2)) - 1, Mtime: int64(g.IntN(2)), Size: 1}
}

func (g generator) exposure() Exposure {
	e := Exposure{Finding: g.text(), Domain: g.text(), Kind: g.text(), Workload: g.text(), Manager: g.text(), Package: g.text(),
		Arch: g.text(), Loaded: g.text(), Evidence: g.text(), Installed: g.text(), Opened: g.time(), AtLeast: g.IntN(2) == 0}
	switch g.IntN(3) {
	case 0:
		e.CVEs = []string{}
	case 1:
		e.CVEs = []string{"CVE-1", "CVE-2"}[:1+g.IntN(2)]
	}
	return e
}

func (g generator) batch(ids []int64) *Batch {
	b := &Batch{Meta: map[string]string{}}
	for range g.IntN(4) {
		b.Patches = append(b.Patches, Patch{At: g.time(), Domain: g.text(), Root: g.text(), Manager: g.text(), Package: g.text(),
			Source: g.text(), Arch: g.text(), From: g.text(), To: g.text()})
		b.Opened = append(b.Opened, g.exposure())
		b.Gaps = append(b.Gaps, Gap{From: at(0), To: at(g.IntN(10) * 100), Why: g.text()})
	}
	for range g.IntN(10) {
		b.Learned = append(b.Learned, Knowledge{File: g.key(), Root: g.text(), Path: g.text(), BuildID: g.text(), Manager: g.text(),
			Name: g.text(), Arch: g.text(), Version: g.text(), Source: g.text(), SourceVersion: g.text(), SeenAt: g.time()})
	}
	for _, id := range ids {
		switch e := g.exposure(); g.IntN(8) {
		case 0:
			e.ID = id
			b.Changed = append(b.Changed, e)
		case 1:
			b.Closed = append(b.Closed, Exposure{ID: id, Closed: g.time()})
		}
	}
	for range g.IntN(10) {
		e := Event{At: g.time(), Type: g.text(), Body: []byte(g.text())}
		if len(e.Body) == 0 {
			e.Body = nil
		}
		b.Events = append(b.Events, e)
	}
	if g.IntN(2) == 0 {
		b.Beat = g.time()
	}
	for range g.IntN(3) {
		b.Meta[g.text()] = g.text()
	}
	return b
}

// TestModel: after any sequence of batches, refused batches, prunings and
// restarts the store holds what the model holds.
func TestModel(t *testing.T) {
	ctx := context.Background()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	for run := range 6 {
		o := Options{MaxAge: 300 * time.Second, MaxEvents: 30, MaxBytes: 1 << 30}
		path := newPath(t)
		s := open(t, path, o)
		base, err := s.LastSeq(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{o: o, known: map[FileKey]Knowledge{}, exposures: map[int64]Exposure{}, meta: map[string]string{}, last: base, oldest: base + 1}
		for step := range 60 {
			var ids []int64
			for id := range m.exposures {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			what := "write"
			switch g.IntN(10) {
			case 0:
				what = "reopen"
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, path, o)
			case 1:
				what = "prune"
				now := at(g.IntN(1000))
				if err := s.Prune(ctx, now); err != nil {
					t.Fatal(err)
				}
				m.prune(now)
			case 2:
				what = "refused"
				b := g.batch(ids)
				b.Closed = append(b.Closed, Exposure{ID: 1 << 40, Closed: at(1)})
				if err := s.Write(ctx, b); !errors.Is(err, ErrNoExposure) {
					t.Fatal(err)
				}
			default:
				b := g.batch(ids)
				write(t, s, b)
				for i := range b.Events {
					if b.Events[i].Seq <= m.last+uint64(i) {
						t.Fatalf("number %d after %d", b.Events[i].Seq, m.last)
					}
				}
				m.write(b)
			}
			compare(t, s, m, g)
			if t.Failed() {
				t.Fatalf("run %d, step %d (%s)", run, step, what)
			}
		}
		s.Close()
	}
}

func compare(t *testing.T, s *Store, m *model, g generator) {
	t.Helper()
	ctx := context.Background()
	same := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", what, err, got, want)
		}
	}
	limit, since := 1+g.IntN(20), g.time()

	// Below, nil and empty are the same list.
	patches := slices.Clone(m.patches)
	slices.SortFunc(patches, func(a, b Patch) int { return -order(a.At, a.ID, b.At, b.ID) })
	list, err := s.Patches(ctx, limit)
	same("patches", append([]Patch{}, list...), err, append([]Patch{}, patches[:min(len(patches), limit)]...))

	var keys []FileKey
	want := map[FileKey]Knowledge{}
	for range 10 {
		k := g.key()
		keys = append(keys, k)
		if v, ok := m.known[k]; ok {
			want[k] = v
		}
	}
	known, err := s.Known(ctx, keys)
	same("known", known, err, want)
	for _, id := range []string{"", "a", "\x00"} {
		built, err := s.KnownBuildID(ctx, id)
		got, want := map[FileKey]Knowledge{}, map[FileKey]Knowledge{}
		for i, k := range built {
			got[k.File] = k
			if i > 0 && k.SeenAt.After(built[i-1].SeenAt) {
				t.Error("build IDs out of order")
			}
		}
		for key, k := range m.known {
			if k.BuildID == id && id != "" {
				want[key] = k
			}
		}
		same("build ID", got, err, want)
	}

	opened, recent := []Exposure{}, []Exposure{}
	for _, e := range m.exposures {
		if e.Closed.IsZero() {
			opened = append(opened, e)
		}
		if e.Closed.IsZero() || !e.Closed.Before(since) {
			recent = append(recent, e)
		}
	}
	byOpened := func(a, b Exposure) int { return order(a.Opened, a.ID, b.Opened, b.ID) }
	slices.SortFunc(opened, byOpened)
	slices.SortFunc(recent, func(a, b Exposure) int { return -byOpened(a, b) })
	exposures, err := s.OpenExposures(ctx)
	same("open exposures", append([]Exposure{}, exposures...), err, opened)
	exposures, err = s.Exposures(ctx, since, limit)
	same("exposures", append([]Exposure{}, exposures...), err, recent[:min(len(recent), limit)])

	ended := []Gap{}
	for _, gap := range slices.Backward(m.gaps) {
		if !gap.To.Before(since) {
			ended = append(ended, gap)
		}
	}
	slices.SortStableFunc(ended, func(a, b Gap) int { return b.To.Compare(a.To) })
	gaps, err := s.Gaps(ctx, since, limit)
	same("gaps", append([]Gap{}, gaps...), err, ended[:min(len(ended), limit)])

	after := m.last - uint64(g.IntN(20))
	later := slices.DeleteFunc(slices.Clone(m.events), func(e Event) bool { return e.Seq <= after })
	events, oldest, err := s.Events(ctx, after, limit)
	same("events", append([]Event{}, events...), err, append([]Event{}, later[:min(len(later), limit)]...))
	same("oldest", oldest, nil, m.oldest)
	seq, err := s.LastSeq(ctx)
	same("last", seq, err, m.last)
	beat, err := s.LastBeat(ctx)
	same("beat", beat, err, m.beat)
	key := g.text()
	value, ok, err := s.Meta(ctx, key)
	wantValue, wantOK := m.meta[key]
	same("meta", fmt.Sprint(ok, value), err, fmt.Sprint(wantOK, wantValue))
}

func order(a time.Time, idA int64, b time.Time, idB int64) int {
	if c := a.Compare(b); c != 0 {
		return c
	}
	return int(idA - idB)
}

// TestConcurrent: writers, readers and a pruner at once; each writer's events come
// out in its order, and none twice.
func TestConcurrent(t *testing.T) {
	ctx := context.Background()
	s := open(t, newPath(t), Options{MaxEvents: 1 << 20})
	const writers, batches = 4, 30
	var wg sync.WaitGroup
	fail := make(chan error, 100)
	for w := range writers {
		wg.Go(func() {
			for n := range batches {
				b := &Batch{Events: []Event{{At: at(n), Type: fmt.Sprint(w), Body: fmt.Append(nil, n)}, {At: at(n), Type: "pair", Body: fmt.Append(nil, n)}}}
				if err := s.Write(ctx, b); err != nil || b.Events[1].Seq != b.Events[0].Seq+1 {
					fail <- fmt.Errorf("write: %w, %+v", err, b.Events)
				}
				if _, err := s.Known(ctx, []FileKey{{Ino: uint64(n)}}); err != nil {
					fail <- err
				}
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			if err := s.Prune(ctx, at(0)); err != nil {
				fail <- err
			}
		}
	})
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
	events, _, err := s.Events(ctx, 0, 0)
	if err != nil || len(events) != 2*writers*batches {
		t.Fatalf("%d events, %v", len(events), err)
	}
	next := map[string]int{}
	for _, e := range events {
		if e.Type != "pair" {
			if string(e.Body) != fmt.Sprint(next[e.Type]) {
				t.Errorf("writer %s: %s, want %d", e.Type, e.Body, next[e.Type])
			}
			next[e.Type]++
		}
	}
}
