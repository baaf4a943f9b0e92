package debian

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// TestRunning upgrades real packages under real daemons while a sensor runs that
// takes the root for its host.
func TestRunning(t *testing.T) {
	lab.Root(t)
	r := newRoot(t)
	host := lab.NewHost(t, r.dir)
	host.Bind(t, sensorAt.Path, "/usr/local/bin/sensor")
	inside := lab.Sensor{Path: "/usr/local/bin/sensor"}
	r.start(t, host.Via()...)
	pids := r.pids()
	known := r.remember(t, pids)
	running := inside.Start(t, lab.RunCommand{Via: host.Via(), Socket: r.path("run/sensor/sensor.sock")})
	events := running.Follow(t, 0)
	lab.Check(t, running.Ask(t), pids)

	began := time.Now()
	r.upgrade(t)
	done := time.Now()
	// What apt does after its last change of the database (triggers, its own caches)
	// is not what the sensor has to wait for.
	database, err := os.Stat(r.path("var/lib/dpkg/status"))
	if err != nil {
		t.Fatal(err)
	}
	want := known.findings(t)
	if len(want) < 3 {
		t.Fatalf("the upgrade changed what %d processes run: too few to test anything", len(want))
	}
	for i := range want {
		want[i].Workload, want[i].Command = "process", []string{}
		for j := range want[i].Packages {
			want[i].Packages[j].Loaded.Evidence = sensor.Observed
		}
	}
	opened := make(map[int]time.Time)
	for _, f := range want {
		stale, received := events.Await(t, f.Comm+" is stale", func(e *sensor.Event) bool {
			return e.Type == sensor.EventStale && lab.Concerns(e, f.PID)
		})
		x := stale.Exposure
		t.Logf("%s: told %v after the database's last change, %v after apt ended", f.Comm,
			received.Sub(database.ModTime()).Round(time.Millisecond), received.Sub(done).Round(time.Millisecond))
		if received.After(done.Add(10 * time.Second)) {
			t.Errorf("%s: told %v after apt ended", f.Comm, received.Sub(done))
		}
		if x.AtLeast || x.Opened.Before(began.Add(-time.Second)) || x.Opened.After(done) {
			t.Errorf("%s: exposed since %v (at least: %t), apt ran from %v to %v", f.Comm, x.Opened, x.AtLeast, began.UTC(), done.UTC())
		}
		opened[f.PID] = x.Opened
	}
	lab.Check(t, running.Ask(t), pids, want...)
	lab.Check(t, lab.Told(events.Events()), pids, want...)
	once := inside.StaleBy(t, host.Via(), "--source", "bpf")
	lab.Same(t, "the sensor that runs against one that looks once", running.Ask(t), &once.Report, pids)
	known.checkPatches(t, events.Events())

	stopping := time.Now()
	r.stop(t)
	stopped := time.Now()
	for _, f := range want {
		resolved, received := events.Await(t, f.Comm+" has ended", func(e *sensor.Event) bool {
			return e.Type == sensor.EventResolved && lab.Concerns(e, f.PID)
		})
		x := resolved.Exposure
		least, most := stopping.Sub(opened[f.PID]).Seconds(), received.Sub(opened[f.PID]).Seconds()
		if !x.Opened.Equal(opened[f.PID]) || x.Seconds < least || x.Seconds > most {
			t.Errorf("%s: exposed since %v for %v s; it was since %v, for %v s to %v s", f.Comm, x.Opened, x.Seconds, opened[f.PID], least, most)
		}
		t.Logf("%s: resolved %v after its end, exposed for %.1f s", f.Comm, received.Sub(stopped).Round(time.Millisecond), x.Seconds)
	}
	r.start(t, host.Via()...)
	lab.Check(t, running.Ask(t), r.pids())
	if told := lab.About(events.Close(t), r.pids()...); len(told) > 0 {
		t.Errorf("told of what was started after the upgrade: %+v", told)
	}
}

// checkPatches holds that every package whose version changed was told once, and
// nothing else.
func (b before) checkPatches(t *testing.T, events []sensor.Event) {
	t.Helper()
	var want, got []string
	after := b.root.packages(t)
	for name, p := range after {
		if was := b.packages[name]; was.version != p.version {
			want = append(want, strings.Join([]string{name, p.arch, p.source, was.version, p.version}, " "))
		}
	}
	for name, p := range b.packages {
		if _, ok := after[name]; !ok {
			want = append(want, strings.Join([]string{name, p.arch, p.source, p.version, ""}, " "))
		}
	}
	for _, e := range events {
		if p := e.Patch; p != nil {
			got = append(got, strings.Join([]string{p.Package, p.Arch, p.Source, p.From, p.To}, " "))
			if p.Manager != "dpkg" || p.Root != "/" {
				t.Errorf("a patch of %s in %s", p.Manager, p.Root)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("patches are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
