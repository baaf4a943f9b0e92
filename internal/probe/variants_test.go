package probe

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/trace"
)

// listen runs a Tracer and returns what ends that and gives what it delivered.
func listen(t *testing.T, o TracerOptions) func() []trace.Event {
	t.Helper()
	tr, err := OpenTracer(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	var events []trace.Event
	go func() { done <- tr.Run(ctx, func(batch []trace.Event) { events = append(events, batch...) }) }()
	return func() []trace.Event {
		err := tr.Sync(ctx)
		cancel()
		if ended := <-done; !errors.Is(ended, context.Canceled) {
			t.Error(ended)
		}
		if err := errors.Join(err, tr.Close()); err != nil {
			t.Error(err)
		}
		return events
	}
}

// TestRawTracepoints holds that the programs for kernels without tp_btf tell what
// the others do.
func TestRawTracepoints(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("tracing needs root")
	}
	for _, tier := range []string{TierExec, TierPerf} {
		t.Run(tier, func(t *testing.T) {
			btf, raw := listen(t, TracerOptions{Tier: tier}), listen(t, TracerOptions{Tier: tier, raw: true})
			name, err := exec.LookPath("true")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(name)
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			of := func(events []trace.Event) []trace.Event {
				events = slices.DeleteFunc(events, func(e trace.Event) bool { return e.PID != cmd.Process.Pid })
				for i := range events {
					events[i].At = 0
				}
				return events
			}
			a, b := of(btf()), of(raw())
			if len(a) < 3 || !reflect.DeepEqual(a, b) {
				t.Errorf("tp_btf %+v\nraw_tp %+v", a, b)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	page := os.Getpagesize()
	for _, o := range []TracerOptions{
		{Tier: "best"}, {RingBytes: page - 1}, {RingBytes: page / 2}, {RingBytes: 3 * page}, {RingBytes: 2 << 30}, {RingBytes: -page},
		{Rate: -1}, {Marks: -1}, {PerfPages: -1},
	} {
		if tr, err := OpenTracer(context.Background(), o); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("%+v: %v, %v", o, tr, err)
		}
	}
	if os.Geteuid() == 0 {
		tr, err := OpenTracer(context.Background(), TracerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		used := 0
		for i, r := range tr.Tiers() {
			switch {
			case r.Name != allTiers()[i].name:
				t.Errorf("tier %d is %s", i, r.Name)
			case r.Err == nil:
				used++
				if r.Name != tr.Tier() {
					t.Errorf("%s and %s are in use", r.Name, tr.Tier())
				}
			case r.Name == TierSysExit && used == 0 && !errors.Is(r.Err, ErrNotAsked), used > 0 && !errors.Is(r.Err, ErrBetter),
				strings.Contains(r.Err.Error(), "MEMLOCK"):
				t.Errorf("%s: %v", r.Name, r.Err)
			}
		}
		if used != 1 || len(tr.Tiers()) != len(allTiers()) || tr.Tier() == TierSysExit {
			t.Errorf("%s of %+v", tr.Tier(), tr.Tiers())
		}
	}
}
