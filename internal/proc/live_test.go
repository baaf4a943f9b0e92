package proc

import (
	"github.com/patchsensor/patchsensor/internal/snapshot"

	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/host"
)

func procfs(t testing.TB) FS {
	t.Helper()
	f, err := NewFS("/proc")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t testing.TB, pid int) *Process {
	t.Helper()
	return openIn(t, procfs(t), pid)
}

// sleeper starts a dynamically linked program that every Debian has, and waits
// until it sleeps, which is after the dynamic loader has done its work.
func sleeper(t testing.TB, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000000")
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	settle(t, open(t, cmd.Process.Pid), func(st Stat) bool { return st.State == 'S' && st.Comm == "sleep" })
	return cmd
}

func settle(t testing.TB, p *Process, ok func(Stat) bool) {
	t.Helper()
	for range 2000 {
		st, err := p.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if ok(st) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("process %d did not come to rest", p.PID())
}

// hasQuery reports whether the running kernel is to have PROCMAP_QUERY.
func hasQuery() bool {
	major, minor, ok := host.KernelVersion(host.KernelRelease())
	return ok && (major > 6 || (major == 6 && minor >= 11))
}

func TestLinkMapLive(t *testing.T) {
	cmd := sleeper(t)
	pid := cmd.Process.Pid
	p := open(t, pid)
	aux, err := p.Auxv()
	if err != nil {
		t.Fatal(err)
	}
	var mem Memory
	mem.Reset(pid)
	if name, err := mem.String(aux.ExecFn); err != nil || string(name) != cmd.Path {
		t.Errorf("AT_EXECFN %q, %v; want %q", name, err, cmd.Path)
	}
	var list []linked
	if err := LinkMap(&mem, aux, func(l Linked) { list = append(list, linked{l.Bias, string(l.Name)}) }); err != nil {
		t.Fatal(err)
	}
	if len(list) < 3 || list[0].name != "" {
		t.Fatalf("%+v", list)
	}
	// The names lead to the files that are mapped, at the addresses they say.
	mapped := make(map[string]Area)
	if err := p.TextMaps(func(a Area) { mapped[a.Path] = a }); err != nil {
		t.Fatal(err)
	}
	delete(mapped, resolved(t, cmd.Path))
	libc := false
	for _, l := range list[1:] {
		if !strings.HasPrefix(l.name, "/") {
			continue // the vDSO
		}
		name := resolved(t, l.name)
		if a, ok := mapped[name]; !ok || l.bias > a.Start || a.Start-l.bias > 1<<30 {
			t.Errorf("%s at %#x: mapped %+v", l.name, l.bias, a)
		}
		delete(mapped, name)
		libc = libc || strings.HasPrefix(filepath.Base(l.name), "libc.")
	}
	if len(mapped) > 0 || !libc {
		t.Errorf("mapped, not linked: %v; list: %+v", mapped, list)
	}
}

func resolved(t testing.TB, name string) string {
	t.Helper()
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMemoryOfNobody(t *testing.T) {
	cmd := sleeper(t)
	aux, err := open(t, cmd.Process.Pid).Auxv()
	if err != nil {
		t.Fatal(err)
	}
	kill(t, cmd)
	var mem Memory
	mem.Reset(cmd.Process.Pid)
	if _, err := mem.String(aux.ExecFn); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	if err := LinkMap(&mem, aux, func(Linked) { t.Error("an object") }); !errors.Is(err, ErrGone) && !errors.Is(err, ErrNoLinkMap) {
		t.Error(err)
	}
}

func kill(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestGone holds that a directory that was opened for one process never shows
// another, or nothing that looks like an answer.
func TestGone(t *testing.T) {
	cmd := sleeper(t)
	f, p := procfs(t), open(t, cmd.Process.Pid)
	st, err := p.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []time.Duration{0, 1, Tick - 1} { // nanoseconds of the same tick
		if err := p.Verify(st.Start + off); err != nil {
			t.Error(err)
		}
		if err := f.Verify(p.PID(), st.Start+off); err != nil {
			t.Error(err)
		}
	}
	for _, off := range []time.Duration{-1, -Tick, Tick} {
		if err := p.Verify(st.Start + off); !errors.Is(err, ErrGone) {
			t.Errorf("started %v apart: %v", off, err)
		}
		if err := f.Verify(p.PID(), st.Start+off); !errors.Is(err, ErrGone) {
			t.Errorf("started %v apart: %v", off, err)
		}
	}
	kill(t, cmd)
	calls := map[string]func() error{
		"Stat":           func() error { _, err := p.Stat(); return err },
		"Status":         func() error { _, err := p.Status(); return err },
		"Auxv":           func() error { _, err := p.Auxv(); return err },
		"Threads":        func() error { _, err := p.Threads(); return err },
		"TextMaps":       func() error { return p.TextMaps(func(Area) { t.Error("an area") }) },
		"QueryMaps":      func() error { return p.QueryMaps(func(Area) { t.Error("an area") }) },
		"BuildID":        func() error { _, err := p.BuildID(0); return err },
		"RelocatedBytes": func() error { _, _, err := relocatedBytes(p, 0); return err },
		"Verify":         func() error { return p.Verify(st.Start) },
		"FS.Verify":      func() error { return f.Verify(p.PID(), st.Start) },
		"FS.Process":     func() error { _, err := f.Process(p.PID()); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"Readlink": func() error { _, err := p.Readlink("exe"); return err },
		"MntNS":    func() error { _, err := p.MntNS(); return err },
		"Root":     func() error { _, err := p.Root(); return err },
		"Cgroup":   func() error { _, err := p.Cgroup(make([]byte, 10)); return err },
		"NameOf":   func() error { _, err := p.NameOf(snapshot.Mapping{Start: 1, End: 2}); return err },
		"StatOf":   func() error { _, err := p.StatOf(snapshot.Mapping{Start: 1, End: 2}); return err },
		"OpenOf":   func() error { _, err := p.OpenOf(snapshot.Mapping{Start: 1, End: 2}); return err },
	} {
		if call() == nil {
			t.Errorf("%s answers for a dead process", name)
		}
	}
}

// A process that waits to be reaped has no code.
func TestSnapshotZombie(t *testing.T) {
	cmd := sleeper(t)
	pid := cmd.Process.Pid
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	settle(t, open(t, pid), Stat.Dead)
	list, err := procfs(t).Snapshot(context.Background(), ByText)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.PID == pid {
			t.Errorf("%+v", p)
		}
	}
}

func TestSnapshotCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := procfs(t).Snapshot(ctx, ByText); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
