package live

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// What a sensor that runs remembers of a process is not what the process is: the labs
// of this file change processes, long after they were read, in ways that are told by
// nobody, and ask.

// settled is the age of processes that are not read again without a reason.
const settled = 2500 * time.Millisecond

// shifter is testdata/shift.c at a place of its own, with a library of its own.
type shifter struct {
	*lab.Daemon
	m        *machine
	exe, lib string
}

// shift is testdata/shift.c in a version.
func shift(t testing.TB, version string) string {
	t.Helper()
	return workshop.C(t, "-DVERSION=\""+version+"\"", "testdata/shift.c")
}

// wide is testdata/wide.c in a version.
func wide(t testing.TB, version string) string {
	t.Helper()
	return workshop.C(t, "-shared", "-fPIC", "-DVERSION=\""+version+"\"", "-Wl,-soname,libwide.so.1", "testdata/wide.c")
}

// shifter starts one that has its library open.
func (m *machine) shifter(name string) shifter {
	m.t.Helper()
	s := shifter{m: m, exe: "/opt/" + name + "/" + name, lib: "/opt/" + name + "/libwide.so.1"}
	m.put(wide(m.t, "1"), s.lib)
	m.put(shift(m.t, "1"), s.exe)
	s.Daemon = m.start(s.exe)
	s.do("open " + s.lib)
	return s
}

func (s shifter) do(command string) {
	s.m.t.Helper()
	if word := s.Do(s.m.t, command); word != "OK" {
		s.m.t.Fatalf("%q answers %q to %q", s.Exe, word, command)
	}
}

// retire ends the main thread, after which those that go on take turns, if they are to.
func (s shifter) retire(command string) {
	s.m.t.Helper()
	s.do(command)
	lab.Until(s.m.t, "the main thread has ended", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID))
		must(s.m.t, err)
		after := stat[bytes.LastIndexByte(stat, ')')+1:] // proc_pid_stat(5): the name may hold anything
		return bytes.HasPrefix(after, []byte(" Z "))
	})
}

// replaceLib puts the library's second version in its place, and returns what has to
// be said then.
func (s shifter) replaceLib() lab.Finding {
	s.m.t.Helper()
	s.m.put(wide(s.m.t, "2"), s.lib)
	return s.m.finding(s.Daemon, s.lib, wide(s.m.t, "1"), wide(s.m.t, "2"))
}

// replaceExe is the same of the program.
func (s shifter) replaceExe() lab.Finding {
	s.m.t.Helper()
	s.m.put(shift(s.m.t, "2"), s.exe)
	return s.m.finding(s.Daemon, s.exe, shift(s.m.t, "1"), shift(s.m.t, "2"))
}

// shifts are the ways in which a process stops being where it was read.
var shifts = []struct {
	name string
	do   func(shifter)
	exe  bool // the program is replaced as well as the library
}{
	{"retired", func(s shifter) { s.retire("retire") }, true},
	{"relayed", func(s shifter) { s.retire("relay 500") }, true},
	{"split", func(s shifter) { s.do("split " + s.lib) }, false},
	{"cut", func(s shifter) { s.do("cut " + s.lib) }, false},
	{"moved", func(s shifter) { s.do("move " + s.lib) }, false},
}

// The thread by which a process was read has ended, or its code is at other addresses
// or in pieces: it runs the same as before.
func TestNotWhereItWas(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var libs, exes, told []shifter
	var change []func()
	pids := []int{m.control.PID}
	for _, how := range shifts {
		start := func(kind string) shifter {
			s := m.shifter(how.name + kind)
			pids = append(pids, s.PID)
			change = append(change, func() { how.do(s) })
			return s
		}
		libs, told = append(libs, start("lib")), append(told, start("told"))
		if how.exe {
			exes = append(exes, start("exe"))
		}
	}
	churn := m.shifter("churn")
	r := m.run("--sweep", "off")
	events := r.Follow(t, 0)
	// Some are told of before they change.
	var want []lab.Finding
	time.Sleep(30 * time.Millisecond)
	for _, s := range told {
		want = append(want, s.replaceLib())
	}
	old := churn.replaceLib()
	time.Sleep(settled)
	lab.Check(t, r.Ask(t), append(pids, churn.PID), append(want, old)...)
	for _, s := range told {
		events.Await(t, s.Comm+" is stale", is(sensor.EventStale, s.Daemon))
	}

	for _, do := range change {
		do()
	}
	time.Sleep(1200 * time.Millisecond) // of those that take turns, nobody is left who was there
	// What others do has everything judged, by what is remembered of these.
	churn.Stop()
	events.Await(t, "churn has ended", is(sensor.EventResolved, churn.Daemon))
	for _, s := range libs {
		want = append(want, s.replaceLib())
	}
	for _, s := range exes {
		want = append(want, s.replaceExe())
	}
	for range 5 {
		lab.Check(t, r.Ask(t), pids, want...)
	}
	m.equal(r, "after the change")
	for _, s := range slices.Concat(libs, told, exes) {
		events.Await(t, s.Comm+" is stale", is(sensor.EventStale, s.Daemon))
		if got := kinds(lab.About(events.Events(), s.PID)); !slices.Equal(got, []sensor.EventType{sensor.EventStale}) {
			t.Errorf("told of %s: %v", s.Comm, got)
		}
	}
}

// Many processes leave the root in which they were read, and do not execute anything.
// Those that stay are judged as ever.
func TestRootLeft(t *testing.T) {
	const jail = "/srv/jail"
	for name, command := range map[string]string{
		"by chroot":                        "chroot " + jail,
		"by pivot_root in a new namespace": "pivot " + jail,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			// What a root is known by.
			must(t, os.MkdirAll(m.path(jail+"/opt"), 0o755))
			var leave []shifter
			pids := []int{m.control.PID}
			some := func() {
				for range 15 {
					s := shifter{Daemon: m.start("/opt/stays/stays"), m: m}
					leave = append(leave, s)
					pids = append(pids, s.PID)
				}
			}
			stays := m.shifter("stays")
			pids = append(pids, stays.PID)
			some()
			late := m.shifter("late")
			pids = append(pids, late.PID)
			some()
			r := m.run("--sweep", "off")
			time.Sleep(settled)
			lab.Check(t, r.Ask(t), pids)
			for _, s := range leave {
				s.do(command)
			}
			want := []lab.Finding{stays.replaceLib(), late.replaceLib()}
			for range 10 {
				lab.Check(t, r.Ask(t), []int{stays.PID, late.PID, m.control.PID}, want...)
			}
			// What is said of those that left is no matter here: which of the roots that
			// they do not show anymore is theirs cannot be told where, as here, the
			// sensor's own root is not that of its mount namespace.
			m.same(r, "after they left", []int{stays.PID, late.PID, m.control.PID})
		})
	}
}

// same is equal for processes that need not be in the host.
func (m *machine) same(r *lab.Running, what string, pids []int) {
	m.t.Helper()
	var running, once *sensor.Report
	for range 3 {
		if running, once = r.Ask(m.t), m.once(); lab.Alike(running, once, pids) {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
	lab.Same(m.t, what+": the sensor that runs against one that looks once", running, once, pids)
}
