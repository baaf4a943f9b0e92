package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// maxExposure bounds what systemd-analyze(1) reckons the unit exposes, in tenths: most
// services have 96. What is left is what it takes to see other processes and files.
const maxExposure = 40

// config is the packages' configuration file.
const config = "/etc/sensor/sensor.yaml"

// checkUnit holds the installed unit against systemd's own judgement.
func (r root) checkUnit(t *testing.T) {
	t.Helper()
	const unit = "/usr/lib/systemd/system/" + service
	if said := r.run(t, "systemd-analyze", "verify", "--man=no", unit); strings.Contains(said, service) {
		t.Errorf("systemd finds fault with the unit: %s", said)
	}
	r.run(t, "systemd-analyze", "security", "--offline=true", "--threshold="+strconv.Itoa(maxExposure), unit)
}

// TestUnit runs the sensor under the unit, and holds what it holds, makes and sees.
func TestUnit(t *testing.T) {
	lab.Root(t)
	r := newRoot(t)
	r.quietly(t, "dpkg", "--install", r.put(t, pack(t, sensorAt.Path, "v1.0.0").deb))
	r.run(t, "sed", "-i", "s/^socket_group:.*/socket_group: sensor/", config)
	g := r.boot(t)
	// As systemd does it for a machine, but not in what it takes for a container.
	g.run(t, "mount", "--make-rshared", "/")
	g.start(t)
	t.Run("privileges", g.checkPrivileges)
	t.Run("files", g.checkFiles)
	t.Run("sight", g.checkSight)
	t.Run("reload", g.checkReload)
	t.Run("killed", g.checkKilled)
}

// TestIntruder puts something else in the place of the sensor.
func TestIntruder(t *testing.T) {
	lab.Root(t)
	r := newRoot(t)
	r.quietly(t, "dpkg", "--install", r.put(t, pack(t, sensorAt.Path, "v1.0.0").deb))
	build := exec.Command("go", "build", "-o", r.path("/usr/bin/sensor"), "./testdata/intruder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output(t, build)
	g := r.boot(t)
	g.start(t)
	g.checkPrivileges(t)
	g.checkAttempts(t)
}

// start starts the service, which is ready then.
func (g guest) start(t *testing.T) {
	t.Helper()
	if out, err := g.enter("systemctl", "start", service).CombinedOutput(); err != nil {
		t.Fatalf("start: %v\n%s%s", err, out, g.run(t, "journalctl", "--unit", service))
	}
}

// checkPrivileges looks at every thread of the service.
func (g guest) checkPrivileges(t *testing.T) {
	var want uint64
	for _, c := range []int{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_CHECKPOINT_RESTORE} {
		want |= 1 << c
	}
	held := fmt.Sprintf("%016x", want)
	none := fmt.Sprintf("%016x", 0)
	fields := map[string]string{
		"CapInh": none, "CapPrm": held, "CapEff": held, "CapBnd": held, "CapAmb": none,
		"NoNewPrivs": "1", "Seccomp": "2",
	}
	status := g.run(t, "sh", "-c", "cat /proc/"+g.show(t, "MainPID")+"/task/*/status")
	threads := 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		if key == "Pid" {
			threads++
		}
		if want, ok := fields[key]; ok && strings.TrimSpace(value) != want {
			t.Errorf("a thread has %s %s, want %s", key, strings.TrimSpace(value), want)
		}
	}
	if threads < 2 {
		t.Errorf("%d threads seen: %s", threads, status)
	}
}

// checkAttempts holds that nothing that an intruder would want was possible.
func (g guest) checkAttempts(t *testing.T) {
	var said map[string]string
	if err := json.Unmarshal([]byte(read(t, g.path("/var/lib/sensor/attempts.json"))), &said); err != nil {
		t.Fatal(err)
	}
	if len(said) < 20 {
		t.Errorf("only %d attempts", len(said))
	}
	for what, err := range said {
		refused := slices.ContainsFunc([]error{unix.EPERM, unix.EACCES, unix.EROFS, unix.EAFNOSUPPORT}, func(e error) bool {
			return strings.HasSuffix(err, e.Error())
		})
		if !refused {
			t.Errorf("%s: %q, want a refusal", what, err)
		}
	}
}

