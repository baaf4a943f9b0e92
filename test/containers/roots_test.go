package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// TestNotOfTheImage: what a process of a container has loaded from elsewhere than the
// container's image is not compared with the image, and an image that goes back to older
// packages is no reason to redeploy.
func TestNotOfTheImage(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, notOfTheImage)
}

func notOfTheImage(t *testing.T, w *world) {
	t.Helper()
	old, newer := []string{w.expat.from}, []string{w.expat.to}
	// On this machine, so that a process of the host's root can run it.
	host := lab.Scratch(t)
	program := filepath.Join(host, "server")
	lab.Output(t, "cp", server(t), program)
	plugin := func(version string) string {
		return workshop.C(t, "-shared", "-fPIC", "-DVERSION=\""+version+"\"", "testdata/plugin.c")
	}
	volume := filepath.Join(host, "volume")
	must(t, os.Mkdir(volume, 0o755))
	lab.Output(t, "cp", plugin("1"), filepath.Join(volume, "plugin.so"))

	image := func(name string) string { return "roots/" + name + ":1" }
	build := func(name string, debs []string) {
		switch name {
		case "host":
			// The host's root, as agents on nodes have it, in the container's cgroup.
			w.commandImage(t, image(name), debs, "/usr/sbin/chroot", "/host", program, w.expat.library)
		case "called":
			// A program that is called like a monitor of containers, with a child.
			w.commandImage(t, image(name), debs, "/bin/sh", "-c",
				"cp "+serverPath+" /usr/bin/conmon; sleep 1000000 & exec /usr/bin/conmon "+w.expat.library)
		case "volume":
			w.commandImage(t, image(name), debs, serverPath, "/srv/app/plugin.so")
		case "back":
			w.commandImage(t, image(name), debs, serverPath, w.expat.library)
		}
	}
	for _, name := range []string{"host", "called", "volume"} {
		build(name, old)
	}
	build("back", newer)
	inHost := w.start(t, "roots-host", image("host"), []string{"libexpat.so"}, "--volume", "/:/host")
	called := w.start(t, "roots-called", image("called"), []string{w.expat.library})
	onVolume := w.start(t, "roots-volume", image("volume"), []string{"plugin.so"}, "--volume", volume+":/srv/app")
	back := w.start(t, "roots-back", image("back"), []string{w.expat.library})
	all := []*lab.Container{inHost, called, onVolume, back}
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, all)

	build("host", newer)
	build("called", newer)
	build("back", old)
	w.docker.Build(t, lab.Build{
		Tag: image("volume"), Files: map[string]string{"plugin.so": plugin("2")},
		Dockerfile: []string{"FROM " + image("volume"), "COPY plugin.so /srv/app/plugin.so"},
	})
	lab.EachSource(t, func(t *testing.T, source string) {
		r := w.stale(t, "--source", source)
		for _, c := range []*lab.Container{inHost, onVolume, back} {
			for _, f := range lab.FindingsOf(&r.Report, c) {
				if f.State != sensor.Effective || f.Remedy.Action != sensor.None {
					t.Errorf("%s is %s (%s), %s: %s", c.Name, f.State, f.Reason, f.Remedy.Action, f.Remedy.Why)
				}
			}
		}
		list := lab.FindingsOf(&r.Report, called)
		if len(list) != 1 || list[0].State != sensor.Stale || list[0].Reason != sensor.ImageSuperseded || list[0].Remedy.Action != sensor.Redeploy {
			t.Errorf("%s: %+v", called.Name, list)
		}
	})
}

// TestGoneFromTheImage: that a newer image does not have what is loaded is no sign that
// nothing differs.
func TestGoneFromTheImage(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, goneFromTheImage)
}

