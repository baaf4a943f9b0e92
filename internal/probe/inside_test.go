package probe_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// traceAndTell is a child that traces: it says "ready", and when its input ends
// what it saw of a child of its own and how much it was not to see.
func traceAndTell(args []string) error {
	tr, err := probe.OpenTracer(context.Background(), probe.TracerOptions{Tier: args[0]})
	if err != nil {
		fmt.Println(errors.Is(err, probe.ErrUnavailable), err)
		return nil
	}
	var mu sync.Mutex
	var events []trace.Event
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() {
		done <- tr.Run(ctx, func(batch []trace.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, batch...)
		})
	}()
	fmt.Println("ready", tr.Tier())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	cmd := self(childObeys)
	if err := cmd.Run(); err != nil {
		return err
	}
	if err := tr.Sync(ctx); err != nil {
		return err
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		return err
	}
	mine, others := []trace.Kind{}, 0
	for _, e := range events {
		switch {
		case e.PID == cmd.Process.Pid && e.Kind != trace.Image && (e.Kind != trace.Map || len(mine) == 1):
			mine = append(mine, e.Kind)
		case e.Process != nil && e.Process.PPID == 0:
			others++
		}
	}
	fmt.Println(mine, others, tr.Stats().Observed[probe.ObservedInvisible] > 0)
	return tr.Close()
}

// tracer is a child that traces.
func tracer(t *testing.T, tier string, attr *syscall.SysProcAttr) (in io.Closer, out *bufio.Reader, p *os.Process) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("tracing needs root")
	}
	cmd := self(childTraces, tier)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return stdin, bufio.NewReader(stdout), cmd.Process
}

// TestInsideNamespace traces from within a PID namespace, which must tell nothing
// of what is outside.
func TestInsideNamespace(t *testing.T) {
	for _, tier := range append(seeing(t), probe.TierExec) {
		t.Run(tier, func(t *testing.T) {
			in, out, _ := tracer(t, tier, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
			if line, err := out.ReadString('\n'); line != "ready "+tier+"\n" {
				t.Fatalf("%q, %v", line, err)
			}
			for range 2 {
				if err := self(childObeys).Run(); err != nil {
					t.Fatal(err)
				}
			}
			in.Close()
			want := []trace.Kind{trace.Fork, trace.Map, trace.Exec, trace.Exit}
			if tier == probe.TierSysExit || tier == probe.TierExec {
				want = slices.Delete(want, 1, 2)
			}
			if line, err := out.ReadString('\n'); line != fmt.Sprintln(want, 0, true) {
				t.Errorf("%q, %v; want %v", line, err, want)
			}
		})
	}
}

// TestRefused holds what is said to whom may not trace.
func TestRefused(t *testing.T) {
	_, out, _ := tracer(t, "", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
	line, err := out.ReadString('\n')
	if !strings.HasPrefix(line, "true ") || strings.Contains(line, "MEMLOCK") && kernelHas(5, 11) {
		t.Errorf("%q, %v", line, err)
	}
}
