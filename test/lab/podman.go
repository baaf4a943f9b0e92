package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// Podman is a podman with its own storage, and the service that answers as Docker does.
type Podman struct {
	// Socket is where the service listens.
	Socket string

	dir      string
	programs Programs
	service  *exec.Cmd
	ended    chan struct{} // closed after Wait
	ids      []string      // of all containers that there ever were
}

// NewPodman starts podman's service, with everything below dir, an empty directory
// that RemoveScratch will remove.
func NewPodman(programs Programs, dir string) (*Podman, error) {
	p := &Podman{Socket: filepath.Join(dir, "podman.sock"), dir: dir, programs: programs, ended: make(chan struct{})}
	p.service = programs.command("podman", p.args("system", "service", "--time", "0", "unix://"+p.Socket)...)
	p.service.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.service.Start(); err != nil {
		return nil, fmt.Errorf("%w (test/install-deps installs what the labs need)", err)
	}
	go func() {
		_ = p.service.Wait()
		close(p.ended)
	}()
	for deadline := time.Now().Add(dockerTimeout); ; time.Sleep(20 * time.Millisecond) {
		answer, err := HTTP(p.Socket).Get("http://podman/_ping")
		if err == nil {
			answer.Body.Close()
			return p, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("podman does not answer: %w", err), p.Close())
		}
	}
}

func (p *Podman) args(command ...string) []string {
	in := func(name string) string { return filepath.Join(p.dir, name) }
	return append([]string{
		"--conmon", p.programs.Path("conmon"),
		"--root", in("data"), "--runroot", in("run"), "--tmpdir", in("tmp"), "--network-config-dir", in("net"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc", "--storage-driver", "overlay",
	}, command...)
}

// Do runs a podman command and returns what it printed, without the last newline.
func (p *Podman) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := p.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *Podman) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.programs.Path("podman"), p.args(args...)...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("podman %q: %w\n%s%s", args, err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// Run starts a container of an image, without a network, and waits until its processes
// have mapped files whose names begin as each of the given ones. It is removed with the
// test.
func (p *Podman) Run(t testing.TB, name, image string, mapped ...string) *Container {
	t.Helper()
	// Its own limits are higher than this machine may allow.
	id := p.Do(t, "run", "--detach", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--name", name, image)
	p.ids = append(p.ids, id)
	t.Cleanup(func() { p.Do(t, "rm", "--force", "--time", "0", id) })
	var said struct {
		Image  string
		Config struct{ Image string }
	}
	answer, err := HTTP(p.Socket).Get("http://podman/v1.41/containers/" + id + "/json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("podman says of %s: %s, %v", name, answer.Status, err)
	}
	c := &Container{engine: p, Container: sensor.Container{
		ID: id, Name: name, Runtime: "podman", Image: said.Config.Image, ImageID: said.Image,
	}}
	c.Await(t, mapped...)
	return c
}

// Close ends the containers and the service.
func (p *Podman) Close() error {
	_, _ = p.try("rm", "--all", "--force", "--time", "0")
	_ = p.service.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(dockerTimeout):
		_ = p.service.Process.Kill()
		<-p.ended
	}
	endHelpers(p.dir, "conmon")
	var errs []error
	for _, id := range slices.Compact(p.ids) {
		errs = append(errs, removeCgroups(id))
	}
	return errors.Join(append(errs, unmountBelow(p.dir))...)
}
