package live

import (
	"os"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// app is a daemon outside of any package, with a library of its own.
func (m *machine) app() (d *lab.Daemon, lib string) {
	m.t.Helper()
	lib = "/opt/app/lib/libapp.so.1"
	m.put(library(m.t, "libapp.so.1", 1), lib)
	m.put(actor(m.t, "1"), "/opt/app/appd")
	d = m.start("/opt/app/appd")
	d.Do(m.t, "open "+lib)
	return d, lib
}

// replaced is what has to be said of the app whose library was replaced.
func (m *machine) replaced(d *lab.Daemon, lib string) lab.Finding {
	m.t.Helper()
	return m.finding(d, lib, library(m.t, "libapp.so.1", 1), library(m.t, "libapp.so.1", 2))
}

// No package database tells of a file that is replaced by other means. Whoever asks
// is told at once.
func TestOutsideOfPackages(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	app, lib := m.app()
	r := m.run("--sweep", "off")
	events := r.Follow(t, 0)
	lab.Check(t, r.Ask(t), []int{app.PID, m.control.PID})

	time.Sleep(30 * time.Millisecond)
	began := time.Now()
	m.put(library(t, "libapp.so.1", 2), lib)
	done := time.Now()
	want := m.replaced(app, lib)
	lab.Check(t, r.Ask(t), []int{app.PID, m.control.PID}, want)
	stale, _ := events.Await(t, "the app is stale", is(sensor.EventStale, app))
	if x := stale.Exposure; x.Opened.Before(began.Add(-time.Second)) || x.Opened.After(done) {
		t.Errorf("replaced from %v to %v, exposed since %v", began.UTC(), done.UTC(), x.Opened)
	}
	if len(lab.About(events.Events(), app.PID)) != 1 {
		t.Errorf("told of the app: %v", kinds(lab.About(events.Events(), app.PID)))
	}

	// Back to what it was: nothing is stale any more.
	m.put(library(t, "libapp.so.1", 1), lib)
	lab.Check(t, r.Ask(t), []int{app.PID, m.control.PID})
	events.Await(t, "the app is current", is(sensor.EventResolved, app))

	// The old file is moved aside, as some installers do.
	must(t, os.Rename(m.path(lib), m.path(lib+".old")))
	m.put(library(t, "libapp.so.1", 2), lib)
	m.equal(r, "the old file moved aside")
	report := r.Ask(t)
	found, err := lab.ByProcess(report, app.PID)
	must(t, err)
	if len(found) != 0 {
		// What runs is the first file, which was replaced and not the one moved aside.
		lab.Check(t, report, []int{app.PID}, want)
	}
}

// Nobody asks: what replaced files is found by looking from time to time.
func TestSweep(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	app, lib := m.app()
	other := m.start("/opt/app/appd")
	r := m.run("--sweep", "1s")
	events := r.Follow(t, 0)
	time.Sleep(30 * time.Millisecond)
	done := time.Now()
	m.put(library(t, "libapp.so.1", 2), lib)
	stale, received := events.Await(t, "the app is stale", is(sensor.EventStale, app))
	t.Logf("told %v after", received.Sub(done))
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{app.PID}, m.replaced(app, lib))

	// The old program is moved aside while it runs.
	must(t, os.Rename(m.path("/opt/app/appd"), m.path("/opt/app/appd.old")))
	m.put(actor(t, "2"), "/opt/app/appd")
	stale, _ = events.Await(t, "the other is stale", is(sensor.EventStale, other))
	want := m.finding(other, "/opt/app/appd", actor(t, "1"), actor(t, "2"))
	want.Reason, want.Files[0].Reason, want.Exe = sensor.MovedAside, sensor.MovedAside, "/opt/app/appd.old"
	lab.Check(t, lab.Told([]sensor.Event{stale}), []int{other.PID}, want)
	other.Stop()
	app.Stop()
	events.Await(t, "the other has ended", is(sensor.EventResolved, other))
	events.Await(t, "the app has ended", is(sensor.EventResolved, app))
	m.silent(r, events.Close(t), m.control.PID)
}
