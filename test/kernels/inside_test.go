package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// tiers are the values of --tier but for auto and poll, which sees nothing.
var tiers = []string{"lsm", "fentry", "kprobe", "perf", "syscall", "exec"}

// capabilities are all that a sensor that runs may keep.
var capabilities = []int{unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE, unix.CAP_PERFMON, unix.CAP_BPF, unix.CAP_CHECKPOINT_RESTORE}

// TestInsideDoctor holds that the sensor knows what it has, and says what it takes.
func TestInsideDoctor(t *testing.T) {
	r := lab.Run(t, sensorAt.Path, "doctor", "-o", "json")
	var d sensor.Diagnosis
	if err := json.Unmarshal(r.Stdout, &d); err != nil {
		t.Fatalf("%v\n%s%s", err, r.Stdout, r.Stderr)
	}
	release := strings.TrimSpace(lab.Output(t, "uname", "-r"))
	if d.Kernel != release || !d.BTF || len(d.Sources) != len(lab.Sources) {
		t.Errorf("%+v", d)
	}
	first := slices.IndexFunc(d.Sources, func(c sensor.Check) bool { return c.OK })
	if first < 0 || d.Sources[first].Name != d.Source {
		t.Errorf("%q is taken of %+v", d.Source, d.Sources)
	}
}

// TestInsideSource looks once, by each source. One that the kernel cannot have is
// skipped; whether that is right is judged outside.
func TestInsideSource(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	pids, want := w.expected(t)
	w.upgrade(t)
	for _, source := range lab.Sources {
		t.Run(source, func(t *testing.T) {
			r := lab.Run(t, sensorAt.Path, "stale", "-o", "json", "--source", source)
			if r.Exit == lab.ExitUnknown && len(r.Stdout) == 0 {
				t.Skipf("SKIPPED, NOT TESTED: %s", r.Stderr)
			}
			got := sensorAt.Stale(t, "--source", source)
			lab.Check(t, &got.Report, pids, want...)
		})
	}
}

// TestInsideTier runs the sensor by each tier, which it proves to itself by a mapping
// of its own, and lets code go stale under it when it has given up its privileges.
func TestInsideTier(t *testing.T) {
	for _, tier := range tiers {
		t.Run(tier, func(t *testing.T) {
			w := newWorld(t)
			r := launch(t, w, nil, "--tier", tier)
			if got := r.State(t).Tracking.Tier; got != tier {
				t.Errorf("runs by %s", got)
			}
			w.follow(t, r)
		})
	}
}

// TestInsideTaken says what is taken when nothing is asked for, and holds that each of
// the tiers is said to work or why not.
func TestInsideTaken(t *testing.T) {
	w := newWorld(t)
	r := launch(t, w, nil)
	tracking := r.State(t).Tracking
	t.Logf("TAKEN %s %s", tracking.Tier, tracking.Source)
	for i, check := range tracking.Tiers {
		if check.Name != tiers[i] || check.OK != (check.Name == tracking.Tier) || check.Found == "" {
			t.Errorf("tier %d: %+v", i, check)
		}
	}
	w.follow(t, r)
}

// TestInsideConfined is the same for a sensor that never had other capabilities.
func TestInsideConfined(t *testing.T) {
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, w, []string{"env", roleEnv + "=" + roleConfined, self})
	tracking := r.State(t).Tracking
	t.Logf("CONFINED %s %s", tracking.Tier, tracking.Source)
	w.follow(t, r)
}

// launch starts a sensor and waits until it is ready. Where it cannot run as it is
// asked to, the test is skipped.
func launch(t *testing.T, w *world, via []string, args ...string) *lab.Running {
	t.Helper()
	socket, state := filepath.Join(w.dir, "socket"), filepath.Join(w.dir, "state")
	args = append([]string{"--socket", socket, "--state-dir", state, "--sweep", "1h", "--log-level", "info"}, args...)
	r := sensorAt.Launch(t, lab.RunCommand{Via: via, Args: args, Socket: socket})
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(10 * time.Millisecond) {
		if status, err := r.Status(t.Context()); err == nil && status.Ready {
			break
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID)); errors.Is(err, os.ErrNotExist) {
			t.Skipf("SKIPPED, NOT TESTED: the sensor ended:\n%s", r.Log())
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after %v:\n%s", lab.Patience, r.Log())
		}
	}
	privileges(t, r.PID)
	return r
}

// privileges holds that a process has the capabilities and no others.
func privileges(t *testing.T, pid int) {
	t.Helper()
	var want uint64
	for _, c := range capabilities {
		want |= 1 << c
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%q, %v", tasks, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) != 2 || !slices.Contains([]string{"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"}, f[0]) {
				continue
			}
			wanted := want
			if f[0] == "CapInh:" || f[0] == "CapAmb:" {
				wanted = 0
			}
			if got, err := strconv.ParseUint(f[1], 16, 64); err != nil || got != wanted {
				t.Errorf("%s: %s %s; want %016x", task, f[0], f[1], wanted)
			}
		}
	}
}

// The test binary is its own wrapper: roleEnv says what it does before it becomes the
// program in its arguments.
const (
	roleEnv      = "SENSOR_KERNELS_ROLE"
	roleConfined = "confined"
)

// play returns only with an error.
func play(role string) error {
	if role != roleConfined {
		return fmt.Errorf("no such role %q", role)
	}
	// The bounding set is this thread's, and after execve there is no other.
	runtime.LockOSThread()
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	if err != nil {
		return err
	}
	for c := range n + 1 {
		if slices.Contains(capabilities, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	// As deploy/systemd/sensor.service does: before Linux 5.11 maps are charged to it.
	unlimited := &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, unlimited); err != nil {
		return err
	}
	argv := os.Args[1:]
	return syscall.Exec(argv[0], argv, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"})
}
