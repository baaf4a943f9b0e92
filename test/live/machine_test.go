package live

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The places in a host at which things are.
const (
	sensorPath = "/usr/bin/sensor"
	socketPath = "/run/sensor/sensor.sock"
	statePath  = "/var/lib/sensor"
	configPath = "/etc/sensor/sensor.yaml"
	foodPath   = "/usr/sbin/food"          // needs libfoo1
	plainPath  = "/usr/sbin/plain"         // needs nothing but the C library
	helperPath = "/usr/libexec/foo/helper" // of libfoo1
)

// machine is a host with a package database, in which the package libfoo1 is
// installed in its first version, and a control: a daemon whose files nobody touches and
// of which there must never be a word.
type machine struct {
	t *testing.T
	*lab.Host
	lab.Tree
	sensor  lab.Sensor // inside
	libdir  string     // of the host's architecture
	control *lab.Daemon
	// name is that of the package libfoo1, which no other machine has: findings do
	// not say of which root they are.
	name    string
	version int // of libfoo1
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	lab.Root(t)
	food := actor(t, "1", library(t, "libfoo.so.1", 1))
	scratch := lab.Scratch(t)
	tree := lab.NewTree(t, filepath.Join(scratch, "root"), food)
	m := &machine{
		t: t, Tree: tree, Host: lab.NewHost(t, tree.Dir), sensor: lab.Sensor{Path: sensorPath},
		name:   "libfoo1-" + strings.TrimPrefix(filepath.Ext(scratch), "."),
		libdir: "/usr/lib/" + strings.TrimSpace(lab.Output(t, "gcc", "-print-multiarch")),
	}
	m.Bind(t, sensorAt.Path, sensorPath)
	m.put(food, foodPath)
	m.put(actor(t, "1"), plainPath)
	m.put(library(t, "libcontrol.so.1", 1), "/opt/control/libcontrol.so.1")
	m.put(actor(t, "1"), "/opt/control/controld")
	m.upgrade()
	m.control = m.start("/opt/control/controld")
	m.control.Do(t, "open /opt/control/libcontrol.so.1")
	return m
}

// actor is testdata/actor.c in a version, linked against the given libraries.
func actor(t testing.TB, version string, needed ...string) string {
	t.Helper()
	return workshop.C(t, append([]string{"-DVERSION=\"" + version + "\"", "testdata/actor.c"}, needed...)...)
}

