package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/patchsensor/patchsensor/internal/lock"
	"github.com/patchsensor/patchsensor/sensor"
)

// manager is a service manager's end of sd_notify(3).
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return c
}

// told is the next message that the service manager gets.
func told(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// nothing holds that no message waits.
func nothing(t *testing.T, c *net.UnixConn) {
	t.Helper()
	buf := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if n, _, err := syscall.Recvfrom(int(fd), buf, syscall.MSG_DONTWAIT); err == nil {
			t.Errorf("the service manager was told %q", buf[:n])
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// patient is a running sensor that does what it is told.
type patient struct {
	alive, refuses error
	got            chan sensor.LiveOptions
}

func (p *patient) Alive() error { return p.alive }

func (p *patient) Reconfigure(_ context.Context, o sensor.LiveOptions) error {
	p.got <- o
	return p.refuses
}

func TestWatchdog(t *testing.T) {
	c := manager(t)
	logs, seen := observer.New(zapcore.DebugLevel)
	s := &service{log: zap.New(logs)}
	s.watchdog(&patient{})
	if got := told(t, c); got != "WATCHDOG=1" {
		t.Errorf("told %q", got)
	}
	s.watchdog(&patient{alive: errors.New("stuck")})
	nothing(t, c)
	if seen.FilterLevelExact(zapcore.ErrorLevel).Len() != 1 {
		t.Errorf("logged %v", seen.All())
	}

	// It is told again and again, and the end ends it.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.guard(ctx, &patient{}, 2*time.Millisecond); close(done) }()
	for range 3 {
		if got := told(t, c); got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	cancel()
	<-done

	// Without a watchdog there is nothing to wait for.
	s.guard(t.Context(), &patient{}, 0)
}

func TestReload(t *testing.T) {
	c := manager(t)
	logs, seen := observer.New(zapcore.DebugLevel)
	hangups := make(chan os.Signal, 1)
	anew := runOptions{socket: "/new", run: sensor.Options{Live: sensor.LiveOptions{Sweep: time.Hour, Tier: "perf"}}}
	var wrong error
	s := &service{log: zap.New(logs), hangups: hangups, running: "Running", reread: func() (runOptions, error) { return anew, wrong }}
	live := &patient{got: make(chan sensor.LiveOptions, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.tend(ctx, live); close(done) }()
	defer func() { cancel(); <-done }()

	hangups <- syscall.SIGHUP
	reloading := strings.Split(told(t, c), "\n")
	if len(reloading) != 2 || reloading[0] != "RELOADING=1" || !strings.HasPrefix(reloading[1], "MONOTONIC_USEC=") || reloading[1] == "MONOTONIC_USEC=0" {
		t.Errorf("told %q", reloading)
	}
	if got := told(t, c); got != "READY=1\nSTATUS=Running" {
		t.Errorf("told %q", got)
	}
	if o := <-live.got; o.Sweep != time.Hour {
		t.Errorf("reconfigured with %+v", o)
	}
	waiting := seen.FilterMessageSnippet("started again").All()
	if len(waiting) != 1 || !slices.Equal(waiting[0].ContextMap()["keys"].([]any), []any{"socket", "tier"}) {
		t.Errorf("logged %v", seen.All())
	}

	// What is wrong changes nothing, and the reload is over all the same. The
	// status has one line, whatever the error says.
	wrong = errors.New("f:1: no\nREADY=0\x1b")
	hangups <- syscall.SIGHUP
	told(t, c)
	if got := told(t, c); got != `READY=1`+"\n"+`STATUS=Running; the configuration is that of before: f:1: no\x0aREADY=0\x1b` {
		t.Errorf("told %q", got)
	}
	if len(live.got) > 0 {
		t.Error("a wrong configuration was taken over")
	}
	wrong, live.refuses = nil, errors.New("no time")
	hangups <- syscall.SIGHUP
	told(t, c)
	if got := told(t, c); !strings.HasSuffix(got, "before: no time") {
		t.Errorf("told %q", got)
	}
}

// Without a service manager nobody is told, and one that is gone is no reason to
// end.
func TestNobodyToTell(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	logs, seen := observer.New(zapcore.DebugLevel)
	s := &service{log: zap.New(logs)}
	s.ready("x")
	if seen.Len() > 0 {
		t.Errorf("logged %v", seen.All())
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	s.ready("x")
	if seen.Len() != 1 {
		t.Errorf("logged %v", seen.All())
	}
}

// waits is a sensor that runs until it is told to end.
type waits struct {
	failing
	began chan sensor.Options
}

func (w waits) Run(ctx context.Context, o sensor.Options) error {
	w.began <- o
	<-ctx.Done()
	return nil
}

func TestRunEnds(t *testing.T) {
	c := manager(t)
	dir := t.TempDir()
	args := []string{"run", "--config", os.DevNull, "--state-dir", dir + "/state", "--socket", dir + "/s", "--keep-privileges"}
	w := waits{began: make(chan sensor.Options)}
	env := scripted(w)
	var stderr strings.Builder
	env.stderr = &stderr
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- run(ctx, args, env) }()
	o := <-w.began
	if got := told(t, c); got != "STATUS=Starting" {
		t.Errorf("told %q", got)
	}

	// There is one at a time, by the lock before all else.
	var second strings.Builder
	other := scripted(failing{errors.New("must not run")})
	other.stderr = &second
	if got := run(t.Context(), args, other); got != exitUnsure || !strings.Contains(second.String(), lock.ErrHeld.Error()) || !strings.Contains(second.String(), "\nhint: ") {
		t.Errorf("the second one: %d, %q", got, second.String())
	}
	told(t, c) // its start

	if err := o.Live.Attached(); err != nil {
		t.Error(err)
	}
	if got := told(t, c); got != "STATUS=Looking at all that runs" {
		t.Errorf("told %q", got)
	}
	cancel()
	if got := <-code; got != exitFine {
		t.Errorf("exit code %d, %q", got, stderr.String())
	}
	if got := told(t, c); got != "STOPPING=1" {
		t.Errorf("told %q", got)
	}
	if _, err := os.Lstat(dir + "/s"); err == nil {
		t.Error("the socket is left")
	}
	if held, err := lock.Take(dir + "/state/lock"); err != nil {
		t.Errorf("the lock is left: %v", err)
	} else if err := held.Release(); err != nil {
		t.Error(err)
	}
}
