package debian

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

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// bootTimeout bounds how long the root's systemd may take to start its units.
const bootTimeout = 60 * time.Second

// guest is a running systemd with a root and namespaces of its own.
type guest struct {
	root
	init   int // its process 1, as this machine numbers it
	output *bytes.Buffer
}

// boot starts the root's systemd and waits until its units are up. It ends
// with the test.
func (r root) boot(t *testing.T) guest {
	t.Helper()
	script, err := filepath.Abs("testdata/systemd-root")
	if err != nil {
		t.Fatal(err)
	}
	g := guest{root: r, output: new(bytes.Buffer)}
	cgroup := filepath.Base(filepath.Dir(r.dir))
	cmd := exec.Command(script, r.dir, cgroup)
	cmd.Stdout, cmd.Stderr = g.output, g.output
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.init = cmd.Process.Pid
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
			t.Fatalf("systemd is %q after %v\n%s", state, bootTimeout, g.output)
		}
	}
}

// removeCgroup removes the emptied cgroups below name, innermost first.
func removeCgroup(t *testing.T, name string) {
	t.Helper()
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		top := filepath.Join(hierarchy, name)
		if _, err := os.Stat(top); err != nil {
			continue
		}
		if out, err := exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").CombinedOutput(); err != nil {
			t.Errorf("cgroup %s stays: %v\n%s", top, err, out)
		}
	}
}

// enter is a command to be run in all of the guest's namespaces.
func (g guest) enter(argv ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append(g.wrapper(), argv...)[1:]...)
	cmd.Env = cleanEnv()
	return cmd
}

func (g guest) wrapper() []string {
	return []string{"nsenter", "--all", "--target", strconv.Itoa(g.init), "--"}
}

func (g guest) run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := g.enter(argv...).CombinedOutput(); err != nil {
		t.Fatalf("in the guest, %q: %v\n%s", argv, err, out)
	}
}

// settle waits until no unit of the guest is on its way to another state, seen
// twice in a row: a unit that ended may not yet have begun its restart.
func (g guest) settle(t *testing.T) {
	t.Helper()
	quiet := 0
	for deadline := time.Now().Add(bootTimeout); quiet < 2; time.Sleep(300 * time.Millisecond) {
		out, err := g.enter("systemctl", "list-units", "--plain", "--no-legend", "--state=activating,deactivating,reloading").CombinedOutput()
		switch moving := strings.TrimSpace(string(out)); {
		case err == nil && moving == "":
			quiet++
		case time.Now().After(deadline):
			t.Fatalf("units still change: %s (%v)", moving, err)
		default:
			quiet = 0
		}
	}
}

// pids are the guest's processes: this machine's number of each, and its own.
func (g guest) pids(t *testing.T) map[int]int {
	t.Helper()
	own, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(g.init), "ns/pid"))
	if err != nil {
		t.Fatal(err)
	}
	inner := make(map[int]int)
	for _, pid := range pidsWhere(func(dir string) bool {
		ns, err := os.Readlink(filepath.Join(dir, "ns/pid"))
		return err == nil && ns == own
	}) {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil {
			continue // it ended meanwhile
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" {
				if n, err := strconv.Atoi(f[len(f)-1]); err == nil {
					inner[pid] = n
				}
			}
		}
	}
	return inner
}

// unit is the innermost unit in a process's cgroup path.
func unit(t *testing.T, pid int) string {
	t.Helper()
	cgroups, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(cgroups)) {
		name := filepath.Base(strings.TrimSpace(line))
		if strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope") {
			return name
		}
	}
	return ""
}