// library is testdata/lib.c with a soname and a content that depends on version.
func library(t testing.TB, soname string, version int) string {
	t.Helper()
	return workshop.C(t, "-shared", "-fPIC", fmt.Sprintf("-DVERSION=\"%d\"", version), "-Wl,-soname,"+soname, "testdata/lib.c")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// path is the path outside of the file name inside.
func (m *machine) path(name string) string { return m.Tree.Path(name) }

// put puts a copy of the file from at name as a new inode, renamed over what is
// there, and long since written, as files of packages are.
func (m *machine) put(from, name string) {
	m.t.Helper()
	to := m.path(name)
	content, err := os.ReadFile(from)
	must(m.t, err)
	must(m.t, os.MkdirAll(filepath.Dir(to), 0o755))
	must(m.t, os.WriteFile(to+".new", content, 0o755))
	past := time.Now().Add(-30 * 24 * time.Hour)
	must(m.t, os.Chtimes(to+".new", past, past))
	must(m.t, os.Rename(to+".new", to))
}

// lib is the library's path in the package libfoo1.
func (m *machine) lib() string { return m.libdir + "/libfoo.so.1" }

// upgrade installs the next version of libfoo1 by dpkg.
func (m *machine) upgrade() (began, done time.Time) {
	m.t.Helper()
	deb := m.next()
	// Process start times are known in clock ticks of 10 ms, change times of files in
	// those of the kernel's timer.
	time.Sleep(30 * time.Millisecond)
	began = time.Now()
	m.Install(m.t, deb)
	return began, time.Now()
}

// next builds the next version of libfoo1, which counts as installed from now on.
func (m *machine) next() string {
	m.t.Helper()
	m.version++
	return m.deb(m.version)
}

func (m *machine) deb(n int) string {
	m.t.Helper()
	var changes strings.Builder
	for i := n; i > 0; i-- {
		changes.WriteString(lab.ChangelogEntry("foo", versionOf(i), "high", "Fix "+cveOf(i)+"."))
	}
	return lab.Deb{
		Name: m.name, Version: versionOf(n), Source: "foo", Changelog: changes.String(),
		Files: map[string]string{m.lib(): library(m.t, "libfoo.so.1", n), helperPath: actor(m.t, fmt.Sprint(n))},
	}.Build(m.t)
}

func versionOf(n int) string { return fmt.Sprintf("1.0-%d", n) }
func cveOf(n int) string     { return fmt.Sprintf("CVE-2026-%04d", n) }

// start starts an actor of the host.
func (m *machine) start(name string) *lab.Daemon {
	m.t.Helper()
	return lab.Start(m.t, lab.Command{Path: name, Via: m.Via()})
}

// run starts the sensor as the host's, with further arguments.
func (m *machine) run(args ...string) *lab.Running {
	m.t.Helper()
	return m.sensor.Start(m.t, m.command(args...))
}

func (m *machine) command(args ...string) lab.RunCommand {
	return lab.RunCommand{Via: m.Via(), Args: args, Socket: m.path(socketPath)}
}

// once is the answer of a sensor that looks once, in the host.
func (m *machine) once(args ...string) *sensor.Report {
	m.t.Helper()
	r := m.sensor.StaleBy(m.t, m.Via(), append([]string{"--source", "bpf"}, args...)...)
	return &r.Report
}

// finding is that of a process of which one file is stale.
func (m *machine) finding(d *lab.Daemon, name, loaded, installed string) lab.Finding {
	m.t.Helper()
	return lab.Finding{
		PID: d.PID, Comm: d.Comm, Exe: d.Exe, Workload: "process",
		State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainHost, Action: sensor.Restart, Command: []string{},
		Files: []sensor.File{{
			Path: name, State: sensor.Stale, Reason: sensor.Replaced,
			LoadedBuildID: lab.BuildID(m.t, loaded), InstalledBuildID: lab.BuildID(m.t, installed),
		}},
		Packages: []sensor.Package{},
	}
}

// upgraded is the finding of a process that runs one version of the library while
// another is installed.
func (m *machine) upgraded(d *lab.Daemon, loaded, installed int) lab.Finding {
	m.t.Helper()
	f := m.finding(d, m.lib(), library(m.t, "libfoo.so.1", loaded), library(m.t, "libfoo.so.1", installed))
	f.Files[0].Package = m.name
	cves := []string{}
	for i := loaded + 1; i <= installed; i++ {
		cves = append(cves, cveOf(i))
	}
	f.Packages = []sensor.Package{{
		Manager: "dpkg", Name: m.name, Source: "foo", Arch: lab.Arch(m.t),
		Loaded:    sensor.LoadedVersion{Version: versionOf(loaded), Evidence: sensor.Observed},
		Installed: sensor.InstalledVersion{Version: versionOf(installed)},
		CVEs:      cves, Urgency: "high",
	}}
	return f
}

// isPatch matches the event of an upgrade of libfoo1.
func (m *machine) isPatch(from, to int) func(*sensor.Event) bool {
	return func(e *sensor.Event) bool {
		return e.Patch != nil && e.Patch.Package == m.name && e.Patch.From == versionOf(from) && e.Patch.To == versionOf(to)
	}
}

// is matches an event of a type about a process.
func is(kind sensor.EventType, d *lab.Daemon) func(*sensor.Event) bool {
	return func(e *sensor.Event) bool { return e.Type == kind && lab.Concerns(e, d.PID) }
}

// tells is an event which says that a process runs older code than a version, be it the
// first one or another after it: on a busy machine the first is told while dpkg is still
// at work and names the version that was installed before.
func tells(d *lab.Daemon, installed string) func(*sensor.Event) bool {
	return func(e *sensor.Event) bool {
		return (is(sensor.EventStale, d)(e) || is(sensor.EventChanged, d)(e)) &&
			len(e.Finding.Packages) > 0 && e.Finding.Packages[0].Installed.Version == installed && e.Finding.Packages[0].Installed.State == ""
	}
}

// checkPatch holds what the event of an upgrade says besides its versions.
func (m *machine) checkPatch(e sensor.Event, began, done time.Time) {
	m.t.Helper()
	want := sensor.Patch{
		Time: e.Patch.Time, Domain: sensor.DomainHost, Root: "/", Manager: "dpkg", Package: m.name, Source: "foo", Arch: lab.Arch(m.t),
		From: e.Patch.From, To: e.Patch.To,
	}
	if *e.Patch != want {
		m.t.Errorf("patch is %+v, want %+v", *e.Patch, want)
	}
	// dpkg's log has whole seconds.
	if at := e.Patch.Time; at.Before(began.Add(-time.Second)) || at.After(done.Add(2*time.Second)) {
		m.t.Errorf("patched at %v, dpkg ran from %v to %v", at, began.UTC(), done.UTC())
	}
}

// silent holds that neither the events nor the sensor's answer have a word about
// processes.
func (m *machine) silent(r *lab.Running, events []sensor.Event, pids ...int) {
	m.t.Helper()
	for _, e := range lab.About(events, pids...) {
		m.t.Errorf("event %d, %s, about %s (%s)", e.Cursor, e.Type, e.Finding.Workload.Name, e.Finding.Reason)
	}
	lab.Check(m.t, r.Ask(m.t), pids)
}

// equal holds that the sensor that runs answers what one that looks once does, about
// everything in the host. What changes while the two look is looked at again.
func (m *machine) equal(r *lab.Running, what string) {
	m.t.Helper()
	var running, once *sensor.Report
	var pids []int
	for range 3 {
		pids = m.PIDs()
		running, once = r.Ask(m.t), m.once()
		if after := m.PIDs(); slices.Equal(pids, after) && lab.Alike(running, once, pids) {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
	lab.Same(m.t, what+": the sensor that runs against one that looks once", running, once, pids)
}

// kinds lists the types of events.
func kinds(events []sensor.Event) []sensor.EventType {
	list := []sensor.EventType{}
	for _, e := range events {
		list = append(list, e.Type)
	}
	return list
}
