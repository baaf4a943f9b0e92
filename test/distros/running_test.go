package distros

import (
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// TestRunning upgrades a library under a daemon while a sensor runs that takes the root
// for its host. What it saw loaded it knows the version of, without a log and without
// the file's own word.
func TestRunning(t *testing.T) {
	t.Parallel()
	eachDistro(t, func(t *testing.T, d *distro) {
		d.evidence = sensor.Observed
		b := newBox(t, d)
		host := lab.NewHost(t, b.dir)
		host.Bind(t, sensorAt.Path, "/usr/local/bin/sensor")
		inside := lab.Sensor{Path: "/usr/local/bin/sensor"}
		start := func() *lab.Daemon {
			one := lab.Start(t, lab.Command{Path: "/usr/sbin/food", Via: host.Via()})
			b.pids = append(b.pids, one.PID)
			return one
		}
		food := start()
		running := inside.Start(t, lab.RunCommand{Via: host.Via(), Socket: b.Path("run/sensor/sensor.sock")})
		events := running.Follow(t, 0)
		lab.Check(t, running.Ask(t), b.pids)

		b.upgrade(b.libfoo(t, b.second(), "2"))
		want := b.upgraded(food)
		told, _ := events.Await(t, "food is stale", func(e *sensor.Event) bool {
			return e.Type == sensor.EventStale && lab.Concerns(e, food.PID)
		})
		x := told.Exposure
		if x.AtLeast || x.Opened.Before(b.changed.Add(-time.Second)) || x.Opened.After(b.done) {
			t.Errorf("exposed since %v (at least: %t), the upgrade was from %v to %v", x.Opened, x.AtLeast, b.changed.UTC(), b.done.UTC())
		}
		lab.Check(t, &sensor.Report{Findings: []sensor.Finding{*told.Finding}}, b.pids, want)
		lab.Check(t, running.Ask(t), b.pids, want)
		patch, _ := events.Await(t, "libfoo1 was upgraded", func(e *sensor.Event) bool { return e.Type == sensor.EventPatch })
		if p := patch.Patch; p.Manager != b.manager || p.Package != "libfoo1" || p.Source != "foo" || p.Arch != b.arch(t) || p.Root != "/" ||
			p.From != b.first()[0].version || p.To != b.second()[0].version {
			t.Errorf("the patch is told as %+v", *p)
		}

		food.Stop()
		again := start()
		resolved, _ := events.Await(t, "food was restarted", func(e *sensor.Event) bool {
			return e.Type == sensor.EventResolved && lab.Concerns(e, food.PID)
		})
		if !resolved.Exposure.Opened.Equal(x.Opened) {
			t.Errorf("exposed since %v, then since %v", x.Opened, resolved.Exposure.Opened)
		}
		lab.Check(t, running.Ask(t), b.pids)
		if told := lab.About(events.Close(t), again.PID); len(told) > 0 {
			t.Errorf("told of what was started after the upgrade: %+v", told)
		}
	})
}
