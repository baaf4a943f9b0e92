package machine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// bootTimeout bounds how long systemd may take to start its units.
const bootTimeout = 2 * time.Minute

// jail is a systemd that runs as the init of namespaces of its own.
type jail struct {
	dir  string
	init int // its process 1, as this machine numbers it
}

// startJail starts the systemd of a root directory. It ends with the test.
func startJail(t *testing.T, dir string) jail {
	t.Helper()
	script, err := filepath.Abs("../debian/testdata/systemd-root")
	if err != nil {
		t.Fatal(err)
	}
	said := new(bytes.Buffer)
	cgroup := filepath.Base(filepath.Dir(dir))
	cmd := exec.Command(script, dir, cgroup)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j := jail{dir, cmd.Process.Pid}
	t.Cleanup(func() {
		// The end of a PID namespace's init is the end of all in it.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
			if top := filepath.Join(hierarchy, cgroup); exists(top) {
				lab.Output(t, "find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
			}
		}
	})
	for deadline := time.Now().Add(bootTimeout); ; time.Sleep(100 * time.Millisecond) {
		out, _ := j.enter("systemctl", "is-system-running").Output()
		switch state := strings.TrimSpace(string(out)); {
		case state == "running" || state == "degraded":
			return j
		case time.Now().After(deadline):
			t.Fatalf("systemd is %q after %v\n%s", state, bootTimeout, said)
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// enter is a command that runs in all of the namespaces.
func (j jail) enter(argv ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--all", "--target", strconv.Itoa(j.init), "--"}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	return cmd
}

// TestNamespace patches what the init of a container has loaded. Seen from this machine
// it is another's service manager, and no command may reach this machine's own.
func TestNamespace(t *testing.T) {
	lab.Kernels(t)
	w := newWorld(t)
	dir := w.root(t)
	deb := filepath.Join(dir, "var/tmp", filepath.Base(w.manager.deb))
	lab.Output(t, "cp", w.manager.deb, deb)
	j := startJail(t, dir)
	if f := j.finding(t); f != nil {
		t.Fatalf("before the upgrade there is %+v", f)
	}
	lab.NextSecond()
	if out, err := j.enter("dpkg", "--install", w.manager.inside()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f := j.finding(t)
	if f == nil {
		t.Fatalf("PID %d is not stale", j.init)
	}
	want := []string{"nsenter", "--target", strconv.Itoa(j.init), "--all", "systemctl", "daemon-reexec"}
	if f.Workload.Name != "init.scope" || f.Remedy.Action != sensor.Restart || f.Remedy.Disruptive || !slices.Equal(f.Remedy.Command, want) || f.Processes[0].ContainerPID != 1 {
		t.Errorf("the finding of PID %d is %+v", j.init, f)
	}
	cmd := exec.Command(f.Remedy.Command[0], f.Remedy.Command[1:]...)
	cmd.Env = j.enter().Env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", f.Remedy.Command, err, out)
	}
	if f := j.finding(t); f != nil {
		t.Errorf("after its remedy there still is %+v", f)
	}
}

// finding is what this machine's sensor says of the init, nil for nothing.
func (j jail) finding(t *testing.T) *sensor.Finding {
	t.Helper()
	r := sensorAt.Stale(t).Report
	for i, f := range r.Findings {
		if slices.ContainsFunc(f.Processes, func(p sensor.Process) bool { return p.PID == j.init }) {
			return &r.Findings[i]
		}
	}
	return nil
}
