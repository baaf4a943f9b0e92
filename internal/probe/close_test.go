package probe

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/patchsensor/patchsensor/internal/trace"
)

// TestClose holds that nothing stays in the kernel: not what is in use, and not
// what was tried.
func TestClose(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("tracing needs root")
	}
	for _, tier := range append([]tier{{name: "auto"}}, allTiers()...) {
		t.Run(tier.name, func(t *testing.T) {
			tr, err := OpenTracer(context.Background(), TracerOptions{Tier: tier.name})
			if errors.Is(err, ErrUnavailable) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error)
			go func() { done <- tr.Run(ctx, func([]trace.Event) {}) }()
			var programs []ebpf.ProgramID
			for name, p := range tr.loader.programs {
				info, err := p.Info()
				if err != nil {
					t.Fatal(err)
				}
				id, ok := info.ID()
				if !ok {
					t.Fatalf("%s has no number", name)
				}
				programs = append(programs, id)
			}
			var links []link.ID
			for _, c := range tr.attached {
				if a, ok := c.(attachedProgram); ok {
					if info, err := a.Info(); err == nil && info.ID != 0 {
						links = append(links, info.ID)
					}
				}
			}
			if len(programs) < 5 || len(links) < 3 {
				t.Fatalf("programs %v, links %v", programs, links)
			}
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			for _, id := range programs {
				gone(t, func() error { p, err := ebpf.NewProgramFromID(id); return closed(p, err) })
			}
			for _, id := range links {
				gone(t, func() error { l, err := link.NewFromID(id); return closed(l, err) })
			}
			if err := tr.Close(); err != nil {
				t.Errorf("closed again: %v", err)
			}
			if _, complete := tr.TakeDirty(); complete {
				t.Error("marks are complete after Close")
			}
			tr.Stats()
			if err := tr.Sync(ctx); err == nil {
				t.Error("Sync after Close")
			}
		})
	}
}

// closed closes what was opened, if it was.
func closed[T interface{ Close() error }](opened T, err error) error {
	if err == nil {
		return opened.Close()
	}
	return err
}

// gone waits until something does not exist any more: the kernel frees it when
// nobody can be running it.
func gone(t *testing.T, open func() error) {
	t.Helper()
	for range 500 {
		err := open()
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("still there")
}
