package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/test/lab"
)

// bootTimeout bounds how long the root's systemd may take to start its units.
const bootTimeout = 60 * time.Second

// guest is a running systemd with a root and namespaces of its own.
type guest struct {
	root
	init int // its process 1, as this machine numbers it
}

// boot starts the root's systemd and waits until its units are up. It ends with
// the test.
func (r root) boot(t *testing.T) guest {
	t.Helper()
	script, err := filepath.Abs("../debian/testdata/systemd-root")
	if err != nil {
		t.Fatal(err)
	}
	said := new(bytes.Buffer)
	cgroup := filepath.Base(filepath.Dir(r.dir))
	cmd := exec.Command(script, r.dir, cgroup)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := guest{r, cmd.Process.Pid}
	t.Cleanup(func() {
		// The end of a PID namespace's init is the end of all in it.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		removeCgroup(t, cgroup)
	})
	for deadline := time.Now().Add(bootTimeout); ; time.Sleep(100 * time.Millisecond) {
		out, _ := g.enter("systemctl", "is-system-running").Output()
		switch state := strings.TrimSpace(string(out)); {
		case state == "running" || state == "degraded":
			return g
		case time.Now().After(deadline):
			t.Fatalf("systemd is %q after %v\n%s", state, bootTimeout, said)
		}
	}
}

// removeCgroup removes the emptied cgroups below name, innermost first.
func removeCgroup(t *testing.T, name string) {
	t.Helper()
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		top := filepath.Join(hierarchy, name)
		if _, err := os.Stat(top); err == nil {
			lab.Output(t, "find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
		}
	}
}

// wrapper begins a command that runs in all of the guest's namespaces.
func (g guest) wrapper() []string {
	return []string{"nsenter", "--all", "--target", strconv.Itoa(g.init), "--"}
}

func (g guest) enter(argv ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append(g.wrapper(), argv...)[1:]...)
	cmd.Env = cleanEnv()
	return cmd
}

// run runs a command in the guest and returns what it printed.
func (g guest) run(t *testing.T, argv ...string) string {
	t.Helper()
	return output(t, g.enter(argv...))
}

// show is a property of the service.
func (g guest) show(t *testing.T, property string) string {
	t.Helper()
	return strings.TrimSpace(g.run(t, "systemctl", "show", "--value", "--property", property, service))
}

// state is what systemctl says of the service: active, inactive, failed.
func (g guest) state() string {
	out, _ := g.enter("systemctl", "is-active", service).Output() // its exit code says the same
	return strings.TrimSpace(string(out))
}

// until waits for a condition that is to come about by itself.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bootTimeout); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", bootTimeout, what)
		}
	}
}
