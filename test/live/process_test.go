package live

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// A stale daemon forks without exec: the child runs the same old code.
func TestForkOfStale(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food := m.start(foodPath)
	r := m.run()
	events := r.Follow(t, 0)
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	child := &lab.Daemon{PID: children(t, food.Do(t, "fork"))[0], Comm: food.Comm, Exe: food.Exe}
	lab.Check(t, r.Ask(t), []int{food.PID, child.PID, m.control.PID}, m.upgraded(food, 1, 2), m.upgraded(child, 1, 2))
	m.equal(r, "after the fork")
	food.Stop()
	events.Await(t, "food and its child have ended", func(e *sensor.Event) bool { return e.Type == sensor.EventResolved && lab.Concerns(e, child.PID) })
	lab.Check(t, r.Ask(t), []int{food.PID, child.PID, m.control.PID})
}

// What was opened is closed again, which nothing tells.
func TestClosed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	plain := m.start(plainPath)
	plain.Do(t, "open "+m.lib())
	r := m.run("--sweep", "off")
	events := r.Follow(t, 0)
	m.upgrade()
	events.Await(t, "plain is stale", is(sensor.EventStale, plain))
	plain.Do(t, "close "+m.lib())
	lab.Until(t, "plain is current", func() bool {
		found, err := lab.ByProcess(r.Ask(t), plain.PID)
		must(t, err)
		return len(found) == 0
	})
	events.Await(t, "plain is resolved", is(sensor.EventResolved, plain))
	m.equal(r, "after dlclose")
}

// A stale process becomes another program and keeps its number.
func TestExecInPlace(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food := m.start(foodPath)
	r := m.run()
	events := r.Follow(t, 0)
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	if word := food.Do(t, "exec "+foodPath); word != "READY" {
		t.Fatalf("said %q", word)
	}
	events.Await(t, "food is current", is(sensor.EventResolved, food))
	lab.Check(t, r.Ask(t), []int{food.PID, m.control.PID})
	// It is one process as before, and can go stale again.
	m.upgrade()
	stale, _ := events.Await(t, "food is stale again", tells(food, versionOf(3)))
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{food.PID}, m.upgraded(food, 2, 3))
	m.equal(r, "after exec")
}

// A process loads a library long after its start. When it did is known.
func TestOpenedLate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	plain := m.start(plainPath)
	r := m.run()
	events := r.Follow(t, 0)
	time.Sleep(1100 * time.Millisecond)
	before := time.Now()
	plain.Do(t, "open "+m.lib())
	after := time.Now()
	r.Ask(t)
	began, _ := m.upgrade()
	stale, _ := events.Await(t, "plain is stale", tells(plain, versionOf(2)))
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{plain.PID}, m.upgraded(plain, 1, 2))
	for what, f := range map[string]sensor.Finding{"the event": *stale.Finding, "the answer": findingOf(t, r.Ask(t), plain)} {
		at := f.Processes[0].Files[0].LoadedAt
		if at == nil || at.Before(before.Add(-50*time.Millisecond)) || at.After(after.Add(50*time.Millisecond)) {
			t.Errorf("%s: loaded at %v, it was from %v to %v", what, at, before.UTC(), after.UTC())
		}
	}
	if stale.Exposure.Opened.Before(began.Add(-time.Second)) {
		t.Errorf("loaded at %v, upgraded at %v, exposed since %v", before.UTC(), began.UTC(), stale.Exposure.Opened)
	}
	// Nothing of the kind for code that the sensor did not see being loaded.
	m.equal(r, "after dlopen")
}

// A process loads the old library after the upgrade, from a descriptor that it has
// from before: it is exposed from then on, not from the upgrade.
func TestOldOpenedLate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food, plain := m.start(foodPath), m.start(plainPath) // food shows what the file was
	descriptor := children(t, plain.Do(t, "hold "+m.lib()))[0]
	r := m.run()
	events := r.Follow(t, 0)
	_, upgraded := m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	time.Sleep(1100 * time.Millisecond)
	before := time.Now()
	plain.Do(t, fmt.Sprintf("open /proc/self/fd/%d", descriptor))
	after := time.Now()
	stale, received := events.Await(t, "plain is stale", is(sensor.EventStale, plain))
	t.Logf("told %v after it was loaded, upgraded %v before", received.Sub(after), before.Sub(upgraded))
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{plain.PID}, m.upgraded(plain, 1, 2))
	if at := stale.Exposure.Opened; at.Before(before.Add(-50*time.Millisecond)) || at.After(after.Add(50*time.Millisecond)) {
		t.Errorf("exposed since %v, it was loaded from %v to %v", at, before.UTC(), after.UTC())
	}
	m.equal(r, "after dlopen")
}

func findingOf(t *testing.T, r *sensor.Report, d *lab.Daemon) sensor.Finding {
	t.Helper()
	for _, f := range r.Findings {
		for _, p := range f.Processes {
			if p.PID == d.PID {
				return f
			}
		}
	}
	t.Fatalf("nothing is said of PID %d", d.PID)
	return sensor.Finding{}
}

// A stale server keeps forking workers that end at once. What is told of it is told
// once, not for each worker.
func TestPrefork(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	unit := lab.NewUnit(t, m.name+".service")
	food, bare := m.start(foodPath), m.start(foodPath)
	unit.Take(t, food.PID)
	r := m.run()
	events := r.Follow(t, 0)
	m.upgrade()
	stale, _ := events.Await(t, "food is stale", is(sensor.EventStale, food))
	events.Await(t, "the other is stale", is(sensor.EventStale, bare))
	want := m.upgraded(food, 1, 2)
	want.Workload, want.Command = "unit", []string{"systemctl", "restart", unit.Name}
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{food.PID}, want)

	for _, server := range []struct {
		*lab.Daemon
		most float64 // events for a worker
	}{
		{food, 0},
		// A process of no unit is its own workload, whoever forked it: those workers
		// that live while everything is judged are told of.
		{bare, 0.2},
	} {
		before := len(m.events(events))
		var workers int
		if _, err := fmt.Sscanf(server.Do(t, "prefork 8 3000"), "DONE %d", &workers); err != nil {
			t.Fatal(err)
		}
		if workers < 100 {
			t.Errorf("%d workers are too few to test anything", workers)
		}
		lab.Check(t, r.Ask(t), []int{food.PID, bare.PID, m.control.PID}, want, m.upgraded(bare, 1, 2))
		told := m.events(events)[before:]
		t.Logf("%d workers, %d events", workers, len(told))
		if float64(len(told)) > server.most*float64(workers) {
			t.Errorf("%d events about %d workers: %v", len(told), workers, kinds(told))
		}
	}
	m.equal(r, "after the workers")
}

// events are those so far that are about the machine's package.
func (m *machine) events(s *lab.Stream) []sensor.Event {
	return slices.DeleteFunc(s.Events(), func(e sensor.Event) bool {
		return e.Finding == nil || !slices.ContainsFunc(e.Finding.Packages, func(p sensor.Package) bool { return p.Name == m.name })
	})
}
