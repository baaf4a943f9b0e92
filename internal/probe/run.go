package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/perf"
	"github.com/patchsensor/patchsensor/internal/trace"
)

const (
	// lingering is how long others may join the first event of a batch.
	lingering = 4 * time.Millisecond
	// watching is the longest time between two looks at the counters of losses.
	watching = time.Second
	// maxBatch bounds the memory of a batch; what is more comes in the next.
	maxBatch = 8 << 10
)

var past = time.Unix(1, 0)

// Run delivers what happens until ctx ends, whose error it returns, or reading
// fails. Events come in batches, ordered by time as far as that is known. The slice
// is valid only during the call; what its elements point to never changes and may
// be kept. A Lost event stands for every counter of losses that moved: then
// TakeDirty says what has to be looked at.
//
// A Fork's Process.PPID is the process that called fork. An Exec has the
// executable as File and the name that was given to execve as Name, empty if it is
// longer than 254 bytes. A Map comes before the mapping exists in TierLSM,
// TierFentry and TierKprobe: they are told when the kernel asks whether it is
// permitted.
func (t *Tracer) Run(ctx context.Context, deliver func([]trace.Event)) error {
	t.running.Lock()
	defer t.running.Unlock()
	stop := context.AfterFunc(ctx, t.wake)
	defer stop()
	for {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case t.closed.Load():
			return os.ErrClosed
		}
		if err := t.fill(ctx); err != nil {
			return err
		}
		t.emit(deliver)
	}
}

// wake ends a wait for events.
func (t *Tracer) wake() { _ = t.ring.Flush() }

// fill waits for events and moves them to t.ready.
func (t *Tracer) fill(ctx context.Context) error {
	if t.band != nil {
		return t.fillMerged(ctx)
	}
	if !t.more && len(t.pending) == 0 {
		if err := t.wait(); err != nil {
			return err
		}
	}
	if err := t.drain(maxBatch, t.keep); err != nil {
		return err
	}
	t.more = len(t.pending) >= maxBatch
	t.ready, t.pending = append(t.ready, t.pending...), t.pending[:0]
	return nil
}

// wait waits for the ring's first sample, and a little for others.
func (t *Tracer) wait() error {
	t.ring.SetDeadline(time.Now().Add(watching))
	switch err := t.ring.ReadInto(&t.sample); {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
		return nil
	case err != nil:
		return fmt.Errorf("read ring: %w", err)
	}
	if err := t.keep(t.sample.RawSample); err != nil {
		return err
	}
	if !asked(t.pending) {
		time.Sleep(t.linger)
	}
	return nil
}

// asked says that somebody waits for these events.
func asked(events []trace.Event) bool {
	return slices.ContainsFunc(events, func(e trace.Event) bool { return e.Kind == syncing })
}

// drain calls take for what is in the ring, up to limit samples. It does not wait.
func (t *Tracer) drain(limit int, take func([]byte) error) error {
	t.ring.SetDeadline(past)
	for range limit {
		err := t.ring.ReadInto(&t.sample)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ring: %w", err)
		}
		if err := take(t.sample.RawSample); err != nil {
			return err
		}
	}
	return nil
}

// keep decodes a sample to t.pending. One that makes no sense counts as lost.
func (t *Tracer) keep(b []byte) error {
	var err error
	if t.pending, err = t.decoder.decode(t.pending, b); err != nil {
		t.malformed.Add(1)
		t.log.Warn("event dropped", zap.Error(err))
	}
	return nil
}

func byTime(a, b trace.Event) int { return int(a.At - b.At) }

// emit delivers what is ready, and losses.
func (t *Tracer) emit(deliver func([]trace.Event)) {
	if !slices.IsSortedFunc(t.ready, byTime) {
		slices.SortStableFunc(t.ready, byTime)
	}
	batch := t.ready[:0]
	synced := uint64(0)
	for _, e := range t.ready {
		if e.Kind == syncing {
			synced = max(synced, e.Count)
		} else {
			batch = append(batch, e)
		}
	}
	if now := perf.Now(); len(t.ready) > 0 || now-t.watched >= watching {
		t.watched = now
		if tally, err := t.tally(); err != nil {
			t.log.Warn("losses unknown", zap.Error(err))
		} else {
			batch = t.watch.moved(batch, tally, now)
		}
	}
	if len(batch) > 0 {
		deliver(batch)
	}
	clear(batch)
	t.ready = batch[:0]
	if synced > 0 {
		t.syncs.finish(synced)
	}
}

// syncs are the Syncs that wait.
type syncs struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan struct{}
}

func (s *syncs) begin() (uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	done := make(chan struct{})
	if s.waiting == nil {
		s.waiting = make(map[uint64]chan struct{})
	}
	s.waiting[s.last] = done
	return s.last, done
}

func (s *syncs) end(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, number)
}

// finish ends all up to last.
func (s *syncs) finish(last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for number, done := range s.waiting {
		if number <= last {
			close(done)
			delete(s.waiting, number)
		}
	}
}

// Sync returns when everything that the kernel had told before the call was
// delivered, and losses until then. It needs a Run to be going on.
func (t *Tracer) Sync(ctx context.Context) error {
	number, done := t.syncs.begin()
	defer t.syncs.end(number)
	for {
		switch room, err := t.loader.run(sensorProgSync, number); {
		case err != nil:
			return err
		case room == 0:
			// The ring is full: Run is making room.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
			continue
		}
		break
	}
	if t.band != nil {
		t.band.interrupt()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