func goneFromTheImage(t *testing.T, w *world) {
	t.Helper()
	image := func(name string) string { return "gone/" + name + ":1" }
	names := []string{"purged", "bare", "damaged"}
	var all []*lab.Container
	for _, name := range names {
		serverImage(t, w.docker, image(name), []string{w.expat.from}, w.expat.library)
		all = append(all, w.start(t, "gone-"+name, image(name), []string{w.expat.library}))
	}
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, all)
	w.docker.Build(t, lab.Build{Tag: image("purged"), Dockerfile: []string{"FROM " + image("purged"), "RUN dpkg --purge " + w.expat.Name}})
	w.docker.Build(t, lab.Build{Tag: image("bare"), Files: map[string]string{"server": server(t)}, Dockerfile: []string{"FROM scratch", "COPY server /server"}})
	w.docker.Build(t, lab.Build{Tag: image("damaged"), Dockerfile: []string{"FROM " + image("damaged"), "RUN sed -i '/^Package: " + w.expat.Name + "$/,/^$/s/ installed$/ half-configured/' /var/lib/dpkg/status"}})
	lab.EachSource(t, func(t *testing.T, source string) {
		r := w.stale(t, "--source", source)
		for i, want := range []sensor.State{sensor.Stale, sensor.Stale, sensor.Unknown} {
			if list := lab.FindingsOf(&r.Report, all[i]); len(list) != 1 || list[0].State != want {
				t.Errorf("%s: %+v, want %s", all[i].Name, list, want)
			}
		}
	})
}

// TestHardLinks: a file of an image with two names, of which one is replaced in one
// container while another container has loaded it by the other.
func TestHardLinks(t *testing.T) {
	t.Parallel()
	eachWorld(t, true, hardLinks)
}

func hardLinks(t *testing.T, w *world) {
	t.Helper()
	lib := workshop.C(t, "-shared", "-fPIC", "-DVERSION=\"1\"", "testdata/plugin.c")
	const tag = "links/app:1"
	w.docker.Build(t, lab.Build{
		Tag: tag, Files: map[string]string{"server": server(t), "l.so": lib},
		Dockerfile: []string{
			"FROM " + base, "COPY server " + serverPath, "COPY l.so /opt/a/",
			"RUN cp /opt/a/l.so /opt/a/k.so && mkdir -p /usr/local/lib/x && ln /opt/a/k.so /usr/local/lib/x/l.so",
			command("/bin/sh", "-c", "exec "+serverPath+" $LOAD"),
		},
	})
	first := w.start(t, "links-first", tag, []string{"k.so"}, "--env", "LOAD=/opt/a/k.so")
	second := w.start(t, "links-second", tag, []string{"l.so"}, "--env", "LOAD=/usr/local/lib/x/l.so")
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, []*lab.Container{first, second})
	second.Exec(t, "sh", "-c", "cp /usr/bin/true /usr/local/lib/x/n && mv /usr/local/lib/x/n /usr/local/lib/x/l.so")
	lab.EachSource(t, func(t *testing.T, source string) {
		r := w.stale(t, "--source", source)
		lab.CheckContainers(t, &r.Report, []*lab.Container{first})
		if list := lab.FindingsOf(&r.Report, second); len(list) != 1 || list[0].Reason != sensor.Replaced || !list[0].Drift {
			t.Errorf("%s: %+v", second.Name, list)
		}
	})
}

// commandImage builds an image like serverImage, which runs another command.
func (w *world) commandImage(t *testing.T, tag string, debs []string, argv ...string) {
	t.Helper()
	serverImage(t, w.docker, tag, debs, w.expat.library)
	w.docker.Build(t, lab.Build{Tag: tag, Dockerfile: []string{"FROM " + tag, command(argv...)}})
}

// TestHint: that another image on the same base has a newer package is worth a word in
// explain, and no finding.
func TestHint(t *testing.T) { eachWorld(t, true, hint) }

func hint(t *testing.T, w *world) {
	const mine, other = "hint/mine:1", "hint/other:1"
	serverImage(t, w.docker, mine, []string{w.expat.from}, w.expat.library)
	serverImage(t, w.docker, other, []string{w.expat.to}, w.expat.library)
	// An image of its own, and not another name of one that is built the same way.
	w.docker.Build(t, lab.Build{Tag: other, Dockerfile: []string{"FROM " + other, "RUN echo hint > /etc/hint"}})
	c := w.start(t, "hint-mine", mine, []string{w.expat.library})
	r := w.stale(t)
	lab.CheckContainers(t, &r.Report, []*lab.Container{c})
	text := string(lab.Run(t, w.argv("explain", c.Name)...).Stdout)
	for _, word := range []string{other, w.expat.Name + " " + w.expat.From, w.expat.To} {
		if !strings.Contains(text, word) {
			t.Errorf("no %q in\n%s", word, text)
		}
	}
}
