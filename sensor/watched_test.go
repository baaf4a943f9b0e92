package sensor

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/watch"
)

// The package databases of other roots are watched through a process that shows them, for
// as long as one does.
func TestWatchRoots(t *testing.T) {
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".new", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	open := func(dir string) *file.Root {
		t.Helper()
		root, err := file.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return root
	}
	host, inner, procfs := t.TempDir(), t.TempDir(), t.TempDir()
	status := filepath.Join(inner, "var/lib/dpkg/status")
	write(status, "Package: a\nStatus: install ok installed\nVersion: 1\n")
	if err := os.Mkdir(filepath.Join(procfs, "123"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(inner, filepath.Join(procfs, "123/root")); err != nil {
		t.Fatal(err)
	}
	fs, err := proc.NewFS(procfs)
	if err != nil {
		t.Fatal(err)
	}
	w, err := watch.New(watch.Options{Settle: 10 * time.Millisecond, Poll: 5 * time.Millisecond, Sweep: time.Hour}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	d := &daemon{Sensor: New(Options{Log: zap.NewNop()}), fs: fs, root: open(host), watch: w, watched: make(map[file.ID]watchedRoot), mem: newMemory(zap.NewNop(), nil)}
	sc := newScan(d.Sensor, fs, d.root, SourceDaemon, snapshot.BootTime{})
	sc.mem = d.mem
	p := &process{Process: &snapshot.Process{PID: 123, Start: time.Second}}
	sc.byPID = map[int]*process{123: p}
	sc.views[viewKey{1, 1}] = &view{root: open(host), first: p}
	sc.views[viewKey{2, 2}] = &view{root: open(inner), first: p}
	sc.views[viewKey{3, 3}] = &view{first: p} // nobody could open it
	for range 2 {
		d.watchRoots(ctx, sc)
	}
	for w.Stats().Targets == 0 || w.Stats().Looks == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := w.Stats().Targets; n != 1 {
		t.Fatalf("%d roots are watched", n)
	}
	// Whenever the watch began, a later change is told.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; !told; {
		select {
		case c := <-w.Changes():
			if !ofRoot(c) || c.Err != nil {
				t.Errorf("change %+v", c)
			}
			told = true
		case <-tick.C:
			write(status, "Package: a\nStatus: install ok installed\nVersion: 2\n")
		}
	}
	delete(sc.views, viewKey{2, 2})
	d.watchRoots(ctx, sc)
	if n := w.Stats().Targets; n != 0 || len(d.watched) != 0 {
		t.Errorf("%d roots are watched although nobody shows them", n)
	}
}
