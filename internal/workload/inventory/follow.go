package inventory

import (
	"context"
	"time"
)

const (
	// gathering is how long changes that come together may take.
	gathering = 100 * time.Millisecond
	// firstRetry and lastRetry bound the pause before a runtime is tried again.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Run keeps up with the runtimes until ctx ends, and calls changed after each change of
// what is known. A runtime that ends is tried again, and one that comes later is found.
func (inv *Inventory) Run(ctx context.Context, changed func()) {
	done := make(chan struct{}, len(inv.sources))
	for _, s := range inv.sources {
		go func() {
			defer func() { done <- struct{}{} }()
			inv.follow(ctx, s, changed)
		}()
	}
	for range inv.sources {
		<-done
	}
}

// follow keeps up with one source.
func (inv *Inventory) follow(ctx context.Context, s *source, changed func()) {
	retry := firstRetry
	for ctx.Err() == nil {
		began := time.Now()
		inv.watch(ctx, s, changed)
		s.disconnect()
		if time.Since(began) > lastRetry {
			retry = firstRetry
		}
		pause(ctx, retry)
		retry = min(2*retry, lastRetry)
	}
}

// watch lists what a source has now and after each change, until it is lost.
func (inv *Inventory) watch(ctx context.Context, s *source, changed func()) {
	inv.relist(ctx, s, changed)
	r := s.connected()
	if r == nil {
		return
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	told := make(chan struct{}, 1)
	lost := make(chan error, 1)
	go func() {
		lost <- r.Watch(watching, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	relist := time.NewTicker(inv.o.Relist)
	defer relist.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-lost:
			return
		case <-told:
			pause(ctx, gathering)
		case <-relist.C:
		}
		inv.relist(ctx, s, changed)
	}
}

// relist lists what a source has now. What its containers were made from is asked for
// right away: a runtime may have forgotten it by the time that somebody wants to know.
func (inv *Inventory) relist(ctx context.Context, s *source, changed func()) {
	s.list(ctx)
	inv.update(time.Now())
	changed()
	s.askMade(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// connected is the runtime if it answered the last question.
func (s *source) connected() Runtime {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil
	}
	return s.runtime
}

// disconnect gives a connection up; what was listed counts on.
func (s *source) disconnect() { _ = s.close() }
