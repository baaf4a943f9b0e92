package containers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// mostMemory is what the sensor may have resident, in KiB, whatever containers have as
// their package databases.
const mostMemory = 300 << 10

// bait is a package database of this machine that claims the containers' library for
// the package "bait". Nobody has a reason to read it.
type bait struct {
	dir   string
	watch int // of inotify(7)
}

const database = "/var/lib/dpkg"

func newBait(t *testing.T, library string) bait {
	t.Helper()
	b := bait{dir: lab.Scratch(t)}
	must(t, os.Mkdir(filepath.Join(b.dir, "info"), 0o755))
	for name, text := range map[string]string{
		"status":         "Package: bait\nStatus: install ok installed\nArchitecture: " + lab.Arch(t) + "\nVersion: 6.6.6\n\n",
		"info/bait.list": "/.\n" + library + "\n",
	} {
		must(t, os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644))
	}
	var err error
	b.watch, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(b.watch) })
	for _, name := range []string{"", "info"} {
		_, err := unix.InotifyAddWatch(b.watch, filepath.Join(b.dir, name), unix.IN_OPEN|unix.IN_ACCESS)
		must(t, err)
	}
	if _, err := os.ReadFile(filepath.Join(b.dir, "status")); err != nil || !b.taken() {
		t.Fatalf("a bait that does not show who takes it: %v", err)
	}
	for b.taken() { // that was the lab itself
	}
	return b
}

// taken reports whether somebody has opened anything of it since.
func (b bait) taken() bool {
	n, _ := unix.Read(b.watch, make([]byte, 4096))
	return n > 0
}

// hostile is a way to make a container's package database something else.
type hostile struct {
	name string
	// script is run by the container's shell in /var/lib/dpkg; "$1" is the directory of
	// the bait, which the container does not have.
	script string
	// unknown says that the database is there and cannot be read, so that nothing is
	// known of the container's packages. A database that leads out of the root is none.
	unknown bool
}

var hostiles = []hostile{
	{name: "absolute link", script: `ln -sf "$1/status" status`},
	{name: "link upwards", script: `ln -sf "../../../../../../../../../../..$1/status" status`},
	{name: "link through proc", script: `ln -sf "/proc/1/root$1/status" status`},
	{name: "link through the reader", script: `ln -sf "/proc/self/root$1/status" status`},
	{name: "linked directory", script: `cd ..; mv dpkg gone; ln -s "$1" dpkg`},
	{name: "linked lists", script: `mv info gone; ln -s "$1/info" info`},
	{name: "link to itself", script: `rm status; ln -s status status`, unknown: true},
	{name: "fifo", script: `rm status; mkfifo status`, unknown: true},
	{name: "fifo as list", script: `for f in info/libexpat1*.list; do rm "$f"; mkfifo "$f"; done`},
	{name: "endless device", script: `rm status; mknod status c 1 5`, unknown: true},
	{name: "device as directory", script: `rm -r updates; mknod updates c 1 5`},
	{name: "directory", script: `rm status; mkdir status`, unknown: true},
	{name: "sparse file", script: `rm status; truncate -s 10G status`, unknown: true},
	{name: "sparse log", script: `truncate -s 10G /var/log/dpkg.log`},
	{name: "sparse list", script: `truncate -s 10G info/libexpat1*.list`},
	{name: "one endless line", script: `{ printf 'Package: '; head -c 200M /dev/zero | tr '\0' x; } >status`, unknown: true},
	{name: "deep tree", script: `mkdir status.d; cd status.d; n=$(printf '%0200d' 0); for i in $(seq 100); do mkdir $n; cd -P $n 2>/dev/null || break; done`},
	{name: "many files", script: `mkdir status.d; cd status.d; seq 50000 | xargs touch`},
}

