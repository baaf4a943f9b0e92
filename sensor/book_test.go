package sensor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/store"
)

func bookIn(t *testing.T, dir string) *book {
	t.Helper()
	b, err := openBook(t.Context(), dir, time.Hour, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return b
}

// happen adds one event and returns its cursor.
func happen(t *testing.T, b *book, id string) uint64 {
	t.Helper()
	f := Finding{ID: id}
	b.write(t.Context(), entries{events: []Event{{Schema: EventSchema, Time: time.Now().UTC(), Type: EventStale, Finding: &f}}}, Host{Name: "h"})
	return b.last()
}

// ids are the findings of the events after a cursor, and must have the cursors
// that they were told with.
func ids(t *testing.T, b *book, after uint64, cursors map[string]uint64) []string {
	t.Helper()
	list, err := b.events(t.Context(), after, 10000)
	if err != nil && !errors.Is(err, ErrCursor) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Finding.ID)
		if want := cursors[e.Finding.ID]; e.Cursor != want || e.Cursor <= after || e.Host.Name != "h" {
			t.Errorf("event %s has cursor %d, was told with %d", e.Finding.ID, e.Cursor, want)
		}
	}
	return out
}

func TestBookKeepsEvents(t *testing.T) {
	dir := t.TempDir()
	b := bookIn(t, dir)
	cursors := make(map[string]uint64)
	var want []string
	for _, id := range []string{"a", "b", "c"} {
		cursors[id] = happen(t, b, id)
		want = append(want, id)
	}
	if got := ids(t, b, 0, cursors); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := ids(t, b, cursors["b"], cursors); !slices.Equal(got, want[2:]) {
		t.Errorf("after b: got %q, want %q", got, want[2:])
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	b = bookIn(t, dir)
	if b.last() != cursors["c"] {
		t.Errorf("the cursor is %d after a restart, was %d", b.last(), cursors["c"])
	}
	cursors["d"] = happen(t, b, "d")
	if got := ids(t, b, 0, cursors); !slices.Equal(got, append(want, "d")) {
		t.Errorf("after a restart: got %q", got)
	}
	if got := ids(t, b, cursors["a"], cursors); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("after a: got %q", got)
	}
}

// What cannot be kept is told all the same, and kept when that is possible again,
// with the same cursors.
func TestBookWithoutStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := bookIn(t, dir)
	if s := b.status(); s.Error == "" {
		t.Error("the status tells of no trouble")
	}
	cursors := map[string]uint64{}
	news := make(chan error, 1)
	go func() { news <- b.wait(t.Context(), 0) }()
	cursors["a"] = happen(t, b, "a")
	if err := <-news; err != nil {
		t.Fatal(err)
	}
	x := &store.Exposure{Finding: "a", Opened: time.Now()}
	b.write(t.Context(), entries{opened: []*store.Exposure{x}}, Host{})
	x.Closed = time.Now()
	b.write(t.Context(), entries{closed: []*store.Exposure{x}}, Host{})
	cursors["b"] = happen(t, b, "b")
	if got := ids(t, b, 0, cursors); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.beat(t.Context(), time.Now())
	if s := b.status(); s.Error != "" {
		t.Errorf("still in trouble: %s", s.Error)
	}
	cursors["c"] = happen(t, b, "c")
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	b = bookIn(t, dir)
	if got := ids(t, b, 0, cursors); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("kept %q", got)
	}
	open, err := b.store.OpenExposures(t.Context())
	if err != nil || len(open) != 0 {
		t.Errorf("open exposures %v, %v", open, err)
	}
}

// One event that the store refuses costs neither its neighbours nor their cursors.
func TestBookRefused(t *testing.T) {
	dir := t.TempDir()
	b := bookIn(t, dir)
	cursors := map[string]uint64{}
	f, g := Finding{ID: "huge", Workload: Workload{Name: string(make([]byte, store.MaxBody))}}, Finding{ID: "small"}
	b.write(t.Context(), entries{events: []Event{
		{Time: time.Now(), Type: EventStale, Finding: &f}, {Time: time.Now(), Type: EventStale, Finding: &g},
	}}, Host{Name: "h"})
	cursors["small"] = b.last()
	cursors["next"] = happen(t, b, "next")
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	b = bookIn(t, dir)
	if got := ids(t, b, 0, cursors); !slices.Equal(got, []string{"small", "next"}) {
		t.Errorf("kept %q", got)
	}
}

func TestBookWaits(t *testing.T) {
	b := bookIn(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.wait(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	happen(t, b, "a")
	if err := b.wait(ctx, 0); err != nil {
		t.Errorf("there is an event, but got %v", err)
	}
}

func exposed(finding string) *store.Exposure {
	return &store.Exposure{Finding: finding, Package: "p", Opened: time.Now().Add(-time.Hour)}
}

// The exposures that were in a store which is gone go on in the one after it: they
// close none of others, nor cost the events that are told with them.
func TestBookDiscards(t *testing.T) {
	b := bookIn(t, t.TempDir())
	cursors := make(map[string]uint64)
	old, older := exposed("old"), exposed("older")
	b.write(t.Context(), entries{opened: []*store.Exposure{old, older}}, Host{})
	b.discard(t.Context(), errors.New("test"))
	young := exposed("young")
	b.write(t.Context(), entries{opened: []*store.Exposure{young}}, Host{})
	findings := func() string {
		open, err := b.store.OpenExposures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, x := range open {
			list = append(list, x.Finding)
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	if got := findings(); got != "old older young" {
		t.Errorf("open are %q", got)
	}
	old.Closed = time.Now()
	b.write(t.Context(), entries{closed: []*store.Exposure{old}}, Host{})
	if got := findings(); got != "older young" {
		t.Errorf("then open are %q", got)
	}
	older.ID = 4711
	older.Closed = time.Now()
	f := Finding{ID: "older"}
	b.write(t.Context(), entries{closed: []*store.Exposure{older}, events: []Event{{Time: time.Now(), Type: EventResolved, Finding: &f}}}, Host{Name: "h"})
	cursors["older"] = b.last()
	if got := ids(t, b, 0, cursors); !slices.Equal(got, []string{"older"}) || b.lost() > 0 {
		t.Errorf("events %q, %d batches lost", got, b.lost())
	}
}

// Trouble with the store does not fill the memory with heartbeats.
func TestBookBeats(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := bookIn(t, dir)
	happen(t, b, "a")
	for range 10 {
		b.beat(t.Context(), time.Now())
	}
	if len(b.pending) != 1 || b.lost() > 0 {
		t.Errorf("%d entries wait, %d were lost", len(b.pending), b.lost())
	}
}
