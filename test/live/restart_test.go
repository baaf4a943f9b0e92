package live

import (
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// notRunning matches the gap between two lives of the sensor.
func notRunning(e *sensor.Event) bool {
	return e.Gap != nil && strings.Contains(e.Gap.Why, "not running")
}

// kept are all events that a sensor keeps.
func kept(t *testing.T, r *lab.Running) []sensor.Event {
	t.Helper()
	var list []sensor.Event
	for e, err := range r.Events(t.Context(), 0, false) {
		must(t, err)
		list = append(list, e)
	}
	return list
}

// continues holds that events that were told are kept as they were told, and that no
// cursor came twice.
func continues(t *testing.T, told, kept []sensor.Event) {
	t.Helper()
	byCursor := make(map[uint64]*sensor.Event)
	for i := range kept {
		if i > 0 && kept[i].Cursor <= kept[i-1].Cursor {
			t.Errorf("cursor %d comes after %d", kept[i].Cursor, kept[i-1].Cursor)
		}
		byCursor[kept[i].Cursor] = &kept[i]
	}
	for i := range told {
		e := &told[i]
		if k := byCursor[e.Cursor]; k == nil {
			t.Errorf("event %d, %s, was told and is gone", e.Cursor, e.Type)
		} else if !reflect.DeepEqual(k, e) {
			t.Errorf("event %d was told as\n%+v and is kept as\n%+v", e.Cursor, *e, *k)
		}
	}
}

// The service manager stops the sensor and starts it again: nothing is told twice,
// what happened meanwhile is told once, and a stream goes on where it was.
func TestRestarted(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food, gone := m.start(foodPath), m.start(foodPath)
	r := m.run()
	events := r.Follow(t, 0)
	m.upgrade()
	stale, _ := events.Await(t, "food is stale", is(sensor.EventStale, food))
	for _, d := range []*lab.Daemon{food, gone} {
		events.Await(t, "the upgrade is told to the end", tells(d, versionOf(2)))
	}
	stopping := time.Now()
	r.Stop(t)
	stopped := time.Now()
	told := events.Close(t)
	last := told[len(told)-1].Cursor

	// Nothing happens.
	r = m.run()
	events = r.Follow(t, last)
	gap, _ := events.Await(t, "the gap", notRunning)
	if g := gap.Gap; g.From.After(stopped) || g.From.Before(stopping.Add(-time.Second)) || g.To.Before(stopped) || g.To.After(r.Ready) {
		t.Errorf("stopped from %v to %v, ready again at %v; the gap is %+v", stopping.UTC(), stopped.UTC(), r.Ready.UTC(), g)
	}
	lab.Check(t, r.Ask(t), []int{food.PID, gone.PID, m.control.PID}, m.upgraded(food, 1, 2), m.upgraded(gone, 1, 2))
	if again := lab.About(events.Events(), food.PID, gone.PID); len(again) > 0 {
		t.Errorf("told again: %v", kinds(again))
	}
	if p := r.State(t).Patches; len(p) != 1 || p[0].Stale != 2 || !p[0].Since.Equal(stale.Exposure.Opened) {
		t.Errorf("the status says of patches %+v", p)
	}
	r.Stop(t)
	told = append(told, events.Close(t)...)
	last = told[len(told)-1].Cursor

	// A process ends, and a package changes.
	gone.Stop()
	m.upgrade()
	r = m.run()
	events = r.Follow(t, last)
	events.Await(t, "the patch", m.isPatch(2, 3))
	events.Await(t, "the gap", notRunning)
	changed, _ := events.Await(t, "food has changed", is(sensor.EventChanged, food))
	lab.Check(t, lab.Told([]sensor.Event{changed}), []int{food.PID}, m.upgraded(food, 1, 3))
	if !changed.Exposure.Opened.Equal(stale.Exposure.Opened) {
		t.Errorf("exposed since %v, then since %v", stale.Exposure.Opened, changed.Exposure.Opened)
	}
	m.equal(r, "after the restart")
	food.Stop()
	resolved, _ := events.Await(t, "food has ended", is(sensor.EventResolved, food))
	if !resolved.Exposure.Opened.Equal(stale.Exposure.Opened) {
		t.Errorf("exposed since %v, resolved since %v", stale.Exposure.Opened, resolved.Exposure.Opened)
	}
	told = append(told, events.Close(t)...)
	continues(t, told, kept(t, r))
	of := func(d *lab.Daemon) []sensor.EventType {
		id := stale.Finding.ID
		if d == gone {
			i := slices.IndexFunc(told, func(e sensor.Event) bool { return lab.Concerns(&e, gone.PID) })
			id = told[i].Finding.ID
		}
		// It is told of a change more often if dpkg was met at work.
		return slices.Compact(kinds(slices.DeleteFunc(slices.Clone(told), func(e sensor.Event) bool { return e.Finding == nil || e.Finding.ID != id })))
	}
	if got := of(food); !slices.Equal(got, []sensor.EventType{sensor.EventStale, sensor.EventChanged, sensor.EventResolved}) {
		t.Errorf("told of food: %v", got)
	}
	got := slices.DeleteFunc(of(gone), func(e sensor.EventType) bool { return e == sensor.EventChanged })
	if !slices.Equal(got, []sensor.EventType{sensor.EventStale, sensor.EventResolved}) {
		t.Errorf("told of the one that ended meanwhile: %v", got)
	}
	m.silent(r, told, m.control.PID)
}

// The sensor is killed while a package is upgraded, at any moment.
func TestKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const rounds = 6
	food := m.start(foodPath)
	r := m.run()
	var told []sensor.Event
	for round := range rounds {
		events := r.Follow(t, 0)
		deb := m.next()
		lab.NextSecond()
		after := rand.N(700 * time.Millisecond) // dpkg, the time to settle, the judgement
		began := time.Now()
		r.KillAfter(after)
		m.Install(t, deb)
		took := time.Since(began)
		time.Sleep(time.Until(began.Add(after)))
		r.Kill(t)
		ended := time.Now()
		told = append(told, events.Close(t)...)

		r = m.run()
		t.Logf("round %d: killed %v after dpkg began, which took %v", round, after, took)
		lab.Check(t, r.Ask(t), []int{food.PID, m.control.PID}, m.upgraded(food, 1, m.version))
		m.equal(r, "after a kill")
		r.Follow(t, 0).Await(t, "the gap", func(e *sensor.Event) bool {
			return notRunning(e) && !e.Gap.From.After(began) && e.Gap.To.After(ended)
		})
		if said := r.Log(); strings.Contains(said, "aside") || strings.Contains(said, "corrupt") {
			t.Errorf("the store did not survive:\n%s", said)
		}
	}
	events := r.Follow(t, 0)
	food.Stop()
	resolved, _ := events.Await(t, "food has ended", is(sensor.EventResolved, food))
	m.checkStateDir(statePath)

	all := kept(t, r)
	seen := make(map[uint64]bool)
	told = slices.DeleteFunc(told, func(e sensor.Event) bool { // each stream began anew
		again := seen[e.Cursor]
		seen[e.Cursor] = true
		return again
	})
	continues(t, told, all)
	var patches []string
	gaps := 0
	for i := range all {
		e := &all[i]
		switch {
		case e.Patch != nil:
			patches = append(patches, e.Patch.Package+" "+e.Patch.From+" "+e.Patch.To)
		case notRunning(e):
			gaps++
		}
	}
	var want []string
	for n := 1; n < m.version; n++ {
		want = append(want, m.name+" "+versionOf(n)+" "+versionOf(n+1))
	}
	if !slices.Equal(patches, want) {
		t.Errorf("patches are %q, want %q", patches, want)
	}
	if gaps != rounds {
		t.Errorf("%d gaps after %d kills", gaps, rounds)
	}
	mine := lab.About(all, food.PID)
	if got := kinds(mine); got[0] != sensor.EventStale || slices.Contains(got[1:], sensor.EventStale) {
		t.Errorf("told of food: %v", got)
	}
	for _, e := range mine {
		if !e.Exposure.Opened.Equal(mine[0].Exposure.Opened) {
			t.Errorf("exposed since %v, then since %v", mine[0].Exposure.Opened, e.Exposure.Opened)
		}
	}
	if !resolved.Exposure.Opened.Equal(mine[0].Exposure.Opened) {
		t.Errorf("exposed since %v, resolved since %v", mine[0].Exposure.Opened, resolved.Exposure.Opened)
	}
	m.silent(r, all, m.control.PID)
}

// checkStateDir holds that there is one store, and nothing that was moved aside.
func (m *machine) checkStateDir(dir string) {
	m.t.Helper()
	entries, err := os.ReadDir(m.Inside(dir))
	must(m.t, err)
	for _, e := range entries {
		if !slices.Contains([]string{"lock", "sensor.db", "sensor.db-wal", "sensor.db-shm", "sensor.db-journal", "sensor.db.lock"}, e.Name()) {
			m.t.Errorf("in the state directory there is %s", e.Name())
		}
	}
}