// TestHostileRoots: whatever a container makes of its package database, nothing outside
// of its root is read, memory stays bounded, and what cannot be known is said.
func TestHostileRoots(t *testing.T) {
	w := newWorld(t)
	const tag = "hostile/server:1"
	serverImage(t, w.docker, tag, []string{w.expat.from}, w.expat.library)
	bait := newBait(t, w.inside(w.expat.library))
	newer := w.unpackedLibrary(t, w.expat.to)
	var untouched, replaced []*lab.Container
	for i, h := range hostiles {
		name := fmt.Sprintf("hostile-%02d", i)
		for _, list := range []*[]*lab.Container{&untouched, &replaced} {
			c := w.start(t, name, tag, []string{w.expat.library})
			name += "-replaced"
			c.Exec(t, "sh", "-ec", "cd "+database+"; "+h.script, "sh", bait.dir)
			*list = append(*list, c)
		}
		c := replaced[i]
		w.docker.Do(t, "cp", "--follow-link", newer, c.ID+":/srv/newer")
		c.Exec(t, "sh", "-ec", `old=$(readlink -f "$1"); cp /srv/newer "$old.new"; mv "$old.new" "$old"`, "sh", w.inside(w.expat.library))
	}
	// One whose database changes all the time.
	workshopped := workshop.C(t, "testdata/restless.c")
	restless := w.start(t, "hostile-restless", tag, []string{w.expat.library})
	w.docker.Do(t, "cp", workshopped, restless.ID+":/usr/local/bin/restless")
	restless.Exec(t, "sh", "-c", "rm "+database+"/status")
	w.docker.Do(t, "exec", "--detach", restless.ID, "/usr/local/bin/restless", database+"/status", bait.dir+"/status")

	if bait.taken() {
		t.Fatal("the lab itself opened the bait")
	}
	check := func(t *testing.T, r *sensor.Report) {
		t.Helper()
		for i, h := range hostiles {
			h.check(t, r, untouched[i])
			h.checkReplaced(t, r, replaced[i])
		}
		for _, f := range lab.FindingsOf(r, restless) {
			if f.State == sensor.Stale || f.State == sensor.Missing {
				t.Errorf("%s: %s: %+v", restless.Name, f.State, f.Processes)
			}
		}
		for _, f := range r.Findings {
			if slices.ContainsFunc(f.Packages, func(p sensor.Package) bool { return p.Name == "bait" }) {
				t.Errorf("%s is said to have the package of a database outside of its root", f.Workload.Name)
			}
		}
		if bait.taken() {
			t.Error("a file outside of the containers' roots was opened")
		}
	}
	peak := workshop.C(t, "testdata/peak.c")
	lab.EachSource(t, func(t *testing.T, source string) {
		out := filepath.Join(t.TempDir(), "peak")
		for range 3 { // the restless one is another each time
			r := sensorAt.StaleBy(t, []string{peak, out}, append(told(w.docker), "--source", source)...)
			check(t, &r.Report)
			text, err := os.ReadFile(out)
			must(t, err)
			kib, err := strconv.Atoi(strings.TrimSpace(string(text)))
			must(t, err)
			t.Logf("%d MiB, %.1f s", kib>>10, r.Report.DurationSeconds)
			if kib > mostMemory {
				t.Errorf("the sensor had %d MiB resident", kib>>10)
			}
		}
	})
	t.Run("running", func(t *testing.T) {
		r := runSensor(t, w.docker.Sockets()...)
		check(t, r.Ask(t))
		if kib := mostResident(t, r.PID); kib > mostMemory {
			t.Errorf("the sensor had %d MiB resident", kib>>10)
		} else {
			t.Logf("%d MiB", kib>>10)
		}
	})
}

// TestHostileImages: the same holds for what an image is said to hold that a container is
// compared with.
func TestHostileImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bait := newBait(t, w.inside(w.expat.library))
	var containers []*lab.Container
	for i, h := range hostiles {
		if strings.HasPrefix(h.name, "sparse") || h.name == "one endless line" {
			continue // an image would hold all of it
		}
		tag := fmt.Sprintf("hostile/image:%d", i)
		serverImage(t, w.docker, tag, []string{w.expat.from}, w.expat.library)
		containers = append(containers, w.start(t, fmt.Sprintf("hostile-image-%02d", i), tag, []string{w.expat.library}))
		w.docker.Build(t, lab.Build{Tag: tag, Dockerfile: []string{
			"FROM " + tag, "RUN " + list("sh", "-ec", "cd "+database+"; "+h.script, "sh", bait.dir),
		}})
	}
	if bait.taken() {
		t.Fatal("the lab itself opened the bait")
	}
	out := filepath.Join(t.TempDir(), "peak")
	r := sensorAt.StaleBy(t, []string{workshop.C(t, "testdata/peak.c"), out}, told(w.docker)...)
	for _, f := range lab.FindingsOf(&r.Report, containers...) {
		if f.State == sensor.Stale || f.State == sensor.Missing || len(f.Packages) > 0 {
			t.Errorf("%s: %s, %s: %+v", f.Workload.Name, f.State, f.Reason, f.Packages)
		}
	}
	if bait.taken() {
		t.Error("a file outside of the image was opened")
	}
	text, err := os.ReadFile(out)
	must(t, err)
	if kib, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || kib > mostMemory {
		t.Errorf("the sensor had %d MiB resident, %v", kib>>10, err)
	}
}

// mostResident is the most memory that a process has had resident so far, in KiB.
func mostResident(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	_, err = fmt.Sscan(rest, &kib)
	must(t, err)
	return kib
}

// check holds what is said of a container whose files nobody has touched.
func (h hostile) check(t *testing.T, r *sensor.Report, c *lab.Container) {
	t.Helper()
	list := lab.FindingsOf(r, c)
	for _, f := range list {
		if f.State != sensor.Unknown {
			t.Errorf("%s: %s, %s: %+v", h.name, f.State, f.Reason, f.Processes)
		}
	}
	if !h.unknown {
		return
	}
	if len(list) != 1 || list[0].Workload.Container == nil || *list[0].Workload.Container != c.Container {
		t.Errorf("%s: not said to be unknown: %+v", h.name, list)
		return
	}
	f := list[0]
	said := f.Remedy.Why
	for _, p := range f.Processes {
		for _, file := range p.Files {
			said += "\n" + file.Detail
		}
	}
	for _, warning := range r.Warnings {
		if text := warning.Subject + " " + warning.Message; strings.Contains(text, c.Name) || strings.Contains(text, c.ID[:12]) {
			said += "\n" + text
		}
	}
	if !strings.Contains(said, "dpkg/status") {
		t.Errorf("%s: unknown, without the reason: %s %q", h.name, f.Reason, said)
	}
}

// checkReplaced holds what is said of a container in which the library was replaced: that
// needs no package database.
func (h hostile) checkReplaced(t *testing.T, r *sensor.Report, c *lab.Container) {
	t.Helper()
	list := lab.FindingsOf(r, c)
	if len(list) != 1 || list[0].State != sensor.Stale || list[0].Reason != sensor.Replaced || !list[0].Drift ||
		list[0].Workload.Container == nil || *list[0].Workload.Container != c.Container {
		t.Errorf("%s, with the library replaced: %+v", h.name, list)
	}
}
