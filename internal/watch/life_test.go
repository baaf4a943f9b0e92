package watch

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Settle: -1}, {Sweep: -1}, {Settle: time.Hour}, {MaxWait: time.Millisecond}} {
		if _, err := New(o, nil); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	w, err := New(Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := w.opts; o.Settle <= 0 || o.MaxWait <= o.Settle || o.Poll <= 0 || o.Sweep <= 0 {
		t.Errorf("standard times %+v", o)
	}
	if err := w.notifier.close(); err != nil {
		t.Error(err)
	}
}

func TestAddRemove(t *testing.T) {
	w := newWorld(t, quick)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()

	good := Target{Name: "a", Root: w.root, Paths: []string{dbDir + "/status"}}
	for _, bad := range []Target{{}, {Name: "a", Root: "/"}, {Name: "a", Paths: good.Paths}, {Root: "/", Paths: good.Paths}} {
		if err := w.Add(ctx, bad); !errors.Is(err, ErrTarget) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	missing := good
	missing.Root += "/missing"
	if err := w.Add(ctx, missing); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	w.add(good) // the name is free
	if err := w.Add(ctx, good); !errors.Is(err, ErrTwice) {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	other := good
	other.Name = "b"
	if err := w.Add(gone, other); err != nil && !errors.Is(err, context.Canceled) { // the look may be first
		t.Error(err)
	}
	w.Remove("b")
	w.Remove("nobody")
	w.told(func() { w.rename(dbDir+"/status", "a") })

	w.Remove("a")
	w.until("no watch is left", func() bool {
		w.notifier.mu.Lock()
		defer w.notifier.mu.Unlock()
		return len(w.notifier.watches) == 0 && len(w.notifier.subscribers) == 0
	})
	w.rename(dbDir+"/status", "nobody is told")
	w.add(good)
	w.told(func() { w.rename(dbDir+"/status", "b") })

	w.rename(dbDir+"/status", "told to nobody") // does not keep it from ending
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := w.Add(t.Context(), good); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}

// TestStuck: a target whose file system does not answer holds up neither the
// others nor the end.
func TestStuck(t *testing.T) {
	w := newWorld(t, quick)
	answer := make(chan struct{})
	defer close(answer)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	asked := make(chan struct{}, 1)
	other := t.TempDir()
	w.add(Target{Name: "stuck", Busy: func() (bool, error) { asked <- struct{}{}; <-answer; return false, nil }})
	w.add(Target{Name: "other", Root: other, Paths: []string{"status"}})
	w.rename(dbDir+"/status", "a")
	<-asked
	w.must(os.WriteFile(other+"/status", nil, 0o644))
	if c := w.next(); c.Target != "other" {
		t.Errorf("told of %q", c.Target)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not end")
	}
}

// TestPace: a target of which there is always something to notice is looked at no
// more often than it is polled.
func TestPace(t *testing.T) {
	w := newWorld(t, quick)
	begin := time.Now()
	w.add(Target{})
	w.mu.Lock()
	sub := w.keepers["dpkg"].sub
	w.mu.Unlock()
	w.start()
	w.until("looks", func() bool {
		for range 100 {
			sub.ring(notice{})
		}
		return w.Stats().Looks > 10
	})
	if looks, most := w.Stats().Looks, 2+uint64(time.Since(begin)/quick.Poll); looks > most {
		t.Errorf("%d looks, want at most %d: one in %v", looks, most, quick.Poll)
	}
}

// limitEnv says which limit the test binary, run again, is to be put under.
const limitEnv = "WATCH_TEST_LIMIT"

// TestLimits: where the kernel gives no instance or no watches, changes are found
// by polling, and it is said once. The limits are those of a user namespace of
// its own, so that no other program suffers.
func TestLimits(t *testing.T) {
	if limit := os.Getenv(limitEnv); limit != "" {
		underLimit(t, limit)
		return
	}
	for _, limit := range []string{"max_inotify_instances", "max_inotify_watches"} {
		t.Run(limit, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestLimits$", "-test.v")
			cmd.Env = append(os.Environ(), limitEnv+"="+limit)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  unix.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestLimits") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func underLimit(t *testing.T, limit string) {
	// One watch is for the root, so that some of the way is watched.
	if err := os.WriteFile("/proc/sys/user/"+limit, []byte(map[string]string{"max_inotify_instances": "0", "max_inotify_watches": "1"}[limit]), 0); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	opts := quick
	opts.Sweep = 20 * time.Millisecond
	watcher, err := New(opts, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{watcher, t, t.TempDir()}
	w.write(dbDir+"/status", "")
	w.add(Target{})
	w.add(Target{Name: "another"})
	w.start()
	for i := range 3 {
		w.rename(dbDir+"/status", strings.Repeat("x", i))
		told := map[string]bool{w.next().Target: true}
		for len(told) < 2 {
			told[w.next().Target] = true
		}
	}
	if s := w.Stats(); s.Failures == 0 || s.Unannounced == 0 {
		t.Errorf("%+v", s)
	}
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].ContextMap()["error"].(string), "inotify") {
		t.Errorf("logged %v", logs.All())
	}
}
