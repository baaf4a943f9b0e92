package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/perf"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

const (
	// looking is how often the side band is read: it wakes nobody for single
	// records.
	looking = 10 * time.Millisecond
	// committing is how long a record may take from its time to its place in a ring.
	committing = time.Millisecond
	// refreshing is how often it is looked for CPUs that came online.
	refreshing = 10 * time.Second
)

// sideband is TierPerf: records of mappings from the rings of performance events,
// merged by time with what the BPF programs tell of processes.
type sideband struct {
	reader  *perf.Reader
	log     *zap.Logger
	marks   *marks
	files   *interner
	records []perf.Record
	pace    pacer
	waiting atomic.Pointer[context.CancelFunc]
	// refreshed is when CPUs were looked at last, began how many were new since.
	refreshed      time.Duration
	began, limited atomic.Uint64
}

// openSideband opens the rings of performance events, and makes the BPF programs
// tell where execve begins to map: a record does not tell to which program of a
// process it belongs.
func (t *Tracer) openSideband(o TracerOptions) (io.Closer, error) {
	rename, err := t.loader.attach(tracepoint("task_rename", sensorProgRenameBtf, sensorProgRenameRaw))
	if err != nil {
		return nil, err
	}
	r, err := perf.Open(perf.Options{Pages: o.PerfPages, Log: o.Log})
	if err != nil {
		return nil, errors.Join(err, rename.Close())
	}
	t.band = &sideband{
		reader: r, log: o.Log, marks: t.marks, files: &t.decoder.interner, pace: newPacer(o.Rate),
	}
	return closers{r, rename}, nil
}

// fillMerged moves to t.ready what both the ring and the side band told until a
// moment ago. What is newer in the ring stays in t.pending.
func (t *Tracer) fillMerged(ctx context.Context) error {
	if !t.more {
		if err := t.band.wait(ctx, asked(t.pending)); err != nil {
			return err
		}
	}
	until := perf.Now() - committing
	n := len(t.pending)
	if err := t.drain(maxBatch, t.keep); err != nil {
		return err
	}
	if t.more = len(t.pending)-n >= maxBatch; t.more {
		until = min(until, t.pending[len(t.pending)-1].At)
	}
	if !slices.IsSortedFunc(t.pending, byTime) {
		slices.SortStableFunc(t.pending, byTime)
	}
	due := 0
	for due < len(t.pending) && t.pending[due].At <= until {
		due++
	}
	t.ready = t.band.merge(t.ready, t.pending[:due], t.band.read(until))
	t.pending = slices.Delete(t.pending, 0, due)
	t.band.refresh()
	return nil
}

// wait waits until it is time to look at the rings: soon if somebody waits for what
// was read and is not yet due.
func (b *sideband) wait(ctx context.Context, soon bool) error {
	d := looking
	if soon {
		d = committing
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	b.waiting.Store(&cancel)
	if err := b.reader.Wait(waiting, d); err != nil && waiting.Err() == nil {
		return fmt.Errorf("wait for performance events: %w", err)
	}
	return nil
}

// interrupt ends a wait.
func (b *sideband) interrupt() {
	if cancel := b.waiting.Load(); cancel != nil {
		(*cancel)()
	}
}

// read takes the side band's records until a time. It does not wait.
func (b *sideband) read(until time.Duration) []perf.Record {
	b.records = b.reader.Drain(b.records[:0], until)
	return b.records
}

// merge appends events of the ring and records of the side band, each in order of
// time, in that order.
func (b *sideband) merge(to, events []trace.Event, records []perf.Record) []trace.Event {
	for _, e := range events {
		n := 0
		for n < len(records) && records[n].Time < e.At {
			to = b.tell(to, &records[n])
			n++
		}
		records = records[n:]
		if e.Kind == trace.Exit {
			b.marks.forget(e.PID)
		}
		to = append(to, e)
	}
	for i := range records {
		to = b.tell(to, &records[i])
	}
	return to
}

// tell appends the event of a record. Lost ones are counted by the reader.
func (b *sideband) tell(to []trace.Event, r *perf.Record) []trace.Event {
	if r.Kind != perf.Map {
		return to
	}
	b.marks.mark(r.PID)
	if b.pace.limits(r.PID, r.Time) {
		b.limited.Add(1)
		return to
	}
	e := trace.Event{Kind: trace.Map, At: r.Time, PID: r.PID, Name: r.Name}
	if r.Ino == 0 && r.Dev == 0 {
		e.Kind = trace.Dirty
	} else {
		e.File = b.files.file(snapshot.File{ID: file.ID{View: file.MapsView, Dev: r.Dev, Ino: r.Ino}, Path: r.Name})
	}
	return append(to, e)
}

// refresh watches CPUs that came online.
func (b *sideband) refresh() {
	now := perf.Now()
	if now-b.refreshed < refreshing {
		return
	}
	b.refreshed = now
	began, err := b.reader.Refresh()
	b.began.Add(uint64(began))
	if err != nil {
		b.log.Warn("not all CPUs are watched", zap.Error(err))
	}
}

// count adds what only the side band counts.
func (b *sideband) count(all *tally) {
	s := b.reader.Stats()
	all[sensorCounterCOUNT_MMAP] += s.Maps
	all[sensorCounterCOUNT_INVISIBLE] += s.Foreign
	all[sensorCounterCOUNT_LIMITED] += b.limited.Load()
	all[counterPerf] += s.Lost + s.Malformed
	all[counterCPU] += b.began.Load()
}

// prove returns how many mappings of a process the side band told of, and appends
// those of others to events.
func (b *sideband) prove(events []trace.Event, pid int) ([]trace.Event, int) {
	n := 0
	for _, r := range b.read(math.MaxInt64) {
		if r.Kind == perf.Map && r.PID == pid {
			n++
		} else {
			events = b.tell(events, &r)
		}
	}
	return events, n
}
