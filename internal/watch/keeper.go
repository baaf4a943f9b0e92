package watch

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// keeper is what watches one target. Each has a goroutine of its own, so that a
// file system that does not answer holds up only the target that lies on it.
type keeper struct {
	looker
	opts  Options
	log   *zap.Logger
	count *counters
	out   chan<- Change
	stop  context.CancelFunc
}

// run watches the target until ctx ends. It says on ready whether the root can
// be entered; if not, that is all.
func (k *keeper) run(ctx context.Context, ready chan<- error) {
	seen, err := k.look(true)
	ready <- err
	if err != nil {
		return
	}
	var (
		looked = time.Now()
		deaf   time.Time // until when directories are not watched
		s      = settling{settle: k.opts.Settle, maxWait: k.opts.MaxWait}
		timer  = time.NewTimer(k.opts.Sweep)
	)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-k.sub.rung:
			// A target that changes all the time is not looked at all the time.
			if !pause(ctx, time.Until(looked.Add(k.opts.Poll))) {
				return
			}
		}
		news := k.sub.take()
		if !news.deafUntil.IsZero() {
			deaf = news.deafUntil
		}
		looked = time.Now()
		now := k.see(!looked.Before(deaf))
		switch {
		case !news.first.IsZero():
			s.changed(news.first)
			s.changed(news.last)
		case !now.equal(seen):
			k.count.unannounced.Add(1)
			s.changed(looked)
		}
		seen = now
		if s.waiting() && !k.tell(ctx, &s, seen.err) {
			return
		}
		timer.Reset(k.wait(&s, deaf, time.Now()))
	}
}

// see looks at a target that was there once: that it is gone is a sight, too.
func (k *keeper) see(listen bool) sight {
	now, err := k.look(listen)
	if err != nil {
		return sight{err: err}
	}
	return now
}

// tell tells the changes that wait, if it is time. It is false when ctx ended.
func (k *keeper) tell(ctx context.Context, s *settling, failed error) bool {
	var (
		busy bool
		err  error
	)
	if k.target.Busy != nil {
		busy, err = k.target.Busy()
	}
	first, last, ok := s.ask(time.Now(), busy)
	if !ok {
		return true
	}
	change := Change{Target: k.target.Name, First: first, Last: last, Busy: busy, Err: errors.Join(failed, err)}
	k.log.Debug("package database changed", zap.String("target", change.Target), zap.Time("first", first), zap.Time("last", last),
		zap.Bool("busy", busy), zap.Error(change.Err))
	select {
	case k.out <- change:
		k.count.told.Add(1)
		return true
	case <-ctx.Done():
		return false
	}
}

// wait is how long to wait for the next look, if nothing happens.
func (k *keeper) wait(s *settling, deaf, now time.Time) time.Duration {
	wait := k.opts.Sweep
	if s.waiting() {
		wait = min(k.opts.Poll, s.due().Sub(now))
	}
	if deaf.After(now) {
		wait = min(wait, deaf.Sub(now))
	}
	return max(wait, 0)
}

// pause waits and is false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
