package distros

import (
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

const serverSource = "../containers/testdata/server.c"

// TestContainers: images are made from the roots, and a container of each is started.
// Then the package is upgraded in one container and in the image of another.
func TestContainers(t *testing.T) {
	t.Parallel()
	lab.Root(t)
	docker, err := lab.NewDocker(lab.Scratch(t))
	t.Cleanup(func() {
		if docker != nil {
			must(t, docker.Close())
		}
	})
	must(t, err)
	eachDistro(t, func(t *testing.T, d *distro) {
		c := newContained(t, docker, d)
		drifted, outdated := c.start("drifted"), c.start("outdated")
		r := c.stale(t)
		lab.CheckContainers(t, &r.Report, []*lab.Container{drifted, outdated})

		newer := c.build(t, c.libfoo(t, c.second(), "2"))
		c.in(drifted).Install(t, newer)
		c.Install(t, newer)
		c.image("outdated")
		want := []lab.ContainerFinding{c.finding(drifted), c.finding(outdated)}
		want[0].Reason, want[0].Drift, want[0].Action = sensor.Replaced, true, sensor.Restart
		for i := range want {
			want[i].Processes[0].Files[0].Reason = want[i].Reason
		}
		lab.EachSource(t, func(t *testing.T, source string) {
			r := c.stale(t, "--source", source)
			lab.CheckContainers(t, &r.Report, []*lab.Container{drifted, outdated}, want...)
		})
	})
}

// contained is a box from which images are made.
type contained struct {
	*box
	docker *lab.Docker
	// layers are those of the first images, which the upgraded ones replace.
	layers map[string]sensor.Layer
}

func newContained(t *testing.T, docker *lab.Docker, d *distro) *contained {
	t.Helper()
	c := &contained{box: newBox(t, d), docker: docker, layers: make(map[string]sensor.Layer)}
	c.put(workshop.C(t, append([]string{serverSource}, c.compiler...)...), "/usr/sbin/server")
	return c
}

// tag is the reference by which containers of a name are made.
func (c *contained) tag(name string) string { return "lab/" + c.manager + "-" + name + ":1" }

// image makes an image from the root as it is now.
func (c *contained) image(name string) {
	c.t.Helper()
	archive := filepath.Join(c.t.TempDir(), "root.tar")
	lab.Output(c.t, "tar", "--create", "--file", archive, "--directory", c.dir, "--numeric-owner", ".")
	c.docker.Do(c.t, "import", "--change", `CMD ["/usr/sbin/server", "`+c.lib()+`"]`, archive, c.tag(name))
}

// start starts a container of an image of its own.
func (c *contained) start(name string) *lab.Container {
	c.t.Helper()
	c.image(name)
	started := c.docker.Run(c.t, c.manager+"-"+name, c.tag(name), []string{filepath.Base(c.lib())})
	_, c.layers[started.ID] = c.docker.InImage(c.t, started.ImageID, c.lib())
	return started
}

// in is the root of a container, as this machine has it mounted.
func (c *contained) in(on *lab.Container) tree {
	c.t.Helper()
	dir := c.docker.Do(c.t, "container", "inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", on.ID)
	switch r := c.tree.(type) {
	case lab.RPMTree:
		r.Dir = dir
		return r
	case lab.APKTree:
		r.Dir = dir
		return r
	}
	return nil
}

func (c *contained) stale(t *testing.T, args ...string) lab.Result {
	t.Helper()
	for _, socket := range c.docker.Sockets() {
		args = append(args, "--runtime-socket", socket)
	}
	return sensorAt.Stale(t, args...)
}

// finding is the one for a container that runs the first version of libfoo1 while its
// image has the second.
func (c *contained) finding(on *lab.Container) lab.ContainerFinding {
	c.t.Helper()
	newer := c.libfoo(c.t, c.second(), "2")
	f := c.of(c.box.stale(&lab.Daemon{}, sensor.ImageSuperseded, c.lib(), c.fooLibrary(c.t, c.first(), "1"), newer.files[c.lib()]), newer, c.first()[0].version)
	layer, container := c.layers[on.ID], on.Container
	f.Packages[0].Loaded.Evidence, f.Packages[0].Layer = "", &layer
	p := lab.Process(c.t, on.PIDs()[0])
	p.Files = f.Files
	return lab.ContainerFinding{
		Workload: sensor.Workload{Kind: "container", Name: on.Name, Container: &container, Cgroup: on.Cgroup(c.t)},
		State:    sensor.Stale, Reason: sensor.ImageSuperseded, Domain: sensor.DomainImage, Action: sensor.Redeploy,
		Processes: []sensor.Process{p}, Packages: f.Packages,
	}
}
