package sensor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/watch"
)

// watchedRoot is the root of a container or chroot whose package database is watched, as
// one of its processes shows it.
type watchedRoot struct {
	pid   int
	start time.Duration
	// target is the watcher's name for it, empty if it has no package database.
	target string
	// over is set when it is not to be watched any more.
	over *atomic.Bool
}

// rootTarget is what the names of such targets begin with.
const rootTarget = "root of process "

// maxWatchedRoots bounds them: each takes some watches of inotify. What is beyond is
// judged by events of processes, sweeps and questions alone.
const maxWatchedRoots = 1000

// watchRoots watches the package databases of all roots that a full scan met besides the
// host's: an upgrade inside a container is to be told as soon as one of the host.
func (d *daemon) watchRoots(ctx context.Context, sc *scan) {
	shown := make(map[file.ID]*process)
	hosts, err := d.root.Stat("/")
	if err != nil {
		return
	}
	for _, v := range sc.views {
		if v.root == nil {
			continue
		}
		root, err := v.root.Stat("/")
		if err != nil || root.ID == hosts.ID {
			continue
		}
		shown[root.ID] = v.first
		w, ok := d.watched[root.ID]
		if ok && sc.showsStill(w) || len(d.watched) >= maxWatchedRoots {
			continue
		}
		d.unwatch(root.ID)
		w = watchedRoot{pid: v.first.PID, start: v.first.Start, over: new(atomic.Bool)}
		// A look at a file system that a program serves need not end.
		if m, ok := managersOf(v.root); ok && len(v.fuse) == 0 && !sc.sharesHost(v) {
			w.target = rootTarget + strconv.Itoa(w.pid) + " " + strconv.FormatInt(int64(w.start), 36)
			d.watchRoot(ctx, w, m)
		}
		d.watched[root.ID] = w
	}
	for id := range d.watched {
		if shown[id] == nil {
			d.unwatch(id)
		}
	}
}

// showsStill reports whether the process by which a root is watched is there.
func (sc *scan) showsStill(w watchedRoot) bool {
	p := sc.byPID[w.pid]
	return p != nil && p.Start == w.start
}

func (d *daemon) unwatch(id file.ID) {
	if w, ok := d.watched[id]; ok && w.target != "" {
		w.over.Store(true)
		d.watch.Remove(w.target)
	}
	delete(d.watched, id)
}

// watchRoot begins to watch a root. Its file systems need not answer, so nobody waits.
func (d *daemon) watchRoot(ctx context.Context, w watchedRoot, m manager) {
	dir := filepath.Join(d.fs.Dir(), strconv.Itoa(w.pid), "root")
	target := watch.Target{Name: w.target, Root: dir, Paths: m.marks, Busy: func() (bool, error) {
		root, err := file.OpenRoot(dir)
		if err != nil {
			return false, fmt.Errorf("open root: %w", err)
		}
		defer root.Close()
		return m.busy(root)
	}}
	go func() {
		err := d.watch.Add(ctx, target)
		if w.over.Load() {
			d.watch.Remove(w.target)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, watch.ErrTwice) {
			d.log.Debug("a package database is not watched", zap.String("root", dir), zap.Error(err))
		}
	}()
}

// ofRoot reports whether a change is one of a container's or chroot's packages.
func ofRoot(c watch.Change) bool { return strings.HasPrefix(c.Target, rootTarget) }
