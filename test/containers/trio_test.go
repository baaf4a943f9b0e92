package containers

import (
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// trio are three containers: one in which a library will be upgraded, one whose image
// will be superseded, and one that stays as it is.
type trio struct {
	*world
	docker                     *lab.Docker
	tag                        string // of the image to be superseded
	drifted, outdated, current *lab.Container
	// want is all that there is to say after change.
	want []lab.ContainerFinding
}

// newTrio starts the containers, with names that begin so, on a daemon that has the
// base image.
func newTrio(t *testing.T, w *world, d *lab.Docker, prefix string) *trio {
	t.Helper()
	old := []string{w.expat.from}
	x := &trio{world: w, docker: d, tag: prefix + "/outdated:1"}
	serverImage(t, d, x.tag, old, w.expat.library)
	serverImage(t, d, prefix+"/current:1", old, w.expat.library)
	mapped := []string{w.expat.library}
	x.drifted = start(t, d, prefix+"-drifted", prefix+"/current:1", mapped)
	x.outdated = start(t, d, prefix+"-outdated", x.tag, mapped)
	x.current = start(t, d, prefix+"-current", prefix+"/current:1", mapped)
	return x
}

func (x *trio) all() []*lab.Container { return []*lab.Container{x.drifted, x.outdated, x.current} }

// change makes the first of them drift and the second one superseded.
func (x *trio) change(t *testing.T) {
	t.Helper()
	drifted, outdated := remember(t, x.drifted), remember(t, x.outdated)
	lab.NextSecond() // dpkg's log
	x.drifted.Install(t, x.expat.to)
	serverImage(t, x.docker, x.tag, []string{x.expat.to}, x.expat.library)
	x.want = []lab.ContainerFinding{drifted.drifted(t, x.docker), outdated.superseded(t, x.docker)}
}

// check holds what a report says of the containers against what there is to say.
func (x *trio) check(t *testing.T, r *sensor.Report) {
	t.Helper()
	lab.CheckContainers(t, r, x.all(), x.want...)
}

// unnamed holds that a report, of a sensor that no runtime answers, still tells of the
// drift, in the container's own root, and claims nothing of the others.
func (x *trio) unnamed(t *testing.T, r *sensor.Report) {
	t.Helper()
	for _, c := range []*lab.Container{x.outdated, x.current} {
		if list := lab.FindingsOf(r, c); len(list) > 0 {
			t.Errorf("%s: %+v", c.Name, list)
		}
	}
	list := lab.FindingsOf(r, x.drifted)
	if len(list) != 1 {
		t.Errorf("%s: %d findings: %+v", x.drifted.Name, len(list), list)
		return
	}
	f, want := list[0], x.want[0]
	switch {
	case f.State != want.State || f.Reason != want.Reason || f.Remedy.Action != want.Action:
		t.Errorf("%s: %s, %s, %s", x.drifted.Name, f.State, f.Reason, f.Remedy.Action)
	case f.Workload.Kind != "container" || f.Workload.Container == nil || f.Workload.Container.ID != x.drifted.ID:
		t.Errorf("%s: workload %+v, container %+v", x.drifted.Name, f.Workload, f.Workload.Container)
	case len(f.Packages) != 1 || f.Packages[0].Name != want.Packages[0].Name || f.Packages[0].Installed != want.Packages[0].Installed:
		t.Errorf("%s: packages %+v", x.drifted.Name, f.Packages)
	case len(f.Processes) != 1 || f.Processes[0].PID != want.Processes[0].PID || f.Processes[0].ContainerPID != 1:
		t.Errorf("%s: processes %+v", x.drifted.Name, f.Processes)
	}
}

// runSensor starts a sensor that runs and is told of runtimes by their sockets.
func runSensor(t *testing.T, sockets ...string) *lab.Running {
	t.Helper()
	dir := lab.Scratch(t)
	c := lab.RunCommand{Socket: filepath.Join(dir, "sensor.sock")}
	c.Args = []string{"--socket", c.Socket, "--state-dir", filepath.Join(dir, "state"), "--sweep", "off"}
	for _, s := range sockets {
		c.Args = append(c.Args, "--runtime-socket", s)
	}
	return sensorAt.Start(t, c)
}

// isStale matches the event that a container is stale now.
func isStale(c *lab.Container) func(*sensor.Event) bool {
	return func(e *sensor.Event) bool {
		return e.Type == sensor.EventStale && e.Finding.Workload.Container != nil && e.Finding.Workload.Container.ID == c.ID
	}
}
