package debian

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

// startTimeout bounds how long a real daemon may take to serve.
const startTimeout = 30 * time.Second

// daemons are started in the root, each in a network namespace of its own, so
// that they meet nobody's ports.
var daemons = map[string]struct {
	argv  []string
	ready func(r root, pid int) bool
}{
	"nginx": {
		argv:  []string{"/usr/sbin/nginx", "-g", "daemon off;"},
		ready: func(_ root, pid int) bool { return len(children(pid)) > 0 },
	},
	"sshd": {
		argv:  []string{"/usr/sbin/sshd", "-D", "-p", "2222"},
		ready: func(_ root, pid int) bool { return listens(pid, 2222) },
	},
	"dbus-daemon": {
		argv: []string{"/usr/bin/dbus-daemon", "--system", "--nofork", "--nopidfile"},
		ready: func(r root, _ int) bool {
			_, err := os.Stat(r.path("run/dbus/system_bus_socket"))
			return err == nil
		},
	},
}

// start starts all daemons and waits until they serve. They are started by chroot(2)
// or, if that is given, via a command of a lab.Host.
func (r root) start(t *testing.T, via ...string) {
	t.Helper()
	for _, dir := range []string{"run/sshd", "run/dbus"} {
		if err := os.MkdirAll(r.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { r.stop(t) })
	for name, d := range daemons {
		said := new(bytes.Buffer)
		cmd := &exec.Cmd{
			Path: d.argv[0], Args: d.argv, Env: cleanEnv(), Dir: "/", Stderr: said,
			SysProcAttr: &syscall.SysProcAttr{
				Chroot: r.dir, Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM,
			},
		}
		if len(via) > 0 {
			cmd.Path, cmd.Args, cmd.SysProcAttr.Chroot = "/usr/bin/"+via[0], append(via[:len(via):len(via)], d.argv...), ""
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { // stop ends it; this takes the zombie away
			_ = cmd.Wait()
			close(ended)
		}()
		for deadline := time.Now().Add(startTimeout); !d.ready(r, cmd.Process.Pid); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				_ = cmd.Process.Kill()
				<-ended
				t.Fatalf("%s does not serve after %v\n%s", name, startTimeout, said)
			}
		}
	}
}

// stop ends every process whose root is r: those that start started and their
// children, and nothing else can be there.
func (r root) stop(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for pids := r.pids(); len(pids) > 0; pids = r.pids() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v do not end", pids)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, name := range []string{"run/dbus/system_bus_socket", "run/nginx.pid"} {
		_ = os.Remove(r.path(name))
	}
}

// pids are the processes whose root directory is r, but for a sensor that runs there.
func (r root) pids() []int {
	return pidsWhere(func(dir string) bool {
		root, err := os.Readlink(filepath.Join(dir, "root"))
		if err != nil || root != r.dir {
			return false
		}
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		return err == nil && string(comm) != "sensor\n"
	})
}

// children are the child processes of a process.
func children(pid int) []int {
	parent := "\nPPid:\t" + strconv.Itoa(pid) + "\n"
	return pidsWhere(func(dir string) bool {
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		return err == nil && strings.Contains(string(status), parent)
	})
}

func pidsWhere(match func(dir string) bool) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[1-9]*")
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && match(dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// listens reports whether something in the process's network namespace listens
// on a TCP port: state 0A in /proc/PID/net/tcp (proc_net_tcp in the kernel's
// documentation).
func listens(pid, port int) bool {
	table, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "net/tcp"))
	if err != nil {
		return false
	}
	suffix := ":" + strings.ToUpper(strconv.FormatInt(int64(0x10000+port), 16)[1:])
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], suffix) && f[3] == "0A" {
			return true
		}
	}
	return false
}

// TestUpgrade upgrades real packages under real daemons that run in a chroot.
func TestUpgrade(t *testing.T) {
	lab.Root(t)
	r := newRoot(t)
	r.start(t)
	pids := r.pids()
	known := r.remember(t, pids)
	host := make(map[string]lab.Result) // by source
	t.Run("before", func(t *testing.T) {
		lab.EachSource(t, func(t *testing.T, source string) {
			now := sensorAt.Stale(t, "--source", source)
			lab.Check(t, &now.Report, pids)
			host[source] = now
		})
	})

	lab.NextSecond()
	r.upgrade(t)
	want := known.findings(t)
	if len(want) < 3 {
		t.Fatalf("the upgrade changed what %d processes run: too few to test anything", len(want))
	}
	for i := range want {
		want[i].Workload, want[i].Command = "process", []string{}
	}
	t.Run("upgraded", func(t *testing.T) {
		lab.EachSource(t, func(t *testing.T, source string) {
			var now lab.Result
			// For a moment a daemon may have a child that has not executed anything.
			lab.Until(t, "the daemons have no other children", func() bool {
				now = sensorAt.Stale(t, "--source", source)
				_, err := lab.ByProcess(&now.Report, pids...)
				return err == nil
			})
			lab.Check(t, &now.Report, pids, want...)
			earlier := host[source]
			if extra := newFindings(&earlier.Report, &now.Report, pids); len(extra) > 0 {
				t.Errorf("findings that this machine did not have before: %+v", extra)
			}
		})
	})

	r.stop(t)
	r.start(t)
	now := sensorAt.Stale(t)
	lab.Check(t, &now.Report, r.pids())
}

// newFindings are those of a later report about processes of this machine that
// an earlier one already saw and had nothing to say about, the given ones and
// those of other labs aside.
func newFindings(earlier, later *sensor.Report, except []int) []sensor.Finding {
	known := make(map[string]bool)
	for _, f := range earlier.Findings {
		known[f.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(later.Findings), func(f sensor.Finding) bool {
		return known[f.ID] || slices.ContainsFunc(f.Processes, func(p sensor.Process) bool {
			return slices.Contains(except, p.PID) || p.StartTime.After(earlier.ScannedAt) || !ofThisMachine(p.PID)
		})
	})
}

// ofThisMachine reports whether a process lives in this machine's own root and
// does not come from a lab's scratch directory, such as those of tests that run
// beside this one.
func ofThisMachine(pid int) bool {
	link := func(of, name string) string {
		target, _ := os.Readlink(filepath.Join("/proc", of, name))
		return target
	}
	of := strconv.Itoa(pid)
	return link(of, "root") == "/" && link(of, "ns/mnt") == link("self", "ns/mnt") && !strings.Contains(link(of, "exe"), "/sensor-lab.")
}
