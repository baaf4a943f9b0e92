package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long anything may take before a test gives up on it.
const patience = time.Minute

const staticBusybox = "/bin/busybox"

// daemon is an engine of the test's own, with storage of its own.
type daemon struct {
	dir, socket string
	log         string
	cmd         *exec.Cmd
	ended       chan struct{}
}

// startDaemon starts the program, which must come to listen on d.socket.
func startDaemon(t *testing.T, d *daemon, program string, args ...string) {
	t.Helper()
	d.log = filepath.Join(d.dir, "log")
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	d.cmd = exec.Command(program, args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// Its end is this test's business, whatever the terminal sends.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	d.ended = make(chan struct{})
	go func() {
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() { d.stop(t) })
	for limit := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("unix", d.socket); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-d.ended:
			t.Fatalf("%s ended:\n%s", program, d.tail())
		default:
		}
		if time.Now().After(limit) {
			t.Fatalf("%s does not listen:\n%s", program, d.tail())
		}
	}
}

func (d *daemon) tail() string {
	text, _ := os.ReadFile(d.log)
	return string(text[max(0, len(text)-3000):])
}

// stop ends the daemon as its service manager would, and harder if it must.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(patience):
		t.Errorf("%s does not end:\n%s", d.cmd.Path, d.tail())
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
}

// privateDir makes a directory for an engine and, after all that the test
// started has ended, unmounts and removes what is in it.
func privateDir(t *testing.T) string {
	t.Helper()
	// Short, for a socket's path has little room.
	dir, err := os.MkdirTemp("", "engine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, mount := range mountsUnder(dir) {
			t.Logf("left mounted: %s", mount)
			_ = unix.Unmount(mount, unix.MNT_DETACH)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// mountsUnder lists the mount points at and below the directory, the last first.
func mountsUnder(dir string) []string {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			points = append(points, fields[4])
		}
	}
	slices.Reverse(points)
	return points
}

// need skips a test that this machine cannot run.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: an engine needs root")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %v", err)
		}
	}
}

// dockerd is a Docker daemon of the test's own, and the client for it.
type dockerd struct {
	daemon
	t *testing.T
}

func startDockerd(t *testing.T) *dockerd {
	t.Helper()
	need(t, "dockerd", "docker", staticBusybox)
	dir := privateDir(t)
	d := &dockerd{t: t, daemon: daemon{dir: dir, socket: filepath.Join(dir, "docker.sock")}}
	config := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A daemon that is killed leaves its containerd behind.
	t.Cleanup(func() { killIfAlive(t, filepath.Join(dir, "exec/containerd/containerd.pid"), "containerd") })
	startDaemon(t, &d.daemon, "dockerd",
		"--config-file", config, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "docker.pid"), "--host", "unix://"+d.socket, "--storage-driver", "overlay2",
		"--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none", "--userland-proxy=false")
	t.Cleanup(func() {
		for _, id := range strings.Fields(d.try("ps", "--quiet")) {
			d.try("rm", "--force", id)
		}
	})
	return d
}

// killIfAlive kills the process of the pid file, if it is still the named program.
func killIfAlive(t *testing.T, pidfile, name string) {
	t.Helper()
	text, err := os.ReadFile(pidfile)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return
	}
	if comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm")); err == nil && strings.TrimSpace(string(comm)) == name {
		t.Logf("left running: %s", name)
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

func (d *dockerd) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	d.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+d.socket, "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+d.dir)
	return cmd
}

// run runs the command line client and returns what it prints.
func (d *dockerd) run(args ...string) string {
	d.t.Helper()
	return output(d.t, d.command(args...))
}

// try does the same and does not mind failure.
func (d *dockerd) try(args ...string) string {
	out, _ := d.command(args...).Output()
	return strings.TrimSpace(string(out))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, exit.Stderr)
		}
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return strings.TrimSpace(string(out))
}

// importImage makes an image of one layer that holds busybox and the marker.
func (d *dockerd) importImage(name, marker string) {
	d.t.Helper()
	cmd := d.command("import", "-", name)
	cmd.Stdin = bytes.NewReader(rootTar(d.t, marker))
	output(d.t, cmd)
}

// build builds an image from a Dockerfile, offline.
func (d *dockerd) build(name, dockerfile string) {
	d.t.Helper()
	dir := d.t.TempDir()
	for file, text := range map[string]string{"Dockerfile": dockerfile, "hello": "hello\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	d.run("build", "--network", "none", "--no-cache", "--tag", name, dir)
}

// rootTar is a root file system: busybox, and the marker in /marker.
func rootTar(t *testing.T, marker string) []byte {
	t.Helper()
	program, err := os.ReadFile(staticBusybox)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, applet := range []string{"sh", "sleep", "touch", "true"} {
		add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	add(tar.Header{Name: "marker", Typeflag: tar.TypeReg, Mode: 0o644}, []byte(marker))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
