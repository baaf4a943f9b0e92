package containers

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// world is one dockerd with a base image whose packages the archive has newer versions
// of, made once for all tests. Tests have containers and references of their own.
type world struct {
	*material
	generation generation
	once       sync.Once
	ready      bool
	docker     *lab.Docker
}

// material is what the images of all worlds are made of.
type material struct {
	dir   string
	once  sync.Once
	ready bool
	dirs  atomic.Int32 // made so far

	root                 string // of the base image, as an archive of tar(1)
	multiarch            string // "x86_64-linux-gnu"
	expat, openssl, lzma upgrade
}

// upgrade is a package with one library, in two versions.
type upgrade struct {
	lab.Upgrade
	library  string // as the dynamic loader is asked for it
	from, to string // the packages' files
}

// base is the image that all others are built on. It has old libssl3 and liblzma5,
// nginx, dpkg, and the packages' documentation.
const base = "lab/base:1"

// newWorld is the world of Debian's Docker; it ends with the last test.
func newWorld(t *testing.T) *world {
	t.Helper()
	return shared[0].open(t)
}

// eachWorld runs a test in the worlds of all generations, one after another or, if the
// test itself is parallel, at a time.
func eachWorld(t *testing.T, parallel bool, test func(t *testing.T, w *world)) {
	t.Helper()
	lab.Root(t)
	for _, w := range shared {
		t.Run(w.generation.name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			test(t, w.open(t))
		})
	}
}

func (w *world) open(t *testing.T) *world {
	t.Helper()
	lab.Root(t)
	w.once.Do(func() {
		w.make(t)
		w.ready = true
	})
	if !w.ready {
		t.Fatal("there is no world: see the first test that failed")
	}
	return w
}

func (w *world) make(t *testing.T) {
	w.material.once.Do(func() {
		w.material.make(t)
		w.material.ready = true
	})
	if !w.material.ready {
		t.Fatal("there is no material: see the first test that failed")
	}
	var err error
	w.docker, err = w.newDocker(t, "docker")
	must(t, err)
	w.docker.Do(t, "import", w.root, base)
	w.generation.check(t, w.docker)
}

func (m *material) make(t *testing.T) {
	archive := lab.NewArchive(t)
	fetch := func(name, library string) upgrade {
		u := upgrade{Upgrade: archive.Upgrade(t, name), library: library}
		u.from = archive.Download(t, m.dir, name, u.From)
		u.to = archive.Download(t, m.dir, name, u.To)
		t.Logf("%s: %s, to be upgraded to %s", name, u.From, u.To)
		return u
	}
	ssl := "libssl3"
	if len(archive.Versions(t, "libssl3t64")) > 0 { // its name since Debian 13
		ssl = "libssl3t64"
	}
	m.expat, m.openssl, m.lzma = fetch("libexpat1", "libexpat.so.1"), fetch(ssl, "libssl.so.3"), fetch("liblzma5", "liblzma.so.5")
	m.multiarch = strings.TrimSpace(lab.Output(t, "gcc", "-print-multiarch"))
	m.root = filepath.Join(m.dir, "base.tar")
	archive.Root(t, m.root, []lab.Upgrade{m.openssl.Upgrade, m.lzma.Upgrade}, ssl, "nginx-light")
}

func (w *world) newDocker(t *testing.T, name string, flags ...string) (*lab.Docker, error) {
	t.Helper()
	return lab.NewDockerOf(w.generation.programs(t), w.newDir(t, name), slices.Concat(w.generation.flags, flags)...)
}

// newDir is an empty directory that is removed after the last test. Its name is short:
// podman takes 50 bytes for its own at most.
func (m *material) newDir(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(m.dir, fmt.Sprintf("%s-%d", name, m.dirs.Add(1)))
	must(t, os.Mkdir(dir, 0o755))
	return dir
}

func (w *world) close() error {
	if w.docker == nil {
		return nil
	}
	return w.docker.Close()
}

// stale is one look of a sensor that knows the world's runtime.
func (w *world) stale(t *testing.T, args ...string) lab.Result {
	t.Helper()
	return sensorAt.Stale(t, append(told(w.docker), args...)...)
}

// argv is a command of such a sensor.
func (w *world) argv(command string, args ...string) []string {
	return slices.Concat([]string{sensorAt.Path, command}, told(w.docker), args)
}

// told are the arguments that tell a sensor of a runtime.
func told(d *lab.Docker) (args []string) {
	for _, socket := range d.Sockets() {
		args = append(args, "--runtime-socket", socket)
	}
	return args
}

// start starts a container that lives as long as the test.
func (w *world) start(t *testing.T, name, image string, mapped []string, flags ...string) *lab.Container {
	t.Helper()
	return start(t, w.docker, name, image, mapped, flags...)
}

func start(t *testing.T, d *lab.Docker, name, image string, mapped []string, flags ...string) *lab.Container {
	t.Helper()
	t.Cleanup(func() { d.Do(t, "rm", "--force", "--volumes", name) })
	return d.Run(t, name, image, mapped, flags...)
}

// startMany starts n containers of an image, "PREFIX-00" and so on.
func (w *world) startMany(t *testing.T, n int, prefix, image string, mapped ...string) []*lab.Container {
	t.Helper()
	list := make([]*lab.Container, n)
	for i := range list {
		list[i] = w.start(t, fmt.Sprintf("%s-%02d", prefix, i), image, mapped)
	}
	return list
}

// serverPath is where images have testdata/server.c.
const serverPath = "/usr/local/bin/server"

func server(t testing.TB) string {
	t.Helper()
	return workshop.C(t, "testdata/server.c")
}

// serverImage builds an image in which packages were installed one after another, and
// of which a container loads the given libraries.
func serverImage(t *testing.T, d *lab.Docker, tag string, debs []string, libraries ...string) {
	t.Helper()
	b := lab.Build{Tag: tag, Files: map[string]string{"server": server(t)}, Dockerfile: []string{"FROM " + base}}
	for _, deb := range debs {
		name := filepath.Base(deb)
		b.Files[name] = deb
		b.Dockerfile = append(b.Dockerfile, "COPY "+name+" /srv/", "RUN dpkg --install /srv/"+name)
	}
	b.Dockerfile = append(b.Dockerfile, "COPY server "+serverPath, command(append([]string{serverPath}, libraries...)...))
	d.Build(t, b)
}

// nginxImage builds an image of the base's nginx with one worker.
func nginxImage(t *testing.T, d *lab.Docker, tag string) {
	t.Helper()
	d.Build(t, lab.Build{Tag: tag, Dockerfile: []string{
		"FROM " + base,
		"RUN sed -i 's/^worker_processes .*/worker_processes 1;/' /etc/nginx/nginx.conf",
		command("nginx", "-g", "daemon off;"),
	}})
}

// command is the instruction CMD.
func command(argv ...string) string { return "CMD " + list(argv...) }

// list is an argument vector as instructions take it.
func list(argv ...string) string {
	text, _ := json.Marshal(argv) // strings do not fail
	return string(text)
}

// inside is where the base image has a library, without symbolic links in front of its
// last element.
func (m *material) inside(library string) string { return path.Join("/usr/lib", m.multiarch, library) }
