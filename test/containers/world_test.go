package containers

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// world is one dockerd with a base image whose packages the archive has newer versions
// of, made once for all tests. Tests have containers and references of their own.
type world struct {
	dir    string
	once   sync.Once
	ready  bool
	docker *lab.Docker

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

// newWorld is the world; it ends with the last test.
func newWorld(t *testing.T) *world {
	t.Helper()
	lab.Root(t)
	w := shared
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
	archive := lab.NewArchive(t)
	fetch := func(name, library string) upgrade {
		u := upgrade{Upgrade: archive.Upgrade(t, name), library: library}
		u.from = archive.Download(t, w.dir, name, u.From)
		u.to = archive.Download(t, w.dir, name, u.To)
		t.Logf("%s: %s, to be upgraded to %s", name, u.From, u.To)
		return u
	}
	ssl := "libssl3"
	if len(archive.Versions(t, "libssl3t64")) > 0 { // its name since Debian 13
		ssl = "libssl3t64"
	}
	w.expat, w.openssl, w.lzma = fetch("libexpat1", "libexpat.so.1"), fetch(ssl, "libssl.so.3"), fetch("liblzma5", "liblzma.so.5")
	w.multiarch = strings.TrimSpace(lab.Output(t, "gcc", "-print-multiarch"))
	w.root = filepath.Join(w.dir, "base.tar")
	archive.Root(t, w.root, []lab.Upgrade{w.openssl.Upgrade, w.lzma.Upgrade}, ssl, "nginx-light")
	var err error
	w.docker, err = w.newDocker("docker")
	must(t, err)
	w.docker.Do(t, "import", w.root, base)
}

func (w *world) newDocker(name string, flags ...string) (*lab.Docker, error) {
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return lab.NewDocker(dir, flags...)
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
	return sensorAt.Stale(t, append([]string{"--runtime-socket", w.docker.Socket}, args...)...)
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
func (w *world) inside(library string) string { return path.Join("/usr/lib", w.multiarch, library) }
