package containers

import (
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// A newer image that differs in nothing that is loaded is listed, and no alarm.
func TestNothingThatIsLoadedDiffers(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, nothingThatIsLoadedDiffers)
}

func nothingThatIsLoadedDiffers(t *testing.T, w *world) {
	t.Helper()
	const file, unrelated = "quiet/file:1", "quiet/package:1"
	serverImage(t, w.docker, file, []string{w.expat.from}, w.expat.library)
	serverImage(t, w.docker, unrelated, []string{w.expat.from}, w.expat.library)
	containers := []*lab.Container{
		w.start(t, "quiet-file", file, []string{w.expat.library}),
		w.start(t, "quiet-package", unrelated, []string{w.expat.library}),
	}
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, containers)

	w.docker.Build(t, lab.Build{Tag: file, Dockerfile: []string{"FROM " + file, "RUN echo changed > /etc/motd"}})
	serverImage(t, w.docker, unrelated, []string{w.expat.from, w.lzma.to}, w.expat.library)
	lab.EachSource(t, func(t *testing.T, source string) {
		r := w.stale(t, "--source", source)
		for _, c := range containers {
			list := lab.FindingsOf(&r.Report, c)
			if len(list) != 1 {
				t.Errorf("%s: %d findings: %+v", c.Name, len(list), list)
				continue
			}
			// Its state is no alarm either, whatever it is called: the summary counts
			// it neither as stale nor as something to do.
			f := list[0]
			if f.Reason != sensor.ImageSuperseded || f.Urgency != "low" {
				t.Errorf("%s: %s, urgency %q", c.Name, f.Reason, f.Urgency)
			}
			if f.State == sensor.Stale || f.State == sensor.Missing {
				t.Errorf("%s: an alarm: %s", c.Name, f.State)
			}
			if got := f.Workload.Container; got == nil || *got != c.Container {
				t.Errorf("%s: %+v", c.Name, got)
			}
		}
	})
}

// What a reference names now, for each way in which it can come to name another image
// or nothing.
func TestReferences(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, references)
}

func references(t *testing.T, w *world) {
	t.Helper()
	old, newer := []string{w.expat.from}, []string{w.expat.to}
	for _, tt := range []struct {
		name string
		// reference is how a container is started, given the tag.
		reference func(t *testing.T, tag string) string
		change    func(t *testing.T, tag string)
		stale     bool
		// contents says that it takes containerd to give an image a digest that was
		// never in a registry.
		contents bool
	}{
		{name: "built", stale: true, change: func(t *testing.T, tag string) {
			serverImage(t, w.docker, tag, newer, w.expat.library)
		}},
		{name: "tagged", stale: true, change: func(t *testing.T, tag string) {
			serverImage(t, w.docker, tag+"-newer", newer, w.expat.library)
			w.docker.Do(t, "tag", tag+"-newer", tag)
		}},
		{name: "loaded", stale: true, change: func(t *testing.T, tag string) {
			was := w.docker.ImageID(t, tag)
			serverImage(t, w.docker, tag, newer, w.expat.library)
			file := filepath.Join(t.TempDir(), "image.tar")
			w.docker.Do(t, "save", "--output", file, tag)
			w.docker.Do(t, "tag", was, tag)
			w.docker.Do(t, "load", "--input", file)
		}},
		{name: "built-equal", change: func(t *testing.T, tag string) {
			serverImage(t, w.docker, tag, old, w.expat.library)
		}},
		{name: "removed", change: func(t *testing.T, tag string) {
			w.docker.Do(t, "rmi", "--force", tag)
		}},
		{name: "by-id", reference: func(t *testing.T, tag string) string { return w.docker.ImageID(t, tag) },
			change: func(t *testing.T, tag string) { serverImage(t, w.docker, tag, newer, w.expat.library) }},
		{name: "by-digest", contents: true, reference: func(t *testing.T, tag string) string {
			return "ref/by-digest@" + w.docker.ImageID(t, tag)
		}, change: func(t *testing.T, tag string) { serverImage(t, w.docker, tag, newer, w.expat.library) }},
		{name: "another-tag", change: func(t *testing.T, tag string) {
			serverImage(t, w.docker, tag+"-newer", newer, w.expat.library)
		}},
	} {
		if tt.contents && w.generation.storage != "overlayfs" {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			tag := "ref/" + tt.name + ":1"
			serverImage(t, w.docker, tag, old, w.expat.library)
			image := tag
			if tt.reference != nil {
				image = tt.reference(t, tag)
			}
			c := w.start(t, "ref-"+tt.name, image, []string{w.expat.library})
			known := remember(t, c)
			r := w.stale(t)
			lab.CheckContainers(t, &r.Report, []*lab.Container{c})
			tt.change(t, tag)
			var want []lab.ContainerFinding
			if tt.stale {
				want = append(want, known.superseded(t, w.docker))
			}
			r = w.stale(t)
			lab.CheckContainers(t, &r.Report, []*lab.Container{c}, want...)
		})
	}
}
