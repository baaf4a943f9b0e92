package probe_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// TestRate holds that a process which maps without end is only marked, and that
// this is told.
func TestRate(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		const rate, files = 20, 60
		tr := openTracer(t, probe.TracerOptions{Tier: tier, Rate: rate}).run()
		c := startObedient(t, self(childObeys))
		pid := c.Process.Pid
		for _, name := range code(t, files) {
			c.do(t, "map", name)
		}
		events := tr.of(pid)
		told, limited := count(events, trace.Map), tr.lost()[probe.LostRate]
		// More than a second may have passed, and another second begun.
		if told >= files || limited == 0 {
			t.Errorf("%d of %d told, %d limited", told, files, limited)
		}
		if !tr.isDirty(pid) {
			t.Error("not marked")
		}
		// Others are told of.
		other := startObedient(t, self(childObeys))
		name := code(t, 1)[0]
		other.do(t, "map", name)
		if got := mapsOf(t, tr.of(other.Process.Pid), name); len(got) != 1 {
			t.Errorf("another process: %+v", got)
		}
	})
}

// burst starts n children that live on, and more than fit into a small ring that do
// not, and returns the numbers of the former.
func burst(t *testing.T, n int) []int {
	t.Helper()
	short, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for range n {
		c := startObedient(t, self(childObeys))
		pids = append(pids, c.Process.Pid)
		for range 5 {
			if err := exec.Command(short).Run(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return pids
}

// TestSmallRing holds that nothing is lost without a mark on the process, and that
// losses are told.
func TestSmallRing(t *testing.T) {
	for _, tier := range append(seeing(t), probe.TierExec) {
		t.Run(tier, func(t *testing.T) {
			tr := openTracer(t, probe.TracerOptions{Tier: tier, RingBytes: os.Getpagesize()})
			var pids, dirty []int
			for complete := false; !complete; {
				before := tr.Stats().Lost[probe.LostNested]
				tr.TakeDirty()
				pids = burst(t, 4) // nobody reads
				dirty, complete = tr.TakeDirty()
				// A program that was preempted is skipped by others.
				if !complete && tr.Stats().Lost[probe.LostNested] == before {
					t.Fatalf("marks are not complete: %+v", tr.Stats())
				}
			}
			stats := tr.Stats()
			for _, why := range []string{probe.LostRingFork, probe.LostRingExec, probe.LostRingExit} {
				if stats.Lost[why] == 0 {
					t.Errorf("%s: nothing lost of %+v", why, stats.Observed)
				}
			}
			tr.run()
			events := tr.all()
			for _, pid := range pids {
				if !slices.Contains(dirty, pid) {
					t.Errorf("process %d is not marked, and told is %v", pid, kinds(tr.of(pid)))
				}
			}
			lost := tr.lost()
			for why, n := range tr.Stats().Lost {
				if lost[why] > n || stats.Lost[why] > lost[why] {
					t.Errorf("%s: %d told, %d counted", why, lost[why], n)
				}
			}
			if count(events, trace.Fork)+count(events, trace.Exec) == 0 {
				t.Error("nothing was told")
			}
			// Room was made.
			c := startObedient(t, self(childObeys))
			c.do(t, "read", code(t, 1)[0])
			if got := tr.of(c.Process.Pid); count(got, trace.Fork) != 1 {
				t.Errorf("later process: %+v", got)
			}
		})
	}
}

// TestSmallSideband is the same for the rings of performance events, whose losses
// leave no mark.
func TestSmallSideband(t *testing.T) {
	if !slices.Contains(seeing(t), probe.TierPerf) {
		t.Skip("no side band")
	}
	tr := openTracer(t, probe.TracerOptions{Tier: probe.TierPerf, PerfPages: 1})
	if _, complete := tr.TakeDirty(); !complete {
		t.Error("incomplete from the beginning")
	}
	burst(t, 10)
	tr.run()
	if lost := tr.lost(); lost[probe.LostPerf] == 0 {
		t.Errorf("%+v of %+v", lost, tr.Stats())
	}
	if _, complete := tr.TakeDirty(); complete {
		t.Error("losses without a mark, and the marks are complete")
	}
	if _, complete := tr.TakeDirty(); !complete {
		t.Error("still incomplete")
	}
}

// TestFewMarks holds that it is said when there are more processes than marks.
func TestFewMarks(t *testing.T) {
	for _, tier := range append(seeing(t), probe.TierExec) {
		t.Run(tier, func(t *testing.T) {
			tr := openTracer(t, probe.TracerOptions{Tier: tier, Marks: 2}).run()
			tr.TakeDirty()
			burst(t, 3)
			if lost := tr.lost(); lost[probe.LostMark] == 0 {
				t.Errorf("%+v", lost)
			}
			if pids, complete := tr.TakeDirty(); complete || len(pids) == 0 {
				t.Errorf("%v of three, complete", pids)
			}
		})
	}
}

// TestSync holds that Sync gives up with its context, and that Run says why it
// ended.
func TestSync(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("tracing needs root")
	}
	tr := openTracer(t, probe.TracerOptions{Tier: probe.TierExec, RingBytes: os.Getpagesize()})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	for range 2 {
		if err := tr.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	burst(t, 10)
	if err := tr.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a full ring: %v", err)
	}
	if err := tr.Run(ctx, tr.deliver); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	done := make(chan error)
	go func() { done <- tr.Run(context.Background(), tr.deliver) }()
	if err := tr.Sync(context.Background()); err != nil {
		t.Error(err)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
}
