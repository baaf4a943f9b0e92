package containers

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"

	"github.com/patchsensor/patchsensor/test/lab"
)

// TestCommitted: what Docker made of a container is an image like others. Where containerd
// keeps the images there are directories below such an image that are none of its layers.
func TestCommitted(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, committed)
}

func committed(t *testing.T, w *world) {
	t.Helper()
	const made, tag = "committed/made:1", "committed/server:1"
	serverImage(t, w.docker, made, []string{w.expat.from}, w.expat.library)
	source := w.start(t, "committed-made", made, []string{w.expat.library})
	source.Exec(t, "touch", "/srv/committed")
	w.docker.Do(t, "commit", source.ID, tag)
	drifted := w.start(t, "committed-drifted", made, []string{w.expat.library})
	outdated := w.start(t, "committed-outdated", tag, []string{w.expat.library})
	both := []*lab.Container{drifted, outdated}
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, both)

	knownDrifted, knownOutdated := remember(t, drifted), remember(t, outdated)
	lab.NextSecond() // dpkg's log
	drifted.Install(t, w.expat.to)
	w.docker.Do(t, "commit", drifted.ID, tag)
	want := []lab.ContainerFinding{knownDrifted.drifted(t, w.docker), knownOutdated.superseded(t, w.docker)}
	lab.EachSource(t, func(t *testing.T, source string) {
		r := w.stale(t, "--source", source)
		lab.CheckContainers(t, &r.Report, both, want...)
	})
	checkRelease(t, w, outdated)
}

// checkRelease holds that the host's page names the release that a container runs.
func checkRelease(t *testing.T, w *world, c *lab.Container) {
	t.Helper()
	r := lab.Run(t, w.argv("host", "-o", "json")...)
	var page sensor.HostReport
	if err := json.Unmarshal(r.Stdout, &page); err != nil {
		t.Fatalf("exit code %d: %v\n%s", r.Exit, err, r.Stderr)
	}
	at := slices.IndexFunc(page.Images, func(i sensor.ImageRelease) bool { return slices.Contains(i.Containers, c.Name) })
	if at < 0 {
		t.Fatalf("%s is in none of %+v", c.Name, page.Images)
	}
	if i := page.Images[at]; i.Image == "" || i.Release.ID != "debian" || i.Release.PrettyName == "" {
		t.Errorf("%+v", i)
	}
}
