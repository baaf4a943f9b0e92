package containers

import (
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// distroless builds an image as Google's distroless ones are: no shell, no dpkg, and a
// file a package with its control data and its checksums in /var/lib/dpkg/status.d.
func (w *world) distroless(t *testing.T, tag, deb string) {
	t.Helper()
	const script = `set -e
dpkg --install /expat.deb
cp -a --parents /lib /lib64 /out
for f in $(ldd /server | grep -o '/[^ ]*') "$1" "$(readlink -f "$1")"; do
	f=$(readlink -f "$(dirname "$f")")/$(basename "$f")
	cp -a --parents "$f" "$(readlink -f "$f")" /out
done
mkdir -p /out/var/lib/dpkg/status.d
for p in libc6 libexpat1; do
	dpkg-query --status $p | sed /^Status:/d >/out/var/lib/dpkg/status.d/$p
	cp $(ls /var/lib/dpkg/info/$p.md5sums /var/lib/dpkg/info/$p:*.md5sums 2>/dev/null) /out/var/lib/dpkg/status.d/$p.md5sums
done
cp /etc/os-release /out/etc/`
	w.docker.Build(t, lab.Build{Tag: tag, Files: map[string]string{"server": server(t), "expat.deb": deb}, Dockerfile: []string{
		"FROM " + base + " AS debian",
		"COPY server expat.deb /",
		"RUN mkdir -p /out/etc",
		"RUN " + list("sh", "-c", script, "sh", w.inside(w.expat.library)),
		"FROM scratch",
		"COPY --from=debian /out /",
		"COPY server /server",
		command("/server", w.expat.library),
	}})
}

// TestDistroless: a package database of status.d is as good as any, but for changelogs.
func TestDistroless(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, distrolessImage)
}

func distrolessImage(t *testing.T, w *world) {
	t.Helper()
	const tag = "distroless/server:1"
	w.distroless(t, tag, w.expat.from)
	c := w.start(t, "distroless", tag, []string{w.expat.library})
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, []*lab.Container{c})

	pid := c.PIDs()[0]
	var library string
	for _, name := range lab.Mapped(t, pid) {
		if contentOf(t, lab.Inside(pid, name)).same(contentOf(t, w.unpackedLibrary(t, w.expat.from))) {
			library = name
		}
	}
	if library == "" {
		t.Fatalf("the container runs %q", lab.Mapped(t, pid))
	}
	w.distroless(t, tag, w.expat.to)
	p := lab.Process(t, pid)
	p.Files = []sensor.File{{
		Path: library, State: sensor.Stale, Reason: sensor.ImageSuperseded, Package: w.expat.Name,
		LoadedBuildID:    lab.BuildID(t, w.unpackedLibrary(t, w.expat.from)),
		InstalledBuildID: lab.BuildID(t, w.unpackedLibrary(t, w.expat.to)),
	}}
	_, layer := w.docker.InImage(t, c.ImageID, library)
	r = w.stale(t)
	lab.CheckContainers(t, &r.Report, []*lab.Container{c}, lab.ContainerFinding{
		Workload: sensor.Workload{Kind: "container", Name: c.Name, Container: &c.Container, Cgroup: c.Cgroup(t)},
		State:    sensor.Stale, Reason: sensor.ImageSuperseded, Domain: sensor.DomainImage, Action: sensor.Redeploy,
		Processes: []sensor.Process{p}, Forgotten: !w.docker.HasImage(c.ImageID),
		Packages: []sensor.Package{{
			Manager: "dpkg", Name: w.expat.Name, Source: "expat", Arch: lab.Arch(t),
			Loaded: sensor.LoadedVersion{Version: w.expat.From}, Installed: sensor.InstalledVersion{Version: w.expat.To},
			Layer: &layer, // and no CVEs, which is not none: the changelog is not there
		}},
	})
}

// TestScratch: an image of one static program has no packages, and can be superseded all
// the same.
func TestScratch(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, scratchImage)
}

func scratchImage(t *testing.T, w *world) {
	t.Helper()
	const tag = "scratch/static:1"
	build := func(version string) {
		w.docker.Build(t, lab.Build{
			Tag: tag, Files: map[string]string{"static": workshop.C(t, "-static", "-DVERSION=\""+version+"\"", "testdata/static.c")},
			Dockerfile: []string{"FROM scratch", "COPY static /static", command("/static")},
		})
	}
	build("1")
	c := w.start(t, "scratch", tag, []string{"static"})
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, []*lab.Container{c})
	build("1") // again the same
	r = w.stale(t)
	lab.CheckContainers(t, &r.Report, []*lab.Container{c})
	build("2")
	r = w.stale(t)
	list := lab.FindingsOf(&r.Report, c)
	if len(list) != 1 || list[0].Reason != sensor.ImageSuperseded || list[0].Workload.Container == nil || *list[0].Workload.Container != c.Container {
		t.Errorf("%+v", list)
	}
}