// TestSystemd upgrades real packages under a real systemd and makes the patch
// effective by the commands that the sensor names.
func TestSystemd(t *testing.T) {
	lab.Root(t)
	r := newRoot(t)
	lab.Output(t, "cp", sensorAt.Path, r.path("usr/local/bin/sensor"))
	inside := lab.Sensor{Path: "/usr/local/bin/sensor"}
	g := r.boot(t)
	g.run(t, "systemctl", "start", "nginx.service", "ssh.service", "dbus.service")

	outer := g.pids(t)
	var hostPIDs, guestPIDs []int
	for host, guest := range outer {
		hostPIDs, guestPIDs = append(hostPIDs, host), append(guestPIDs, guest)
	}
	known := r.remember(t, hostPIDs)
	fresh := inside.StaleBy(t, g.wrapper())
	lab.Check(t, &fresh.Report, guestPIDs)

	lab.NextSecond()
	g.run(t, upgradeCommand...)
	wantHost := known.findings(t)
	units := make(map[string]bool)
	var want []lab.Finding
	for _, f := range wantHost {
		name := unit(t, f.PID)
		units[name] = true
		f.PID, f.Workload, f.Command = outer[f.PID], "unit", []string{"systemctl", "restart", name}
		if name == "init.scope" {
			f.Command = []string{"systemctl", "daemon-reexec"}
		}
		want = append(want, f)
	}
	if !units["nginx.service"] || !units["ssh.service"] {
		t.Fatalf("the upgrade reached only %v", units)
	}
	for _, source := range []string{"auto", "maps"} {
		t.Run(source, func(t *testing.T) {
			now := inside.StaleBy(t, g.wrapper(), "--source", source)
			lab.Check(t, &now.Report, guestPIDs, want...)
			checkUnits(t, &now.Report, units)
		})
	}
	t.Run("from the host", func(t *testing.T) { g.checkFromHost(t, hostPIDs, wantHost) })
	t.Run("remedies", func(t *testing.T) {
		now := inside.StaleBy(t, g.wrapper())
		if len(now.Report.Findings) == 0 {
			t.Fatal("nothing to remedy")
		}
		for _, f := range now.Report.Findings {
			g.run(t, f.Remedy.Command...)
		}
		// A restarted bus makes its clients start anew, some on their own.
		g.settle(t)
		after := inside.StaleBy(t, g.wrapper())
		if after.Exit != lab.ExitClean || len(after.Report.Findings) > 0 {
			t.Errorf("after all remedies: exit code %d, %s", after.Exit, after.Stdout)
		}
	})
}

// checkUnits holds the findings against the units that run old code: one each,
// named, and restarts that would disrupt are said to.
func checkUnits(t *testing.T, r *sensor.Report, units map[string]bool) {
	t.Helper()
	if len(r.Findings) != len(units) {
		t.Errorf("%d findings for the %d units %v", len(r.Findings), len(units), units)
	}
	for _, f := range r.Findings {
		if !units[f.Workload.Name] {
			t.Errorf("finding for unit %q, stale are %v", f.Workload.Name, units)
		}
		disruptive := f.Workload.Name == "dbus.service" || f.Workload.Name == "systemd-logind.service"
		if disruptive && !f.Remedy.Disruptive || !disruptive && f.Workload.Name == "nginx.service" && f.Remedy.Disruptive {
			t.Errorf("%s: disruptive is %v", f.Workload.Name, f.Remedy.Disruptive)
		}
	}
}

// checkFromHost looks at the guest from outside: the same processes and files
// are stale, and no command would act on a unit of this machine by mistake.
func (g guest) checkFromHost(t *testing.T, pids []int, want []lab.Finding) {
	t.Helper()
	now := sensorAt.Stale(t)
	got, err := lab.ByProcess(&now.Report, pids...)
	if err != nil {
		t.Fatal(err)
	}
	same := make(map[int]lab.Finding)
	for _, f := range got {
		if len(f.Command) > 0 && f.Command[0] == "systemctl" {
			t.Errorf("PID %d lives in another machine's systemd, yet the command is %q", f.PID, f.Command)
		}
		same[f.PID] = f
	}
	for i := range want {
		want[i].Workload, want[i].Command = same[want[i].PID].Workload, same[want[i].PID].Command
	}
	lab.Check(t, &now.Report, pids, want...)
}
