package sensor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/track"
	"github.com/patchsensor/patchsensor/internal/watch"
)

func (o LiveOptions) withDefaults() LiveOptions {
	if o.StateDir == "" {
		o.StateDir = "/var/lib/sensor"
	}
	if o.Sweep == 0 {
		o.Sweep = 5 * time.Minute
	}
	if o.Settle == 0 {
		o.Settle = 300 * time.Millisecond
	}
	if o.Retention == 0 {
		o.Retention = 90 * 24 * time.Hour
	}
	return o
}

// Run tracks what runs until ctx ends, and serves the sinks. What happens from the
// moment at which everything is attached is seen; what was there before is read
// after that, so nothing falls between the two.
func (s *Sensor) Run(ctx context.Context) error {
	d, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	if attached := d.live.Attached; attached != nil {
		if err := attached(); err != nil {
			return fmt.Errorf("give up privileges: %w", err)
		}
	}
	return d.serve(ctx)
}

// open opens everything that may need privileges which are given up later.
func (s *Sensor) open(ctx context.Context) (_ *daemon, err error) {
	d := &daemon{
		Sensor: s, live: s.opts.Live.withDefaults(),
		state: track.New(track.Limits{}), woken: make(chan struct{}, 1),
		questions: make(chan *question), reload: make(chan LiveOptions),
		names: make(map[nameKey]*loadNames), transient: make(map[string]time.Time),
		watched: make(map[file.ID]watchedRoot),
	}
	d.vitals.started, d.vitals.turned, d.vitals.stopped = time.Now(), time.Now(), make(chan struct{})
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.book, err = openBook(ctx, d.live.StateDir, d.live.Retention, s.log); err != nil {
		return nil, err
	}
	if d.inventory, err = s.openInventory(); err != nil {
		return nil, err
	}
	if d.fs, err = proc.NewFS(s.opts.Proc); err != nil {
		return nil, err
	}
	if d.root, err = file.OpenRoot(s.opts.Root); err != nil {
		return nil, err
	}
	if d.locks, err = file.OpenRoot(s.opts.Root); err != nil {
		return nil, err
	}
	if d.watch, err = watch.New(watch.Options{Settle: d.live.Settle}, s.log); err != nil {
		return nil, err
	}
	if err := d.openTracer(ctx); err != nil {
		return nil, err
	}
	var list []snapshot.Process
	if list, d.reader, d.source, err = s.openSource(ctx, d.fs); err != nil {
		return nil, err
	}
	// This was the proof that the source works; what counts is read after the
	// privileges are gone, with those that are left.
	_ = list
	var keep knowledgeStore
	if d.book.store != nil {
		keep = d.book.store
	}
	d.mem = newMemory(s.log, keep)
	return d, nil
}

// openTracer attaches to the kernel. Where that is not possible everything is read
// again from time to time instead, unless one way was asked for.
func (d *daemon) openTracer(ctx context.Context) error {
	if d.live.Tier == TierPoll {
		return nil
	}
	err := ownProc(d.fs)
	var t *probe.Tracer
	if err == nil {
		t, err = probe.OpenTracer(ctx, probe.TracerOptions{Tier: d.live.Tier, RingBytes: d.live.RingBytes, Log: d.log})
	}
	if err != nil {
		if d.live.Tier != "" && d.live.Tier != SourceAuto {
			return fmt.Errorf("tier %s: %w", d.live.Tier, err)
		}
		d.log.Warn("nothing can be traced: what starts and ends between two looks is not seen", zap.Error(err))
		d.tiers = []Check{{Name: TierPoll, OK: true, Level: LevelWarn, Found: text(err.Error())}}
		return nil
	}
	d.tracer = t
	for _, r := range t.Tiers() {
		c := Check{Name: r.Name, OK: r.Err == nil, Level: LevelOK, Found: "in use"}
		if r.Err != nil {
			c.Level, c.Found = LevelWarn, text(r.Err.Error())
		}
		d.tiers = append(d.tiers, c)
	}
	return nil
}

// TierPoll is the tier of a sensor that traces nothing.
const TierPoll = "poll"

