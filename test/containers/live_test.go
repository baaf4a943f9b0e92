package containers

import (
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// TestRunning: a sensor that runs tells of drift and of superseded images when they come
// about, with the names that the runtime gave, and that all is well again.
func TestRunning(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, running)
}

func running(t *testing.T, w *world) {
	t.Helper()
	x := newTrio(t, w, w.docker, "running")
	r := runSensor(t, w.docker.Sockets()...)
	events := r.Follow(t, 0)
	lab.CheckContainers(t, r.Ask(t), x.all())
	x.change(t)
	for _, c := range []*lab.Container{x.drifted, x.outdated} {
		e, _ := events.Await(t, c.Name+" is stale", isStale(c))
		if got := *e.Finding.Workload.Container; got != c.Container {
			t.Errorf("told of %+v, want %+v", got, c.Container)
		}
	}
	x.check(t, r.Ask(t))
	once := w.stale(t)
	x.check(t, &once.Report)

	// A container that was not there when the sensor started.
	late := w.start(t, "running-late", "running/current:1", []string{w.expat.library})
	known := remember(t, late)
	lab.CheckContainers(t, r.Ask(t), []*lab.Container{late})
	lab.NextSecond()
	late.Install(t, w.expat.to)
	events.Await(t, late.Name+" is stale", isStale(late))
	lab.CheckContainers(t, r.Ask(t), []*lab.Container{late}, known.drifted(t, w.docker))

	// One that is replaced by one of the newer image, and one that is started anew.
	x.outdated.Remove(t)
	events.Await(t, x.outdated.Name+" is gone", func(e *sensor.Event) bool {
		return e.Type == sensor.EventResolved && e.Finding.Workload.Name == x.outdated.Name
	})
	replaced := w.start(t, x.outdated.Name, x.tag, []string{w.expat.library})
	w.docker.Do(t, "restart", x.drifted.Name)
	events.Await(t, x.drifted.Name+" was restarted", func(e *sensor.Event) bool {
		return e.Type == sensor.EventResolved && e.Finding.Workload.Name == x.drifted.Name
	})
	x.drifted.Await(t, w.expat.library)
	lab.CheckContainers(t, r.Ask(t), []*lab.Container{replaced, x.drifted, x.current})
	for _, e := range events.Close(t) {
		if e.Finding != nil && e.Finding.Workload.Name == x.current.Name {
			t.Errorf("told of %s: %+v", x.current.Name, e.Finding)
		}
	}
}
