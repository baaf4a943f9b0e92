package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// Containerd is a containerd of the lab's own, used by ctr, without anything above it.
type Containerd struct {
	// Socket is where it listens.
	Socket string

	dir      string
	programs Programs
	cmd      *exec.Cmd
	ended    chan struct{} // closed after Wait
	ids      []string      // of all containers that there ever were
}

// containerdNamespace is the namespace in which the lab keeps everything. It stands in
// the names of cgroups.
const containerdNamespace = "sensor-lab"

// NewContainerd starts a containerd that keeps everything below dir, an empty directory
// that RemoveScratch will remove.
func NewContainerd(programs Programs, dir string) (*Containerd, error) {
	c := &Containerd{Socket: filepath.Join(dir, "containerd.sock"), dir: dir, programs: programs, ended: make(chan struct{})}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.runtime\", \"io.containerd.cri.v1.images\"]\n[grpc]\n  address = %q\n",
		filepath.Join(dir, "data"), filepath.Join(dir, "state"), c.Socket)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	c.cmd = programs.command("containerd", "--config", config)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (test/install-deps installs what the labs need)", err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	for deadline := time.Now().Add(dockerTimeout); ; time.Sleep(20 * time.Millisecond) {
		_, err := c.try("version")
		if err == nil {
			return c, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(err, c.Close())
		}
	}
}

// Do runs a command of ctr and returns what it printed, without the last newline.
func (c *Containerd) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *Containerd) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.programs.Path("ctr"), append([]string{"--address", c.Socket, "--namespace", containerdNamespace}, args...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %q: %w\n%s", args, err, out)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// Run starts a container of an image, which has a network namespace of its own, and
// waits until its processes have mapped files whose names begin as each of the given
// ones. It is removed with the test. ctr gives it no name but its ID.
func (c *Containerd) Run(t testing.TB, id, image string, mapped ...string) *Container {
	t.Helper()
	c.ids = append(c.ids, id)
	t.Cleanup(func() {
		_, _ = c.try("task", "kill", "--signal", "KILL", id)
		_, _ = c.try("task", "delete", "--force", id)
		_, _ = c.try("container", "delete", id)
	})
	c.Do(t, "run", "--detach", "--null-io", image, id)
	box := &Container{engine: c, Container: sensor.Container{
		ID: id, Name: id, Runtime: "containerd", Image: image, ImageID: c.ImageID(t, image),
	}}
	box.Await(t, mapped...)
	return box
}

// ImageID is the digest that a reference names now.
func (c *Containerd) ImageID(t testing.TB, reference string) string {
	t.Helper()
	for line := range strings.Lines(c.Do(t, "image", "list", "name=="+reference)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == reference {
			return f[2]
		}
	}
	t.Fatalf("containerd has no image %s", reference)
	return ""
}

// PID is the daemon's process.
func (c *Containerd) PID() int { return c.cmd.Process.Pid }

// Close ends the containers and the daemon.
func (c *Containerd) Close() error {
	for _, id := range c.ids {
		_, _ = c.try("task", "kill", "--signal", "KILL", id)
		_, _ = c.try("task", "delete", "--force", id)
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(dockerTimeout):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	endHelpers(c.dir, "containerd-shim-runc-v2")
	var errs []error
	for _, id := range c.ids {
		errs = append(errs, removeCgroups(filepath.Join(containerdNamespace, id)))
	}
	for _, hierarchy := range hierarchies() {
		_ = os.Remove(filepath.Join(hierarchy, containerdNamespace)) // if it is there
	}
	return errors.Join(append(errs, unmountBelow(c.dir))...)
}