func (d *daemon) close() {
	var errs []error
	if d.tracer != nil {
		errs = append(errs, d.tracer.Close())
	}
	if d.reader != nil {
		errs = append(errs, d.reader.Close())
	}
	if d.mem != nil {
		d.mem.advisories.close()
	}
	for _, root := range []*file.Root{d.root, d.locks} {
		if root != nil {
			errs = append(errs, root.Close())
		}
	}
	if d.inventory != nil {
		errs = append(errs, d.inventory.Close())
	}
	if d.book != nil {
		errs = append(errs, d.book.close())
	}
	if err := errors.Join(errs...); err != nil {
		d.log.Warn("not everything was closed", zap.Error(err))
	}
}

// serve runs all parts until ctx ends or one of them fails.
func (d *daemon) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	if d.tracer != nil {
		part("trace", func(ctx context.Context) error { return d.tracer.Run(ctx, d.deliver) })
	}
	part("watch", d.watch.Run)
	part("runtimes", func(ctx context.Context) error {
		d.inventory.Run(ctx, d.runtimesChanged)
		return nil
	})
	live := &Live{d}
	for _, sink := range d.live.Sinks {
		part(sink.Name(), func(ctx context.Context) error { return sink.Run(ctx, live) })
	}
	part("judge", func(ctx context.Context) error {
		defer close(d.vitals.stopped)
		if err := d.begin(ctx); err != nil {
			return err
		}
		if d.live.Ready != nil {
			d.live.Ready(live)
		}
		return d.work(ctx)
	})
	<-ctx.Done()
	parts.Wait()
	d.leave(context.WithoutCancel(ctx), time.Now())
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// begin looks at everything for the first time.
func (d *daemon) begin(ctx context.Context) error {
	since := d.recall(ctx)
	// From now on, not running is a gap.
	d.book.beat(ctx, time.Now())
	for _, t := range d.targets() {
		if err := d.watch.Add(ctx, t); err != nil {
			d.log.Warn("package database is not watched", zap.String("database", t.Name), zap.Error(err))
		}
	}
	if err := d.resync(ctx); err != nil {
		return err
	}
	d.inventory.Refresh(ctx)
	d.tellMissed(ctx, since)
	if err := d.rejudge(ctx); err != nil {
		return err
	}
	d.vitals.mu.Lock()
	d.vitals.ready = true
	d.vitals.mu.Unlock()
	d.log.Info("ready", zap.String("tier", d.tier()), zap.String("source", d.source), zap.Int("processes", d.state.Count().Processes))
	return nil
}

// recall takes over what is known from before the sensor was last stopped, and says
// when that was, the zero time if it never ran. What happened since was not observed.
func (d *daemon) recall(ctx context.Context) (last time.Time) {
	d.ledger = newLedger(nil, time.Time{})
	d.recallPackages(ctx)
	past, err := d.book.past(ctx)
	if err != nil {
		// Not knowing the past is no reason not to watch.
		d.book.fail(err)
		return last
	}
	d.ledger = newLedger(past.open, past.beat)
	if now := time.Now(); !past.beat.IsZero() && past.beat.Before(now) {
		sc := &scan{Sensor: d.Sensor, root: d.root}
		d.book.missed(ctx, Gap{From: past.beat.UTC(), To: now.UTC(), Why: "the sensor was not running"}, sc.describe())
	}
	for i := len(past.patches) - 1; i >= 0; i-- {
		p := &past.patches[i]
		d.vitals.patched([]Patch{{Time: p.At, Domain: Domain(p.Domain), Root: p.Root, Manager: p.Manager, Package: p.Package,
			Source: p.Source, Arch: p.Arch, From: p.From, To: p.To}})
	}
	return past.beat
}

// blind reports whether not every mapping is told, so that all have to be read to
// know them: exec tells of none, and system calls not of those that 32-bit programs
// and the kernel itself make.
func (d *daemon) blind() bool {
	switch d.tier() {
	case TierPoll, probe.TierExec, probe.TierSysExit:
		return true
	}
	return false
}

func (d *daemon) tier() string {
	if d.tracer == nil {
		return TierPoll
	}
	return d.tracer.Tier()
}
