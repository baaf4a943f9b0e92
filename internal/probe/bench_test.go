package probe_test

import (
	"context"
	"testing"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// Processes beside those that the machine runs anyway.
const benchChildren = 200

func benchmark(b *testing.B, take func(context.Context) ([]snapshot.Process, error)) {
	children := make(map[int]bool)
	for range benchChildren {
		cmd := sleeper(b)
		start(b, cmd, false)
		children[cmd.Process.Pid] = true
	}
	for pid := range children {
		settle(b, pid, "sleep", func(st proc.Stat) bool { return st.State == 'S' && st.Comm == "sleep" })
	}
	b.ReportAllocs()
	var list []snapshot.Process
	for b.Loop() {
		var err error
		if list, err = take(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	found, mappings := 0, 0
	for _, p := range list {
		if children[p.PID] && len(p.Mappings) > 0 {
			found++
		}
		mappings += len(p.Mappings)
	}
	if found != benchChildren {
		b.Fatalf("%d of %d children", found, benchChildren)
	}
	b.ReportMetric(float64(len(list)), "processes")
	b.ReportMetric(float64(mappings), "mappings")
}

func BenchmarkSnapshotBPF(b *testing.B) {
	s := openBPF(b)
	benchmark(b, s.Read)
}

// BenchmarkSnapshotBPFOnce includes loading the program, as a single scan does.
func BenchmarkSnapshotBPFOnce(b *testing.B) {
	openBPF(b) // skips where it is not permitted
	benchmark(b, func(ctx context.Context) ([]snapshot.Process, error) {
		s, err := probe.OpenSnapshot()
		if err != nil {
			return nil, err
		}
		defer s.Close()
		return s.Read(ctx)
	})
}

func BenchmarkSnapshotByQuery(b *testing.B) {
	byQuery(b) // skips where there is none
	benchmark(b, func(ctx context.Context) ([]snapshot.Process, error) { return procfs(b).Snapshot(ctx, proc.ByQuery) })
}

func BenchmarkSnapshotByText(b *testing.B) {
	benchmark(b, func(ctx context.Context) ([]snapshot.Process, error) { return procfs(b).Snapshot(ctx, proc.ByText) })
}
