package docker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// podman is a Podman service of the test's own, and the command line for it.
type podman struct {
	daemon
	t     *testing.T
	flags []string
}

func startPodman(t *testing.T, driver string) *podman {
	t.Helper()
	need(t, "podman", "conmon", "runc", staticBusybox)
	dir := privateDir(t)
	p := &podman{t: t, daemon: daemon{dir: dir, socket: filepath.Join(dir, "podman.sock")}}
	p.flags = []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", driver, "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc",
	}
	t.Cleanup(func() { _ = p.command("rm", "--all", "--force", "--time", "0").Run() })
	startDaemon(t, &p.daemon, "podman", append(slices.Clone(p.flags), "system", "service", "--time", "0", "unix://"+p.socket)...)
	return p
}

func (p *podman) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return exec.CommandContext(ctx, "podman", append(slices.Clone(p.flags), args...)...)
}

func (p *podman) run(args ...string) string {
	p.t.Helper()
	return output(p.t, p.command(args...))
}

// container runs a container; its limits are such as a machine with few
// capabilities can set.
func (p *podman) container(args ...string) {
	p.t.Helper()
	p.run(append([]string{"run", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}, args...)...)
}

func (p *podman) importImage(name, marker string) string {
	p.t.Helper()
	cmd := p.command("import", "-", name)
	cmd.Stdin = bytes.NewReader(rootTar(p.t, marker))
	output(p.t, cmd)
	return "sha256:" + p.run("image", "inspect", "--format", "{{.Id}}", name)
}

func TestPodman(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) { testPodman(t, driver) })
	}
}

func testPodman(t *testing.T, driver string) {
	p := startPodman(t, driver)
	s := newSource(t, p.socket)
	id := p.importImage("tiny:1", "one")
	newer := p.importImage("tiny:2", "two")
	p.container("--detach", "--name", "up", "--label", "a=b", "tiny:1", "/bin/sleep", "1000")
	p.container("--name", "ended", "tiny:1", "/bin/true")

	c := find(t, s, "up")
	if s.Name() != "podman" || c.Runtime != "podman" {
		t.Errorf("engine %q, runtime %q", s.Name(), c.Runtime)
	}
	if !c.Running || c.PID == 0 || c.ImageID != id || c.Image != "localhost/tiny:1" || c.Labels["a"] != "b" || c.Created.IsZero() {
		t.Errorf("%+v", c)
	}
	if ended := find(t, s, "ended"); ended.Running || ended.PID != 0 || ended.ImageID != id || ended.Image != "localhost/tiny:1" {
		t.Errorf("ended: %+v", ended)
	}
	image := imageOf(t, s, c)
	if len(image.Layers) != 1 || !strings.Contains(image.Layers[0].CreatedBy, "ADD file:") || !slices.Contains(image.Names, "localhost/tiny:1") {
		t.Errorf("%+v", image)
	}
	if c.Rootfs.Driver != driver {
		t.Errorf("driver %q, want %q", c.Rootfs.Driver, driver)
	}
	if driver == "overlay" && len(image.Layers) == 1 {
		if text, err := os.ReadFile(filepath.Join(image.Layers[0].Dir, "marker")); string(text) != "one" {
			t.Errorf("marker %q: %v", text, err)
		}
		if want := []string{image.Layers[0].Dir}; c.Rootfs.Upper == "" || !slices.Equal(c.Rootfs.Lower, want) {
			t.Errorf("%+v, want above %q", c.Rootfs, want)
		}
	}

	wantCurrent(t, s, c, id)
	changes, result := watch(inContext(t), s)
	wantChange(t, changes, result)
	drain(changes)
	p.run("tag", newer, "tiny:1")
	wantChange(t, changes, result)
	c = find(t, s, "up")
	wantCurrent(t, s, c, newer)
	p.run("untag", newer)
	wantCurrent(t, s, find(t, s, "up"), "")

	p.run("rm", "ended")
	p.run("rmi", newer)
	p.run("rm", "--force", "--time", "0", "up")
	p.run("rmi", id)
	if _, err := s.Image(inContext(t), c); !errors.Is(err, workload.ErrNoImage) {
		t.Errorf("removed image: %v", err)
	}
	p.stop(t)
	if err := <-result; err == nil || isContext(err) {
		t.Errorf("watch of a service that ended: %v", err)
	}
}
