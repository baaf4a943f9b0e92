package containers

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// imageFile writes an image of the world's Docker to a file that other runtimes load.
func (w *world) imageFile(t *testing.T, tag string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	w.docker.Do(t, "save", "--output", name, tag)
	return name
}

// rememberOther is remember for a container of a copy of an image that the world's
// Docker has by the name tag.
func (w *world) rememberOther(t *testing.T, c *lab.Container, tag string) before {
	t.Helper()
	b := remember(t, c)
	b.made, b.reference = w.docker.ImageID(t, tag), tag
	return b
}

// other is a runtime beside Docker.
type other struct {
	name, socket string
	run          func(t *testing.T, name, image string, mapped ...string) *lab.Container
	load         func(t *testing.T, file string)
	// reference is what the runtime calls an image that Docker calls tag.
	reference func(tag string) string
	// forgets says that the runtime knows nothing more of an image whose name was given
	// to another one, not even when a container was made from it.
	forgets bool
	// restart is what the remedy for drift ends with, given the container's name.
	restart func(name string) string
}

// check runs through drift and a superseded image.
func (o other) check(t *testing.T, w *world) {
	t.Helper()
	tag, still := o.name+"/server:1", o.name+"/current:1"
	for _, name := range []string{tag, still} {
		serverImage(t, w.docker, name, []string{w.expat.from}, w.expat.library)
		o.load(t, w.imageFile(t, name))
	}
	drifted := o.run(t, o.name+"-drifted", o.reference(still), w.expat.library)
	outdated := o.run(t, o.name+"-outdated", o.reference(tag), w.expat.library)
	current := o.run(t, o.name+"-current", o.reference(still), w.expat.library)
	all := []*lab.Container{drifted, outdated, current}
	knownDrifted, knownOutdated := w.rememberOther(t, drifted, still), w.rememberOther(t, outdated, tag)
	look := func(t *testing.T, source string) *sensor.Report {
		t.Helper()
		r := sensorAt.Stale(t, "--runtime-socket", o.socket, "--source", source)
		if warned(&r.Report, o.socket) {
			t.Errorf("warnings of a runtime that answers: %+v", r.Report.Warnings)
		}
		return &r.Report
	}
	lab.CheckContainers(t, look(t, "auto"), all)
	running := runSensor(t, o.socket)
	events := running.Follow(t, 0)

	lab.NextSecond()
	drifted.Install(t, w.expat.to)
	serverImage(t, w.docker, tag, []string{w.expat.to}, w.expat.library)
	o.load(t, w.imageFile(t, tag))
	want := []lab.ContainerFinding{knownDrifted.drifted(t, w.docker), knownOutdated.superseded(t, w.docker)}
	lab.EachSource(t, func(t *testing.T, source string) {
		r := look(t, source)
		want := slices.Clone(want)
		if list := lab.FindingsOf(r, outdated); o.forgets && len(list) == 1 && list[0].Workload.Container.ImageID == "" {
			want[1] = forgotten(want[1])
		}
		lab.CheckContainers(t, r, all, want...)
		for _, f := range lab.FindingsOf(r, drifted) {
			if line := strings.Join(f.Remedy.Command, " "); !strings.HasSuffix(line, o.restart(drifted.Name)) {
				t.Errorf("to restart %s: %q", drifted.Name, line)
			}
		}
	})
	t.Run("running", func(t *testing.T) {
		for _, c := range []*lab.Container{drifted, outdated} {
			events.Await(t, c.Name+" is stale", isStale(c))
		}
		lab.CheckContainers(t, running.Ask(t), all, want...)
	})
}

// forgotten is a finding of a container of whose image nothing is known any more but
// the files.
func forgotten(f lab.ContainerFinding) lab.ContainerFinding {
	c := *f.Workload.Container
	c.ImageID = ""
	f.Workload.Container = &c
	f.Packages = slices.Clone(f.Packages)
	for i := range f.Packages {
		f.Packages[i].Layer = nil
	}
	return f
}

func TestPodman(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPodman(t, w, nil)
	other{
		name: "podman", socket: p.Socket,
		run: func(t *testing.T, name, image string, mapped ...string) *lab.Container {
			return p.Run(t, name, image, mapped...)
		},
		load:      func(t *testing.T, file string) { p.Do(t, "load", "--input", file) },
		reference: func(tag string) string { return "localhost/" + tag },
		restart:   func(name string) string { return "podman restart " + name },
	}.check(t, w)
}

// newPodman is a podman that ends with the test.
func newPodman(t *testing.T, w *world, programs lab.Programs) *lab.Podman {
	t.Helper()
	p, err := lab.NewPodman(programs, w.newDir(t, "podman"))
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func TestContainerd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, g := range generations() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			c := newContainerd(t, w, g.programs(t))
			other{
				name: "containerd-" + g.name, socket: c.Socket, forgets: true,
				run: func(t *testing.T, name, image string, mapped ...string) *lab.Container {
					return c.Run(t, name, image, mapped...)
				},
				load:      func(t *testing.T, file string) { c.Do(t, "image", "import", file) },
				reference: func(tag string) string { return "docker.io/" + tag },
				// Whoever had containerd start it knows how: ctr has no such command.
				restart: func(string) string { return "" },
			}.check(t, w)
		})
	}
}

// newContainerd is a containerd that ends with the test.
func newContainerd(t *testing.T, w *world, programs lab.Programs) *lab.Containerd {
	t.Helper()
	c, err := lab.NewContainerd(programs, w.newDir(t, "containerd"))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}
