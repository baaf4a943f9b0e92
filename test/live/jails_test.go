package live

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// jail makes a root below the host's, with a program in it and a library.
func (m *machine) jail(name string) lab.Tree {
	m.t.Helper()
	jail := lab.NewTree(m.t, m.path("/srv/"+name), actor(m.t, "1"))
	m.put(actor(m.t, "1"), "/srv/"+name+plainPath)
	m.put(library(m.t, "libapp.so.1", 1), "/srv/"+name+"/opt/libapp.so.1")
	return jail
}

// in starts a program in a root below the host's.
func (m *machine) in(jail lab.Tree, program string) *lab.Daemon {
	m.t.Helper()
	via := m.Via()
	return lab.Start(m.t, lab.Command{Path: program, Via: append(via[:len(via)-1:len(via)-1], jail.Dir)})
}

// Two roots share the inode of a library, and one of them gets a new one: what is old
// code here is current there, for processes that are gone before anybody can look too.
func TestOneInodeInTwoRoots(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const lib, second = "/opt/libapp.so.1", "/usr/sbin/second"
	one, two := m.jail("one"), m.jail("two")
	must(t, os.Remove(two.Path(lib)))
	must(t, os.Link(one.Path(lib), two.Path(lib)))
	// Of another name, so that one is not taken for more of the other.
	m.put(actor(t, "1"), "/srv/two"+second)
	app, launcher := m.in(one, plainPath), m.in(one, plainPath)
	also, other := m.in(two, plainPath), m.in(two, second)
	for _, d := range []*lab.Daemon{app, also} {
		d.Do(t, "open "+lib)
	}
	for _, d := range []*lab.Daemon{launcher, other} {
		d.Do(t, "hold "+lib)
	}
	r := m.run("--sweep", "off")
	events := r.Follow(t, 0)
	pids := []int{app.PID, launcher.PID, also.PID, other.PID, m.control.PID}
	lab.Check(t, r.Ask(t), pids)
	time.Sleep(30 * time.Millisecond)
	m.put(library(t, "libapp.so.1", 2), "/srv/one"+lib)
	want := m.finding(app, lib, library(t, "libapp.so.1", 1), library(t, "libapp.so.1", 2))
	lab.Check(t, r.Ask(t), pids, want)
	m.same(r, "after one was replaced", pids)

	time.Sleep(50 * time.Millisecond)
	current := children(t, other.Do(t, "map 20 "+lib))
	// Both ways of looking at what has ended: on its own, and for who asks.
	time.Sleep(500 * time.Millisecond)
	current = append(current, children(t, other.Do(t, "map 20 "+lib))...)
	lab.Check(t, r.Ask(t), pids, want)
	old := children(t, launcher.Do(t, "map 20 "+lib))
	stale, _ := events.Await(t, "what ran old code", func(e *sensor.Event) bool { return e.Type == sensor.EventStale && lab.Concerns(e, old...) })
	if p := stale.Finding.Processes[0]; p.EndedAt == nil || p.Files[0].Path != lib || p.Files[0].LoadedBuildID != want.Files[0].LoadedBuildID {
		t.Errorf("told of %+v", p)
	}
	m.silent(r, events.Close(t), append(current, also.PID, other.PID, m.control.PID)...)
}

// While some ask all the time, what is short-lived is told all the same.
func TestBriefProcessWhileAsked(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food, helper := m.start(foodPath), m.start(helperPath)
	launchers := make([]*lab.Daemon, 3)
	for i := range launchers {
		name := fmt.Sprintf("/usr/sbin/launcher%d", i)
		m.put(actor(t, "1"), name)
		launchers[i] = m.start(name)
		launchers[i].Do(t, "hold "+m.lib())
		launchers[i].Do(t, "hold "+helperPath)
	}
	r := m.run("--sweep", "off")
	events := r.Follow(t, 0)
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	events.Await(t, "the helper is stale", is(sensor.EventStale, helper))

	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			client := sensor.NewClient(r.Socket)
			for ctx.Err() == nil {
				if _, err := client.Stale(ctx, false); err != nil && ctx.Err() == nil {
					t.Errorf("the sensor was asked: %v", err)
					return
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	var brief [][]int
	for i, command := range []string{"map 1 " + m.lib(), "run 1 " + helperPath, "load 1 " + m.lib() + " " + plainPath} {
		brief = append(brief, children(t, launchers[i].Do(t, command)))
	}
	for _, pids := range brief {
		_, at := events.Await(t, "what ran old code", func(e *sensor.Event) bool { return e.Type == sensor.EventStale && lab.Concerns(e, pids...) })
		t.Logf("told %v after", at.Sub(began))
	}
	if ctx.Err() != nil {
		t.Errorf("nothing was told in the %v in which somebody asked", soon)
	}
	cancel()
	asking.Wait()
	m.silent(r, events.Close(t), m.control.PID)
}

// A chroot shows the host's package database, which does not tell of its files.
func TestForeignFilesUnderTheHostsDatabase(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	jail := m.jail("jail")
	m.put(library(t, "libfoo.so.1", 70), "/srv/jail"+m.lib())
	const database = "/var/lib/dpkg"
	lab.Output(t, append(m.Via()[:3:3], "mount", "--bind", m.path(database), jail.Path(database))...)
	m.put(actor(t, "1"), "/srv/jail/usr/sbin/jailed")
	food, jailed := m.start(foodPath), m.in(jail, "/usr/sbin/jailed")
	jailed.Do(t, "open "+m.lib())
	check := func(r *lab.Running) {
		t.Helper()
		report := r.Ask(t)
		if f := findingOf(t, report, food); len(f.Packages) != 1 || f.Packages[0].Loaded.Evidence != sensor.Observed {
			t.Errorf("of the host's: %+v", f.Packages)
		}
		f := findingOf(t, report, jailed)
		for _, p := range f.Packages {
			if p.Loaded.Evidence == sensor.Observed {
				t.Errorf("of the jail's: %+v", p)
			}
		}
		m.same(r, "in the chroot", []int{food.PID, jailed.PID, m.control.PID})
	}
	r := m.run("--sweep", "off")
	r.Ask(t)
	lab.NextSecond() // dpkg's log, by which one that looks once goes
	m.upgrade()
	time.Sleep(30 * time.Millisecond)
	m.put(library(t, "libfoo.so.1", 71), "/srv/jail"+m.lib())
	check(r)
	r.Stop(t)
	check(m.run("--sweep", "off"))
}
