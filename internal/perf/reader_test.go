package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLost lets a process write far more than the rings hold while nobody reads,
// and holds that the loss is known at once, is complete, and passes.
func TestLost(t *testing.T) {
	const storm = 3000
	name := code(t, t.TempDir(), "lib")
	r := open(t, Options{Pages: 1})
	pid, _ := run(t, self(fmt.Sprintf("repeat=%d:%s", storm, name)))
	var maps, lost uint64
	for _, rec := range r.Drain(nil, math.MaxInt64) {
		switch {
		case rec.Kind == Lost:
			lost += rec.Lost
		case rec.PID == pid && rec.Name == name:
			maps++
		}
	}
	first := r.Stats()
	if maps >= storm || lost != first.Lost || maps+lost < storm {
		t.Errorf("of %d Maps got %d, lost %d, %+v", storm, maps, lost, first)
	}

	// The records that tell of the loss come now, and add nothing to it.
	quiet := 0
	for range 20 {
		before := r.Stats()
		pid, _ := run(t, self("exec="+name))
		records := r.Drain(nil, math.MaxInt64)
		after := r.Stats()
		if after.Lost < before.Lost {
			t.Fatalf("%+v\nafter %+v", after, before)
		}
		var found, gaps int
		for _, rec := range records {
			switch {
			case rec.Kind == Lost:
				gaps++
			case rec.PID == pid && rec.Name == name:
				found++
			}
		}
		if found == 0 && gaps == 0 {
			t.Fatal("a mapping and no loss told")
		}
		if found == 1 && gaps == 0 {
			quiet++
		}
	}
	if quiet == 0 {
		t.Error("the reader did not recover")
	}
}

// TestCounts holds that the event's own account and PERF_RECORD_LOST agree.
func TestCounts(t *testing.T) {
	name := code(t, t.TempDir(), "lib")
	r := open(t, Options{Pages: 1})
	if !r.rings[0].counting {
		t.Skip("events do not count losses before Linux 6.0")
	}
	for _, g := range r.rings {
		run(t, self(fmt.Sprintf("cpu=%d", g.cpu), "repeat=1000:"+name))
	}
	r.Drain(nil, math.MaxInt64)
	for _, g := range r.rings {
		if g.counted == 0 || g.told > g.counted {
			t.Errorf("CPU %d: counted %d, told %d", g.cpu, g.counted, g.told)
		}
		counted := g.counted
		run(t, self(fmt.Sprintf("cpu=%d", g.cpu), "exec="+name))
		r.Drain(nil, math.MaxInt64)
		if g.told < counted {
			t.Errorf("CPU %d: counted %d, told %d later", g.cpu, counted, g.told)
		}
	}
}

func TestWait(t *testing.T) {
	name := code(t, t.TempDir(), "lib")
	r := open(t, Options{Pages: 4})
	r.Drain(nil, math.MaxInt64)
	if err := r.Wait(t.Context(), time.Millisecond); err != nil {
		t.Errorf("after a while: %v", err)
	}
	if err := r.Wait(t.Context(), -1); err != nil {
		t.Errorf("at once: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	for ctx.Err() == nil {
		// Other processes may fill the rings meanwhile.
		if err := r.Wait(ctx, deadline); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		r.Drain(nil, math.MaxInt64)
	}
	if err := r.Wait(ctx, deadline); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}

	// Each storm fills a quarter of a ring many times over.
	for range 5 {
		c := start(t, self("wait", "repeat=500:"+name))
		c.until(t, "waiting")
		r.Drain(nil, math.MaxInt64)
		fmt.Fprintln(c.in)
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		if err := r.Wait(ctx, 2*deadline); err != nil {
			t.Fatalf("a filled ring: %v", err)
		}
		cancel()
		c.end(t)
	}
}

// TestRefresh holds that a dead event is replaced, as those are of a CPU that went
// and came back, that what it holds is not lost, and that a CPU that went is left.
func TestRefresh(t *testing.T) {
	name := code(t, t.TempDir(), "lib")
	r := open(t, Options{})
	if n, err := r.Refresh(); n != 0 || err != nil {
		t.Errorf("nothing changed: %d, %v", n, err)
	}
	watched, g := len(r.rings), r.rings[0]
	where := fmt.Sprintf("cpu=%d", g.cpu)
	pid, _ := run(t, self(where, "exec="+name))
	// A disabled event stops counting time, as that of an offline CPU does.
	if err := unix.IoctlSetInt(g.fd, unix.PERF_EVENT_IOC_DISABLE, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Refresh(); n != 1 || err != nil || len(r.rings) != watched+1 {
		t.Errorf("a dead event: %d, %v, %d rings", n, err, len(r.rings))
	}
	if m := named(of(r, pid), Map, name); len(m) != 1 || len(r.rings) != watched {
		t.Errorf("%+v, %d rings", m, len(r.rings))
	}
	pid, _ = run(t, self(where, "exec="+name))
	if m := named(of(r, pid), Map, name); len(m) != 1 {
		t.Errorf("%+v", m)
	}
	if n, err := r.Refresh(); n != 0 || err != nil {
		t.Errorf("nothing changed again: %d, %v", n, err)
	}
	r.rings[0].cpu = 1 << 20 // such as is not online
	if n, err := r.Refresh(); n != 1 || err != nil {
		t.Errorf("a CPU came: %d, %v", n, err)
	}
	r.Drain(nil, math.MaxInt64)
	if len(r.rings) != watched || r.Stats().Rings != watched {
		t.Errorf("%d rings, %d before", len(r.rings), watched)
	}
}

// TestClose holds that nothing is left of a Reader.
func TestClose(t *testing.T) {
	used := func() (fds, maps int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), bytes.Count(b, []byte("[perf_event]"))
	}
	open(t, Options{}).Close() // the runtime opens its own poller with the first
	fds, maps := used()
	for range 20 {
		r := open(t, Options{Tasks: true})
		if f, m := used(); f <= fds || m <= maps {
			t.Fatalf("%d descriptors, %d mappings while open", f, m)
		}
		waits := make(chan error)
		go func() {
			for {
				if err := r.Wait(context.Background(), time.Hour); err != nil {
					waits <- err
					return
				}
				r.Drain(nil, math.MaxInt64)
			}
		}()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-waits:
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("Wait: %v", err)
			}
		case <-time.After(deadline):
			t.Fatal("Wait goes on")
		}
		if got := r.Drain(nil, math.MaxInt64); len(got) > 0 {
			t.Errorf("drained %+v", got)
		}
		if _, err := r.Refresh(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Refresh: %v", err)
		}
		if err := r.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("again: %v", err)
		}
		if s := r.Stats(); s.Rings != 0 || s.Bytes != 0 {
			t.Errorf("%+v", s)
		}
	}
	if f, m := used(); f != fds || m != maps {
		t.Errorf("%d descriptors and %d mappings, %d and %d before", f, m, fds, maps)
	}
}

func TestOptions(t *testing.T) {
	for _, pages := range []int{-1, 3, 129} {
		if r, err := Open(Options{Pages: pages}); err == nil {
			r.Close()
			t.Errorf("%d pages", pages)
		}
	}
}
