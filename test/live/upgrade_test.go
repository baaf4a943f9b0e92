package live

import (
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// A package is upgraded under a running daemon, which is then restarted.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food := m.start(foodPath)
	r := m.run()
	events := r.Follow(t, 0)
	lab.Check(t, r.Ask(t), []int{food.PID, m.control.PID})

	began, done := m.upgrade()
	patch, _ := events.Await(t, "the patch", m.isPatch(1, 2))
	stale, received := events.Await(t, "food is stale", is(sensor.EventStale, food))
	t.Logf("told %v after dpkg ended", received.Sub(done))
	m.checkPatch(patch, began, done)
	want := m.upgraded(food, 1, 2)
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{food.PID}, want)
	lab.Check(t, r.Ask(t), []int{food.PID, m.control.PID}, want)
	if x := stale.Exposure; x.AtLeast || x.Opened.Before(began.Add(-time.Second)) || x.Opened.After(done) {
		t.Errorf("exposed since %v (at least: %t), dpkg ran from %v to %v", x.Opened, x.AtLeast, began.UTC(), done.UTC())
	}
	m.equal(r, "after the upgrade")
	status := r.State(t)
	if p := status.Patches; len(p) != 1 || p[0].Stale != 1 || p[0].Since == nil || !p[0].Since.Equal(stale.Exposure.Opened) {
		t.Errorf("the status says of patches %+v", p)
	}

	stopping := time.Now()
	food.Stop()
	stopped := time.Now()
	again := m.start(foodPath)
	resolved, _ := events.Await(t, "food is current", is(sensor.EventResolved, food))
	x := resolved.Exposure
	if !x.Opened.Equal(stale.Exposure.Opened) || x.Closed == nil {
		t.Fatalf("the exposure %+v became %+v", stale.Exposure, x)
	}
	if x.Closed.Before(stopping) || x.Closed.After(stopped.Add(10*time.Second)) {
		t.Errorf("exposed until %v, the daemon was stopped from %v to %v", x.Closed, stopping.UTC(), stopped.UTC())
	}
	if least, most := stopping.Sub(done).Seconds(), stopped.Add(10*time.Second).Sub(began).Seconds()+1; x.Seconds < least || x.Seconds > most {
		t.Errorf("exposed for %v s, it was between %v s and %v s", x.Seconds, least, most)
	}
	m.silent(r, events.Events(), again.PID, m.control.PID)
	lab.Check(t, r.Ask(t), []int{food.PID, again.PID})
	if p := r.State(t).Patches; len(p) != 1 || p[0].Stale != 0 || p[0].Since != nil {
		t.Errorf("the status says of patches %+v", p)
	}
	if told := kinds(lab.About(events.Close(t), food.PID)); !slices.Equal(told, []sensor.EventType{sensor.EventStale, sensor.EventResolved}) {
		t.Errorf("told of food: %v", told)
	}
}
