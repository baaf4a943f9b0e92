package containers

import (
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// TestNotUnpacked: the reference of a container's image names another one that is in the
// store, but not unpacked: whether what runs differs there cannot be told, and is not
// called fine.
func TestNotUnpacked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainerd(t, w, generations()[0].programs(t))
	const tag = "notunpacked/server:1"
	serverImage(t, w.docker, tag, []string{w.expat.from}, w.expat.library)
	c.Do(t, "image", "import", w.imageFile(t, tag))
	one := c.Run(t, "notunpacked", "docker.io/"+tag, w.expat.library)
	look := func() []sensor.Finding {
		r := sensorAt.Stale(t, "--runtime-socket", c.Socket)
		return lab.FindingsOf(&r.Report, one)
	}
	if list := look(); len(list) > 0 {
		t.Errorf("before: %+v", list)
	}
	// A layer that containerd has not, so that it can have unpacked none of it.
	w.docker.Build(t, lab.Build{Tag: tag, Dockerfile: []string{"FROM " + tag, "RUN echo another > /etc/another"}})
	c.Do(t, "image", "import", "--no-unpack", w.imageFile(t, tag))
	list := look()
	if len(list) != 1 {
		t.Fatalf("%d findings: %+v", len(list), list)
	}
	f := list[0]
	if f.State != sensor.Unknown || f.Reason != sensor.Unreadable || f.Remedy.Action != sensor.None || f.Workload.Container == nil ||
		f.Workload.Container.ID != one.ID || !strings.Contains(f.Remedy.Why, "cannot be told") || len(f.Processes) > 0 {
		t.Errorf("finding %+v", f)
	}
}