// checkFiles looks at what systemd and the service made.
func (g guest) checkFiles(t *testing.T) {
	for name, want := range map[string]string{
		"/run/sensor": "755 sensor sensor", "/run/sensor/sensor.sock": "660 sensor sensor",
		"/var/lib/sensor": "750 sensor sensor", "/var/lib/sensor/lock": "600 sensor sensor", "/var/lib/sensor/sensor.db": "600 sensor sensor",
	} {
		if got := strings.TrimSpace(g.run(t, "stat", "--format", "%a %U %G", name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	pid := g.show(t, "MainPID")
	if lock := g.run(t, "cat", "/var/lib/sensor/lock"); strings.TrimSpace(lock) != pid {
		t.Errorf("the lock is held by %q, the service is %s", lock, pid)
	}
	out, err := g.enter("/usr/bin/sensor", "run").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "PID "+pid) {
		t.Errorf("a second instance: %v, %s", err, out)
	}
}

// checkSight replaces programs that run from everywhere and holds that what is seen
// from the sandbox is what is seen from outside.
func (g guest) checkSight(t *testing.T) {
	g.run(t, "mkdir", "-p", "/mnt/later")
	g.run(t, "mount", "-t", "tmpfs", "later", "/mnt/later")
	var pids []int
	surely := make(map[int]string) // those that no rule may leave out
	for i, dir := range []string{"/usr/local/bin", "/opt", "/home", "/root", "/srv", "/var/lib", "/etc", "/mnt/later", "/tmp", "/var/tmp", "/dev/shm", "/run"} {
		program := filepath.Join(dir, "program")
		g.run(t, "cp", "/bin/sleep", program)
		unit := fmt.Sprintf("lab-%d.service", i)
		own := strconv.FormatBool(i%2 == 0) // a mount namespace of its own
		g.run(t, "systemd-run", "--quiet", "--service-type=exec", "--unit", unit, "--property=PrivateMounts="+own, program, "1000")
		pid, err := strconv.Atoi(strings.TrimSpace(g.run(t, "systemctl", "show", "--value", "--property=MainPID", unit)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
		if i < 8 {
			surely[pid] = program
		}
		g.run(t, "cp", "/bin/cat", program+".new")
		g.run(t, "mv", program+".new", program)
	}
	installed := lab.Sensor{Path: "/usr/bin/sensor"}
	outside := installed.StaleBy(t, g.wrapper(), "--source", "maps")
	want, err := lab.ByProcess(&outside.Report, pids...)
	if err != nil {
		t.Fatal(err)
	}
	for pid, program := range surely {
		if !slices.ContainsFunc(want, func(f lab.Finding) bool { return f.PID == pid && f.State == sensor.Stale }) {
			t.Errorf("even from outside, %s is not seen to be stale", program)
		}
	}
	inside := installed.StaleBy(t, g.wrapper(), "--source", "daemon")
	lab.Check(t, &inside.Report, pids, want...)
	if inside.Report.Complete != outside.Report.Complete || len(inside.Report.Warnings) != len(outside.Report.Warnings) {
		t.Errorf("complete %v with warnings %v, from outside %v with %v", inside.Report.Complete, inside.Report.Warnings,
			outside.Report.Complete, outside.Report.Warnings)
	}
}

// checkReload holds that the unit's way to reload reaches the sensor.
func (g guest) checkReload(t *testing.T) {
	before := g.show(t, "MainPID")
	g.run(t, "sed", "-i", "s/^sweep:.*/sweep: 7m/", config)
	g.run(t, "systemctl", "reload", service)
	until(t, "the log says that the configuration was read again", func() bool {
		return strings.Contains(g.run(t, "journalctl", "--unit", service), "7m")
	})
	if g.state() != "active" || g.show(t, "MainPID") != before {
		t.Error("a reload ends the service")
	}
}

// checkKilled holds that a service that was killed comes back.
func (g guest) checkKilled(t *testing.T) {
	before := g.show(t, "MainPID")
	g.run(t, "sh", "-c", "kill -KILL "+before)
	until(t, "another process after one that was killed", func() bool {
		now := g.show(t, "MainPID") // 0 for none
		return now != "0" && now != before && g.state() == "active"
	})
}
