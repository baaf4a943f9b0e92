package probe_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// BenchmarkStorm starts short-lived programs one after the other, with each tier
// and without any. It reports what that costs the one who starts them, and the
// processor time that the Tracer takes for each event.
func BenchmarkStorm(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("tracing needs root")
	}
	program, err := exec.LookPath("true")
	if err != nil {
		b.Fatal(err)
	}
	storm := func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(program).Run(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("none", storm)
	for _, tier := range []string{probe.TierLSM, probe.TierFentry, probe.TierKprobe, probe.TierPerf, probe.TierSysExit, probe.TierExec} {
		b.Run(tier, func(b *testing.B) {
			tr, err := probe.OpenTracer(context.Background(), probe.TracerOptions{Tier: tier})
			if err != nil {
				b.Skip(err)
			}
			defer tr.Close()
			ctx, cancel := context.WithCancel(context.Background())
			var events, lost, batches atomic.Uint64
			used := make(chan time.Duration)
			go func() {
				runtime.LockOSThread()
				before := cpu(b)
				_ = tr.Run(ctx, func(batch []trace.Event) {
					batches.Add(1)
					for _, e := range batch {
						if e.Kind == trace.Lost {
							lost.Add(e.Count)
						}
					}
					events.Add(uint64(len(batch)))
				})
				used <- cpu(b) - before
			}()
			began := time.Now()
			storm(b)
			elapsed := time.Since(began)
			if err := tr.Sync(ctx); err != nil {
				b.Fatal(err)
			}
			cancel()
			time := <-used
			b.ReportMetric(float64(time.Nanoseconds())/float64(events.Load()), "ns/event")
			b.ReportMetric(float64(events.Load())/elapsed.Seconds(), "events/s")
			b.ReportMetric(float64(batches.Load())/elapsed.Seconds(), "batches/s")
			b.ReportMetric(100*time.Seconds()/elapsed.Seconds(), "cpu%")
			b.ReportMetric(float64(lost.Load()), "lost")
		})
	}
}

// cpu is the processor time that this thread took.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Error(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
