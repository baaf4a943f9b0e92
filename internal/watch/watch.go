// Package watch notices that a package database changed, and when it has
// settled.
//
// Events say that something may have changed; a look at the files says where
// they are now; and only when nothing changes any more and no package manager is
// at work is the change told. So an event that is lost costs time, never a
// change.
//
// The directories are watched rather than the files, which package managers
// replace by renaming (inotify(7)). Every directory on the way is, so that a
// database may appear, go, and come back as another directory. Where there are
// no events (network file systems, changes below an overlay, a mount over the
// database, the kernel's limits), changes are found by looking now and then.
package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// The errors of Add and Run that a caller may want to tell apart.
var (
	ErrTarget  = errors.New("not a target that can be watched")
	ErrTwice   = errors.New("a target of this name is watched already")
	ErrStopped = errors.New("the watcher has been started and stopped before")
)

// Watcher watches targets. It is safe for concurrent use.
type Watcher struct {
	opts     Options
	log      *zap.Logger
	notifier *notifier
	count    counters
	changes  chan Change

	// life ends when Run does, and with it every keeper.
	life    context.Context
	end     context.CancelFunc
	keeping sync.WaitGroup

	mu      sync.Mutex
	started bool
	keepers map[string]*keeper
}

// New makes a Watcher. log may be nil. Where the kernel allows no inotify the
// Watcher polls; the error says that the options make no sense.
func New(opts Options, log *zap.Logger) (*Watcher, error) {
	for _, o := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&opts.Settle, 300 * time.Millisecond},
		{&opts.MaxWait, 10 * time.Minute},
		{&opts.Poll, 100 * time.Millisecond},
		{&opts.Sweep, 30 * time.Second},
	} {
		if *o.value < 0 {
			return nil, fmt.Errorf("a time of %v to watch by", *o.value)
		}
		if *o.value == 0 {
			*o.value = o.standard
		}
	}
	if opts.Settle > opts.MaxWait {
		return nil, fmt.Errorf("time to settle %v is longer than the longest wait %v", opts.Settle, opts.MaxWait)
	}
	if log == nil {
		log = zap.NewNop()
	}
	w := &Watcher{opts: opts, log: log, changes: make(chan Change), keepers: make(map[string]*keeper)}
	w.notifier = newNotifier(log, &w.count)
	w.life, w.end = context.WithCancel(context.Background())
	return w, nil
}

// Changes is where changes are told, to one receiver each. A target has at most
// one Change waiting; what changes meanwhile makes the next one. The channel is
// never closed.
func (w *Watcher) Changes() <-chan Change { return w.changes }

// Add begins to watch a target: every change after it returns is told, so a
// database that is opened after Add is never older than what the next Change is
// about. It takes the time that one look takes; if ctx ends before, the target
// is not watched. The error is also ErrTarget, ErrTwice, ErrStopped, or that
// the root cannot be entered.
func (w *Watcher) Add(ctx context.Context, t Target) error {
	if t.Name == "" || t.Root == "" || len(t.Paths) == 0 {
		return fmt.Errorf("%w: name %q, root %q, %d paths", ErrTarget, t.Name, t.Root, len(t.Paths))
	}
	t.Paths = slices.Clone(t.Paths)
	w.mu.Lock()
	if w.life.Err() != nil {
		w.mu.Unlock()
		return ErrStopped
	}
	if w.keepers[t.Name] != nil {
		w.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrTwice, t.Name)
	}
	life, stop := context.WithCancel(w.life)
	k := &keeper{
		looker: looker{target: t, notifier: w.notifier, sub: w.notifier.subscribe()},
		opts:   w.opts, log: w.log, count: &w.count, out: w.changes, stop: stop,
	}
	w.keepers[t.Name] = k
	ready := make(chan error, 1)
	w.keeping.Go(func() {
		defer w.notifier.unsubscribe(k.sub)
		k.run(life, ready)
	})
	w.mu.Unlock()

	var err error
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	case <-life.Done():
		err = ErrStopped
	}
	if err != nil {
		w.remove(t.Name, k)
		return fmt.Errorf("watching %q: %w", t.Name, err)
	}
	return nil
}

// Remove ends the watching of a target, if there is one of this name. A Change
// of it may still be received by whoever is receiving now.
func (w *Watcher) Remove(name string) { w.remove(name, nil) }

// remove removes the target of a name, only if it is k unless k is nil.
func (w *Watcher) remove(name string, k *keeper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if have := w.keepers[name]; have != nil && (k == nil || k == have) {
		have.stop()
		delete(w.keepers, name)
	}
	if k != nil {
		k.stop()
	}
}

// Stats returns the counts so far.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	targets := len(w.keepers)
	w.mu.Unlock()
	return Stats{
		Targets:     targets,
		Events:      w.count.events.Load(),
		Overflows:   w.count.overflows.Load(),
		Muted:       w.count.muted.Load(),
		Failures:    w.count.failures.Load(),
		Unannounced: w.count.unannounced.Load(),
		Looks:       w.count.looks.Load(),
		Told:        w.count.told.Load(),
	}
}

// leave bounds how long Run waits at its end for looks at file systems that do
// not answer.
const leave = time.Second

// Run reads events until ctx ends, which is no error. It is to be called once;
// before, changes are only found by polling, and after, nothing is watched any
// more.
func (w *Watcher) Run(ctx context.Context) error {
	w.mu.Lock()
	if w.started {
		w.mu.Unlock()
		return ErrStopped
	}
	w.started = true
	w.mu.Unlock()

	err := w.notifier.run(ctx)

	w.mu.Lock()
	w.end()
	w.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		w.keeping.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return errors.Join(err, w.notifier.close())
	case <-time.After(leave):
		// To close would be to wait for it.
		w.log.Warn("a file system does not answer: the look at a package database is left behind")
		return err
	}
}
