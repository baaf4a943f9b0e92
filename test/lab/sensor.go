package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
)

// The exit codes of a query.
const (
	ExitClean   = 0 // nothing is stale
	ExitStale   = 1 // something is stale or missing
	ExitUsage   = 2
	ExitUnknown = 3 // could not tell
)

// Sources are the values of --source that read the mappings themselves.
var Sources = []string{"bpf", "procmap", "maps"}

// Sensor is a built sensor binary.
type Sensor struct{ Path string }

// NewSensor is the binary that SENSOR_BIN names or, without one, is built from
// this checkout into dir.
func NewSensor(dir string) (Sensor, error) {
	if name := os.Getenv("SENSOR_BIN"); name != "" {
		abs, err := filepath.Abs(name)
		if err != nil {
			return Sensor{}, err
		}
		if _, err := os.Stat(abs); err != nil {
			return Sensor{}, fmt.Errorf("SENSOR_BIN: %w", err)
		}
		return Sensor{abs}, nil
	}
	out := filepath.Join(dir, "sensor")
	cmd := exec.Command("go", "build", "-o", out, "github.com/patchsensor/patchsensor/cmd/sensor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return Sensor{}, fmt.Errorf("build sensor: %w\n%s", err, msg)
	}
	return Sensor{out}, nil
}

// Result is one run of the sensor.
type Result struct {
	Report sensor.Report
	Exit   int
	Stdout []byte
	Stderr string
	Began  time.Time
	Ended  time.Time
}

// Stale runs "sensor stale -o json" with further arguments and checks what has
// to hold of every report.
func (s Sensor) Stale(t testing.TB, args ...string) Result {
	t.Helper()
	return s.StaleBy(t, nil, args...)
}

// StaleBy is Stale through a wrapper such as nsenter or chroot, whose arguments
// come before the sensor's own path.
func (s Sensor) StaleBy(t testing.TB, wrapper []string, args ...string) Result {
	t.Helper()
	argv := append(append([]string{}, wrapper...), s.Path, "stale", "-o", "json")
	r := Run(t, append(argv, args...)...)
	if err := r.decode(); err != nil {
		t.Fatalf("%q, exit code %d: %v\n%s", args, r.Exit, err, r.Stderr)
	}
	if err := r.check(); err != nil {
		t.Errorf("%q: report contradicts itself: %v\n%s", args, err, r.Stdout)
	}
	return r
}

// runTimeout bounds one run of the sensor, which takes a fraction of a second.
const runTimeout = time.Minute

// Run runs a command of the sensor, whatever its exit code. One that crashes,
// or hangs and then is made to print its stacks, ends the test.
func Run(t testing.TB, argv ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r := Result{Began: time.Now()}
	err := cmd.Run()
	r.Ended = time.Now()
	if ctx.Err() != nil {
		t.Fatalf("%q hung for %v: %v\n%s", argv, runTimeout, err, stderr.String())
	}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%q: %v", argv, err)
	}
	r.Exit, r.Stdout, r.Stderr = cmd.ProcessState.ExitCode(), stdout.Bytes(), stderr.String()
	if strings.Contains(r.Stderr, "goroutine ") || r.Exit < 0 {
		t.Fatalf("%q crashed: %v\n%s", argv, cmd.ProcessState, r.Stderr)
	}
	return r
}

func (r *Result) decode() error {
	dec := json.NewDecoder(bytes.NewReader(r.Stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r.Report); err != nil {
		return fmt.Errorf("no report: %w", err)
	}
	if dec.More() {
		return errors.New("more than one document")
	}
	return nil
}

// check holds a report against what every report promises.
func (r *Result) check() error {
	p := &r.Report
	count := sensor.Summary{Processes: p.Summary.Processes, Workloads: p.Summary.Workloads}
	seen := make(map[string]bool)
	for i := range p.Findings {
		f := &p.Findings[i]
		if f.ID == "" || seen[f.ID] {
			return fmt.Errorf("finding ID %q is empty or not the only one", f.ID)
		}
		seen[f.ID] = true
		countFinding(&count, f)
		if f.Packages == nil || f.Processes == nil || f.Remedy.Command == nil {
			return fmt.Errorf("finding %s has null for a list", f.ID)
		}
	}
	want := ExitClean
	switch {
	case count.Stale+count.Missing > 0:
		want = ExitStale
	case count.Unknown > 0 || !p.Complete:
		want = ExitUnknown
	}
	switch {
	case p.Schema != sensor.Schema:
		return fmt.Errorf("schema is %q", p.Schema)
	case p.Findings == nil || p.Gaps == nil || p.Warnings == nil:
		return errors.New("null for a list")
	case count != p.Summary:
		return fmt.Errorf("summary is %+v, findings count %+v", p.Summary, count)
	case r.Exit != want && !(want == ExitUnknown && r.Exit == ExitClean && count.Unknown == 0):
		return fmt.Errorf("exit code is %d, findings want %d", r.Exit, want)
	case p.ScannedAt.Before(r.Began.Add(-time.Second)) || p.ScannedAt.After(r.Ended):
		return fmt.Errorf("scanned at %v, ran from %v to %v", p.ScannedAt, r.Began, r.Ended)
	case p.ScannedAt.Location() != time.UTC:
		return fmt.Errorf("scanned_at is not in UTC: %v", p.ScannedAt)
	}
	return nil
}

func countFinding(s *sensor.Summary, f *sensor.Finding) {
	switch f.State {
	case sensor.Stale:
		s.Stale++
	case sensor.Missing:
		s.Missing++
	case sensor.Unknown:
		s.Unknown++
	}
	switch f.Remedy.Action {
	case sensor.Restart:
		s.Restart++
	case sensor.Redeploy:
		s.Redeploy++
	case sensor.Reboot:
		s.Reboot++
	case sensor.Reload:
		s.Reload++
	}
}

// EachSource runs f as one subtest per source of mappings. A source is left
// out, and that said aloud, only where this kernel cannot have it.
func EachSource(t *testing.T, f func(t *testing.T, source string)) {
	t.Helper()
	for _, source := range Sources {
		t.Run(source, func(t *testing.T) {
			if why := cannot(source); why != "" {
				t.Skipf("SKIPPED, NOT TESTED: --source %s: %s", source, why)
			}
			f(t, source)
		})
	}
}

// cannot says why this machine cannot have a source, judged without the
// sensor; empty when it can.
func cannot(source string) string {
	switch source {
	case "bpf":
		// The iterator came with Linux 5.12; its BTF names it
		// (DEFINE_BPF_ITER_FUNC(task_vma, …) in kernel/bpf/task_iter.c).
		btf, err := os.ReadFile("/sys/kernel/btf/vmlinux")
		if err != nil {
			return err.Error()
		}
		if !bytes.Contains(btf, []byte("bpf_iter_task_vma\x00")) {
			return "the kernel has no iter/task_vma"
		}
		if lockdown, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil && bytes.Contains(lockdown, []byte("[confidentiality]")) {
			return "the kernel is locked down"
		}
	case "procmap":
		// PROCMAP_QUERY came with Linux 6.11 (ed5d583a88a9).
		if !kernelAtLeast(6, 11) {
			return "the kernel is older than 6.11"
		}
	}
	return ""
}

func kernelAtLeast(major, minor int) bool {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}
