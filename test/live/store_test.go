package live

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The disk is full: nothing can be kept, and everything is told.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const state = "/state"
	m.Mount(t, "tmpfs", "size=3m", state)
	ballast := m.Inside(state + "/ballast")
	fill := func() {
		t.Helper()
		f, err := os.Create(ballast)
		must(t, err)
		defer f.Close()
		for size := 64 << 10; size > 0; size /= 2 {
			for chunk := make([]byte, size); err == nil; {
				_, err = f.Write(chunk)
			}
			err = nil
		}
	}
	food := m.start(foodPath)
	r := m.run("--state-dir", state)
	events := r.Follow(t, 0)
	if e := r.State(t).Store.Error; e != "" {
		t.Fatalf("the store: %s", e)
	}
	fill()
	// It takes more than one to use up what the database has left.
	for m.version < 4 {
		m.upgrade()
		events.Await(t, "the patch", m.isPatch(m.version-1, m.version))
	}
	stale, _ := events.Await(t, "food is stale", is(sensor.EventStale, food))
	lab.Until(t, "the status says that nothing can be kept", func() bool { return r.State(t).Store.Error != "" })
	t.Logf("the store says %q", r.State(t).Store.Error)
	lab.Check(t, r.Ask(t), []int{food.PID, m.control.PID}, m.upgraded(food, 1, 4))
	m.equal(r, "with a full disk")

	must(t, os.Remove(ballast))
	lab.Until(t, "the store has recovered", func() bool { return r.State(t).Store.Error == "" })
	if n := lab.Lost(r.State(t), "entries not stored"); n != 0 {
		t.Errorf("%d entries were dropped", n)
	}
	told := events.Events()
	r.Kill(t)
	r = m.run("--state-dir", state)
	all := kept(t, r)
	continues(t, told, all)
	food.Stop()
	resolved, _ := r.Follow(t, 0).Await(t, "food has ended", is(sensor.EventResolved, food))
	if !resolved.Exposure.Opened.Equal(stale.Exposure.Opened) {
		t.Errorf("exposed since %v, resolved since %v", stale.Exposure.Opened, resolved.Exposure.Opened)
	}
	r.Stop(t)

	// Full from the start.
	for _, name := range []string{"sensor.db", "sensor.db-wal", "sensor.db-shm"} {
		_ = os.Remove(m.Inside(state + "/" + name))
	}
	fill()
	food = m.start(foodPath)
	r = m.run("--state-dir", state)
	events = r.Follow(t, 0)
	if r.State(t).Store.Error == "" {
		t.Error("the status says that all is well")
	}
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	must(t, os.Remove(ballast))
	lab.Until(t, "the store has recovered", func() bool { return r.State(t).Store.Error == "" })
	m.upgrade()
	events.Await(t, "food has changed", is(sensor.EventChanged, food))
	r.Stop(t)
	r = m.run("--state-dir", state)
	continues(t, events.Close(t), kept(t, r))
}

// The store is damaged: it is moved aside, said loudly, and begun anew.
func TestCorruptStore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food := m.start(foodPath)
	r := m.run()
	events := r.Follow(t, 0)
	lab.NextSecond() // what is left without the store is dpkg's log
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	r.Stop(t)
	told := events.Close(t)
	last := told[len(told)-1].Cursor
	store := m.Inside(statePath + "/sensor.db")
	info, err := os.Stat(store)
	must(t, err)
	must(t, os.WriteFile(store, []byte(strings.Repeat("not a database\n", int(info.Size())/15)), 0o600))

	r = m.run()
	if said := r.Log(); !strings.Contains(said, "ERROR") || !strings.Contains(said, "moved aside") {
		t.Errorf("the log has not a word about it:\n%s", said)
	}
	entries, err := os.ReadDir(m.Inside(statePath))
	must(t, err)
	aside := slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return slices.Contains([]string{"lock", "sensor.db", "sensor.db-wal", "sensor.db-shm", "sensor.db.lock"}, e.Name())
	})
	if len(aside) == 0 {
		t.Error("nothing was moved aside")
	}
	if e := r.State(t).Store.Error; e != "" {
		t.Errorf("the new store: %s", e)
	}
	// Whoever comes with a cursor of the lost store learns what there is, and that
	// something may be missing.
	events = r.Follow(t, last)
	stale, _ := events.Await(t, "food is stale", is(sensor.EventStale, food))
	if x := stale.Exposure; x.Opened.After(time.Now()) {
		t.Errorf("exposed since %v", x.Opened)
	}
	want := m.upgraded(food, 1, 2)
	want.Packages[0].Loaded.Evidence = sensor.History
	lab.Check(t, r.Ask(t), []int{food.PID, m.control.PID}, want)
	m.upgrade()
	events.Await(t, "the patch", m.isPatch(2, 3))
	r.Stop(t)
	all := events.Close(t)
	r = m.run()
	continues(t, slices.DeleteFunc(all, func(e sensor.Event) bool { return e.Gap != nil }), kept(t, r))
}
