package lab

import (
	"bytes"
	"context"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// Patience is how long the labs wait for what is to come about by itself, on a
// machine that has other things to do.
const Patience = 60 * time.Second

// Until waits for a condition.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}

// Running is a "sensor run" of the lab.
type Running struct {
	*sensor.Client
	PID int
	// Socket is where it listens, as seen from here.
	Socket string
	// Began and Ready bound the time until it was ready.
	Began, Ready time.Time

	cmd   *exec.Cmd
	log   *Log
	ended chan struct{} // closed after Wait
}

// RunCommand says how to start a sensor that runs.
type RunCommand struct {
	Via    []string // a command that becomes the sensor, such as Host.Via
	Args   []string // after "run"
	Socket string   // where it will listen, as seen from here
}

// Log is what a process has said so far.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Start starts a sensor and waits until it is ready. It is stopped with the test,
// which fails if it crashes.
func (s Sensor) Start(t testing.TB, c RunCommand) *Running {
	t.Helper()
	r := s.Launch(t, c)
	for deadline := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		r.check(t)
		if status, err := r.Status(t.Context()); err == nil && status.Ready {
			break
		}
		if time.Now().After(deadline) {
			r.dump()
			t.Fatalf("the sensor is not ready after %v", Patience)
		}
	}
	r.Ready = time.Now()
	return r
}

// Launch starts a sensor and does not wait for it.
func (s Sensor) Launch(t testing.TB, c RunCommand) *Running {
	t.Helper()
	argv := slices.Concat(c.Via, []string{s.Path, "run"}, c.Args)
	r := &Running{
		Client: sensor.NewClient(c.Socket), Socket: c.Socket, Began: time.Now(),
		cmd: exec.Command(argv[0], argv[1:]...), log: new(Log), ended: make(chan struct{}),
	}
	// Not the test's: a configuration, a terminal, a service manager.
	r.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.PID = r.cmd.Process.Pid
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.Stop(t)
		if t.Failed() {
			said := r.Log()
			t.Logf("the sensor, PID %d, said:\n%s", r.PID, said[max(0, len(said)-20000):])
		}
	})
	return r
}

// check ends the test when the sensor has ended although nobody told it to.
func (r *Running) check(t testing.TB) {
	t.Helper()
	select {
	case <-r.ended:
		t.Fatalf("the sensor ended: %v", r.cmd.ProcessState)
	default:
	}
}

// Log is what the sensor has said so far.
func (r *Running) Log() string { return r.log.String() }

// Stop ends the sensor as a service manager does. One that has ended stays so.
func (r *Running) Stop(t testing.TB) {
	t.Helper()
	select {
	case <-r.ended:
		return
	default:
	}
	r.Signal(t, syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(Patience):
		r.dump()
		t.Errorf("the sensor did not end for %v", Patience)
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the sensor, told to end, ended with %v", r.cmd.ProcessState)
	}
	r.sane(t)
}

// dump ends a sensor that hangs, which says where.
func (r *Running) dump() {
	_ = r.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-r.ended:
	case <-time.After(5 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
}

// Kill ends the sensor as nothing announces it. One that has been killed already, by
// KillAfter, is waited for.
func (r *Running) Kill(t testing.TB) {
	t.Helper()
	_ = r.cmd.Process.Kill()
	<-r.ended
	if status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("the sensor, to be killed, ended with %v", r.cmd.ProcessState)
	}
	r.sane(t)
}

// KillAfter kills the sensor in a while. Kill then waits for it.
func (r *Running) KillAfter(d time.Duration) {
	time.AfterFunc(d, func() { _ = r.cmd.Process.Kill() })
}

// Signal sends a signal.
func (r *Running) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Errorf("signal %v: %v", s, err)
	}
}

// sane holds that there is neither a crash nor a data race in the log.
func (r *Running) sane(t testing.TB) {
	t.Helper()
	for _, word := range []string{"goroutine ", "DATA RACE", "fatal error", "panic"} {
		if strings.Contains(r.Log(), word) {
			t.Errorf("the sensor crashed: there is %q in its log", word)
			return
		}
	}
}

// Ask is the report that the sensor gives at once.
func (r *Running) Ask(t testing.TB) *sensor.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	began := time.Now()
	report, err := r.Stale(ctx, false)
	if err != nil {
		t.Fatalf("the sensor was asked: %v", err)
	}
	if report.Source != "daemon" || report.ScannedAt.Before(began.Add(-time.Second)) {
		t.Errorf("asked at %v, the answer is of %v from source %q", began, report.ScannedAt, report.Source)
	}
	return report
}

// State is how the sensor says that it is doing.
func (r *Running) State(t testing.TB) *sensor.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	status, err := r.Status(ctx)
	if err != nil {
		t.Fatalf("the sensor's status: %v", err)
	}
	if status.PID != r.PID {
		t.Errorf("the sensor is PID %d and says %d", r.PID, status.PID)
	}
	return status
}

// Lost is how much the sensor says that it did not see or keep, by the names
// given or, without one, altogether.
func Lost(s *sensor.Status, names ...string) (n uint64) {
	for _, c := range s.Losses {
		if len(names) == 0 || slices.Contains(names, c.Name) {
			n += c.Count
		}
	}
	return n
}

// Refused starts a sensor that is not to come up, and returns what it said.
func (s Sensor) Refused(t testing.TB, c RunCommand) Result {
	t.Helper()
	r := Run(t, slices.Concat(c.Via, []string{s.Path, "run"}, c.Args)...)
	if r.Exit == 0 {
		t.Errorf("the sensor came up and ended without a word")
	}
	return r
}
