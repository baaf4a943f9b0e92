package sinktest

import (
	"context"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// Sink is a sensor.Sink that can be given a Live of this package.
type Sink interface {
	Name() string
	Run(ctx context.Context, l *Live) error
}

// patience is how long a test waits before it takes something for hung.
const patience = 30 * time.Second

// Run holds a sink to the contract. fresh makes one that has not run yet.
func Run(t *testing.T, fresh func(t *testing.T) Sink) {
	t.Run("name", func(t *testing.T) {
		// It stands in logs, metrics and configurations.
		if name := fresh(t).Name(); !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(name) {
			t.Errorf("the name %q is not a word", name)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		ended(t, fresh(t), &Live{}, func() {})
	})
	t.Run("ends when its context has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := wait(t, start(ctx, fresh(t), &Live{})); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("ends amid events", func(t *testing.T) {
		l := &Live{}
		for range 1000 {
			l.Emit(sensor.Event{Type: sensor.EventPatch, Patch: &sensor.Patch{}})
		}
		ended(t, fresh(t), l, func() {
			for range 1000 {
				l.Emit(sensor.Event{Type: sensor.EventPatch, Patch: &sensor.Patch{}})
			}
		})
	})
	t.Run("outlives events that are gone", func(t *testing.T) {
		l := &Live{}
		ended(t, fresh(t), l, func() {
			for range 100 {
				l.Forget(l.Emit(sensor.Event{Type: sensor.EventGap, Gap: &sensor.Gap{}}))
			}
		})
	})
}

// ended holds that a sink runs on while something happens, returns no error when
// its context ends after that, and leaves no goroutine behind.
func ended(t *testing.T, s Sink, l *Live, happens func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := start(ctx, s, l)
	happens()
	select {
	case err := <-done:
		t.Fatalf("Run returned %v before its context ended", err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if err := wait(t, done); err != nil {
		t.Errorf("Run: %v", err)
	}
	for give := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func start(ctx context.Context, s Sink, l *Live) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	return done
}

func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("Run does not return")
		return nil
	}
}
