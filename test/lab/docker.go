package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Docker is a dockerd of the lab's own, with its own containerd, storage and socket:
// it meets no other one on this machine and touches no network.
type Docker struct {
	// Socket is where it listens.
	Socket string

	dir      string
	programs Programs
	flags    []string
	cmd      *exec.Cmd
	ended    chan struct{} // closed after Wait

	mu     sync.Mutex
	images map[string][]stored // layers by the image's ID
}

// dockerTimeout bounds one command of the docker client and the start and the end of
// a daemon, each of which takes seconds at most.
const dockerTimeout = time.Minute

// NewDocker starts this machine's dockerd, which keeps everything below dir, an empty
// directory that RemoveScratch will remove, with further flags.
func NewDocker(dir string, flags ...string) (*Docker, error) {
	return NewDockerOf(nil, dir, append([]string{"--storage-driver", "overlay2"}, flags...)...)
}

// NewDockerOf is NewDocker with other programs, and with the storage that these choose by
// themselves. From version 29 on that is containerd's.
func NewDockerOf(programs Programs, dir string, flags ...string) (*Docker, error) {
	d := &Docker{Socket: filepath.Join(dir, "docker.sock"), dir: dir, programs: programs, flags: flags}
	// Not this machine's configuration.
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
		return nil, err
	}
	if err := d.Launch(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Launch starts the daemon, anew after Crash, and waits until it answers.
func (d *Docker) Launch() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = d.programs.command("dockerd", append([]string{
		"--config-file", filepath.Join(d.dir, "daemon.json"), "--host", "unix://" + d.Socket,
		"--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"),
		"--exec-opt", "native.cgroupdriver=cgroupfs",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--userland-proxy=false",
	}, d.flags...)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// A test that dies takes the daemon along, which then stops its containers.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("%w (test/install-deps installs what the labs need)", err)
	}
	cmd, ended := d.cmd, make(chan struct{})
	d.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	for deadline := time.Now().Add(dockerTimeout); ; time.Sleep(20 * time.Millisecond) {
		if answer, err := HTTP(d.Socket).Get("http://docker/_ping"); err == nil {
			answer.Body.Close()
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("dockerd ended: %v\n%s", cmd.ProcessState, d.lastWords())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("dockerd does not answer after %v\n%s", dockerTimeout, d.lastWords())
		}
	}
}

func (d *Docker) lastWords() string {
	log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(log[max(0, len(log)-4000):])
}

// Do runs a command of the docker client against the daemon and returns what it
// printed, without the last newline.
func (d *Docker) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.Try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Do for what may fail.
func (d *Docker) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, dockerClient(), args...)
	cmd.Env = append(os.Environ(), d.Env()...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %q: %w\n%s%s", args, err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// Env has a docker client talk to the daemon, whatever this machine is set up for.
func (d *Docker) Env() []string {
	builder := "0" // with Debian's daemon its client has no other
	if d.contents() {
		builder = "1"
	}
	return []string{
		"DOCKER_HOST=unix://" + d.Socket, "DOCKER_CONFIG=" + filepath.Join(d.dir, "client"), "DOCKER_BUILDKIT=" + builder,
	}
}

// Sockets are where the daemon listens and, if that keeps its images, its containerd.
// They are where a sensor finds both unless told otherwise.
func (d *Docker) Sockets() []string {
	if d.contents() {
		return []string{d.Socket, filepath.Join(d.dir, "exec/containerd/containerd.sock")}
	}
	return []string{d.Socket}
}

// PID is the daemon's process.
func (d *Docker) PID() int { return d.cmd.Process.Pid }

// ContainerdPID is the process of the containerd that the daemon has started.
func (d *Docker) ContainerdPID(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "exec/containerd/containerd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// Crash kills the daemon and its containerd as nothing announces it. The containers
// go on. Launch starts it anew.
func (d *Docker) Crash() {
	_ = d.cmd.Process.Kill()
	<-d.ended
	endHelpers(d.dir, "containerd")
	// As long as nobody has waited for it, the next daemon would take it for alive.
	_ = os.Remove(filepath.Join(d.dir, "exec/containerd/containerd.pid"))
}

// Close ends the containers and the daemon, with everything it has started and
// mounted, in whatever state it is.
func (d *Docker) Close() error {
	if d.cmd.Process == nil {
		return nil
	}
	select {
	case <-d.ended:
	default:
		if ids, err := d.Try("ps", "--all", "--quiet", "--no-trunc"); err == nil && ids != "" {
			_, _ = d.Try(append([]string{"rm", "--force", "--volumes"}, strings.Fields(ids)...)...)
		}
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(dockerTimeout):
			_ = d.cmd.Process.Kill()
			<-d.ended
		}
	}
	endHelpers(d.dir, "containerd")
	endHelpers(d.dir, "containerd-shim-runc-v2")
	var errs []error
	made, _ := filepath.Glob(filepath.Join(d.dir, "data/containers/*"))
	for _, dir := range made {
		errs = append(errs, removeCgroups(filepath.Base(dir)))
	}
	return errors.Join(append(errs, unmountBelow(d.dir))...)
}

// dockerClient is the client of the distribution's package, which builds images by itself:
// another one that comes first in PATH may want a plugin for that.
func dockerClient() string {
	const packaged = "/usr/bin/docker"
	if executable(packaged) {
		return packaged
	}
	return "docker"
}
