package probe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// tracing is a Tracer and what it has delivered.
type tracing struct {
	*probe.Tracer
	t      testing.TB
	mu     sync.Mutex
	events []trace.Event
}

func openTracer(t testing.TB, o probe.TracerOptions) *tracing {
	t.Helper()
	tr, err := probe.OpenTracer(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return &tracing{Tracer: tr, t: t}
}

// run begins to run the Tracer until the end of the test.
func (tr *tracing) run() *tracing {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx, tr.deliver) }()
	tr.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, os.ErrClosed) {
			tr.t.Error(err)
		}
	})
	return tr
}

func (tr *tracing) deliver(batch []trace.Event) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, batch...)
}

// all are the events until now.
func (tr *tracing) all() []trace.Event {
	tr.t.Helper()
	if err := tr.Sync(context.Background()); err != nil {
		tr.t.Fatal(err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.events)
}

// of are the events of one process until now.
func (tr *tracing) of(pid int) []trace.Event {
	tr.t.Helper()
	return slices.DeleteFunc(tr.all(), func(e trace.Event) bool { return e.PID != pid || e.Kind == trace.Lost })
}

// lost sums up what Lost events said.
func (tr *tracing) lost() map[string]uint64 {
	tr.t.Helper()
	sum := make(map[string]uint64)
	for _, e := range tr.all() {
		if e.Kind == trace.Lost {
			sum[e.Why] += e.Count
		}
	}
	return sum
}

// isDirty takes the marks and says whether a process had one.
func (tr *tracing) isDirty(pid int) bool {
	pids, complete := tr.TakeDirty()
	return !complete || slices.Contains(pids, pid)
}

func kinds(events []trace.Event) []trace.Kind {
	var list []trace.Kind
	for _, e := range events {
		list = append(list, e.Kind)
	}
	return list
}

func count(events []trace.Event, kind trace.Kind) int {
	n := 0
	for _, e := range events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// isFile compares what was told of a file with what stat shows. The device is left
// out: it is another on overlayfs.
func isFile(t testing.TB, f *snapshot.File, name string) bool {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return f.ID.Ino == st.Ino && (f.Size == 0 || f.Size == st.Size) && (f.Path == "" || f.Path == name)
}

// mapsOf are the Maps of one file.
func mapsOf(t testing.TB, events []trace.Event, name string) []trace.Event {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(events), func(e trace.Event) bool {
		return e.Kind != trace.Map || !isFile(t, e.File, name)
	})
}

// code makes files of one page.
func code(t testing.TB, n int) []string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i := range n {
		name := filepath.Join(dir, fmt.Sprint("code", i))
		if err := os.WriteFile(name, make([]byte, os.Getpagesize()), 0o755); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// trials are what came of opening each tier that sees mappings, once for all tests.
var trials = sync.OnceValue(func() map[string]error {
	results := make(map[string]error)
	for _, tier := range []string{probe.TierLSM, probe.TierFentry, probe.TierKprobe, probe.TierPerf, probe.TierSysExit} {
		tr, err := probe.OpenTracer(context.Background(), probe.TracerOptions{Tier: tier})
		if err == nil {
			err = tr.Close()
		}
		results[tier] = err
	}
	return results
})

// seeing are the tiers that see mappings and work here.
func seeing(t *testing.T) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("tracing needs root")
	}
	var list []string
	for tier, err := range trials() {
		switch {
		case err == nil:
			list = append(list, tier)
		case !errors.Is(err, probe.ErrUnavailable),
			// Whether the others work is up to the kernel's configuration.
			tier == probe.TierPerf, tier == probe.TierSysExit && kernelHas(5, 17):
			t.Errorf("%s: %v", tier, err)
		default:
			t.Logf("not here: %v", err)
		}
	}
	slices.Sort(list)
	return list
}

// eachTier runs a test for every tier that sees mappings.
func eachTier(t *testing.T, test func(t *testing.T, tier string)) {
	for _, tier := range seeing(t) {
		t.Run(tier, func(t *testing.T) { test(t, tier) })
	}
}

// inKernel says that a tier's mappings are told by BPF programs, which know the
// process's start and image and leave out repetitions.
func inKernel(tier string) bool { return tier != probe.TierPerf }
