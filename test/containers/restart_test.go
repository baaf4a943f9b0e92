package containers

import (
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// TestRuntimeRestarts: containers that outlive their runtime are judged while it is
// away, keep the names that a running sensor knows, and get them back from one that
// looks once.
func TestRuntimeRestarts(t *testing.T) {
	eachWorld(t, false, runtimeRestarts)
}

func runtimeRestarts(t *testing.T, w *world) {
	t.Helper()
	d, err := w.newDocker(t, "crash", "--live-restore")
	must(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	d.Do(t, "import", w.root, base)
	x := newTrio(t, w, d, "crash")
	r := runSensor(t, d.Sockets()...)
	events := r.Follow(t, 0)
	lab.CheckContainers(t, r.Ask(t), x.all())

	d.Crash()
	once := sensorAt.Stale(t, told(d)...)
	lab.CheckContainers(t, &once.Report, x.all())
	must(t, d.Launch())
	lab.Until(t, "the sensor that runs has found the runtime again", func() bool { return !warned(r.Ask(t), d.Socket) })
	lab.CheckContainers(t, r.Ask(t), x.all())
	x.change(t)
	for _, c := range []*lab.Container{x.drifted, x.outdated} {
		events.Await(t, c.Name+" is stale", isStale(c))
	}
	x.check(t, r.Ask(t))

	d.Crash()
	t.Run("away", func(t *testing.T) {
		x.check(t, r.Ask(t)) // it remembers
		once := sensorAt.Stale(t, told(d)...)
		x.unnamed(t, &once.Report)
		if !warned(&once.Report, d.Socket) {
			t.Errorf("no warning names %s: %+v", d.Socket, once.Report.Warnings)
		}
	})
	must(t, d.Launch())
	t.Run("back", func(t *testing.T) {
		lab.Until(t, "the sensor that runs has found the runtime again", func() bool { return !warned(r.Ask(t), d.Socket) })
		once := sensorAt.Stale(t, told(d)...)
		x.check(t, &once.Report)
		x.check(t, r.Ask(t))
		// What is started by the runtime that came back has a name too.
		late := d.Run(t, "crash-late", "crash/current:1", []string{w.expat.library})
		known := remember(t, late)
		lab.NextSecond()
		late.Install(t, w.expat.to)
		events.Await(t, late.Name+" is stale", isStale(late))
		// The sensor tells at once, and looks for the runtime now and then.
		lab.Until(t, late.Name+" has its name", func() bool {
			list := lab.FindingsOf(r.Ask(t), late)
			return len(list) == 1 && list[0].Workload.Container != nil && *list[0].Workload.Container == late.Container
		})
		lab.CheckContainers(t, r.Ask(t), []*lab.Container{late}, known.drifted(t, d))
	})
}
