package sensor

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// grab is a sink that hands out its Live.
type grab chan *Live

func (grab) Name() string { return "grab" }

func (g grab) Run(ctx context.Context, live *Live) error {
	g <- live
	<-ctx.Done()
	return nil
}

// running starts a sensor for the length of the test.
func running(t *testing.T, o LiveOptions) *Live {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: following what runs needs root")
	}
	lives := make(grab, 1)
	ready := make(chan struct{})
	o.Sinks = append(o.Sinks, lives)
	o.Ready = func(*Live) { close(ready) }
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(Options{Runtimes: []string{NoRuntimes}, Live: o}).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the sensor ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("the sensor ended with %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the sensor is not ready after a minute")
	}
	return <-lives
}

// The running sensor gives the answer of a look, whatever it learns of changes by.
func TestRunAnswersAsScan(t *testing.T) {
	for _, tier := range []string{"auto", "exec", "poll"} {
		t.Run(tier, func(t *testing.T) {
			live := running(t, LiveOptions{Tier: tier})
			var a, b string
			// What others do on this machine may fall between the two.
			for try := range 20 {
				time.Sleep(time.Duration(try) * 20 * time.Millisecond)
				got, err := live.Stale(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				want, err := New(Options{Runtimes: []string{NoRuntimes}}).Scan(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if got.Source != SourceDaemon || got.Gaps == nil {
					t.Errorf("source %q, gaps %v", got.Source, got.Gaps)
				}
				if a, b = essence(t, got), essence(t, want); a == b {
					return
				}
			}
			t.Errorf("got  %s\nwant %s", a, b)
		})
	}
}

// essence is a report without what may differ between two looks: who has run for longer
// knows better which version a file was.
func essence(t *testing.T, r *Report) string {
	t.Helper()
	findings := slices.Clone(r.Findings)
	for i := range findings {
		f := &findings[i]
		f.Remedy.Why, f.Urgency, f.Since = "", "", nil
		f.Packages = slices.Clone(f.Packages)
		for j := range f.Packages {
			k := &f.Packages[j]
			*k = Package{Manager: k.Manager, Name: k.Name, Installed: k.Installed}
		}
		f.Processes = slices.Clone(f.Processes)
		for j := range f.Processes {
			q := &f.Processes[j]
			q.Files = slices.Clone(q.Files)
			for k := range q.Files {
				q.Files[k].LoadedAt = nil
			}
		}
	}
	slices.SortFunc(findings, func(a, b Finding) int { return strings.Compare(a.ID, b.ID) })
	b, err := json.Marshal(findings)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
