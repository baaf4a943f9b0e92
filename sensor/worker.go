package sensor

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/trace"
)

// countDropped makes a gap of processes that ended and were not judged, for want of
// room.
func (d *daemon) countDropped() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.state.Count().EndedDropped; n != d.dropped {
		d.dropped = n
		d.gap.lost(time.Now(), "more processes ended than could be judged")
	}
}

// endGap tells of a time of losses once it is over.
func (d *daemon) endGap(ctx context.Context, now time.Time) {
	d.mu.Lock()
	gap, over := d.gap.over(now)
	d.mu.Unlock()
	if over {
		d.book.missed(ctx, gap, d.vitals.host())
	}
}

// leave writes down what would otherwise be told later.
func (d *daemon) leave(ctx context.Context, now time.Time) {
	d.mu.Lock()
	gap, open := d.gap.soFar()
	d.mu.Unlock()
	if open {
		d.book.missed(ctx, gap, d.vitals.host())
	}
	d.book.beat(ctx, now)
}

// gaps are those of the last days, and the one that may not be over.
func (d *daemon) gaps() []Gap {
	d.mu.Lock()
	now, open := d.gap.soFar()
	d.mu.Unlock()
	list := d.book.gaps()
	if open {
		list = append(list, now)
	}
	return list
}

// work is the worker: it goes on until ctx ends.
func (d *daemon) work(ctx context.Context) error {
	beat := time.NewTicker(10 * time.Second)
	defer beat.Stop()
	var sweep *time.Timer
	rearm := func() {
		if sweep != nil {
			sweep.Stop()
		}
		sweep = time.NewTimer(d.live.Sweep)
		if d.live.Sweep < 0 {
			sweep.Stop()
		}
	}
	rearm()
	for {
		var err error
		questions, patience := d.questions, d.hold.wait(time.Now())
		if patience != nil {
			questions = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-patience:
			continue
		case <-d.woken:
			d.pace.schedule(time.Now())
		case <-d.pace.timer():
			err = d.look(ctx)
		case q := <-questions:
			err = d.reply(ctx, q)
		case c := <-d.watch.Changes():
			err = d.changed(ctx, c)
		case <-sweep.C:
			err = d.sweep(ctx)
			rearm()
		case now := <-beat.C:
			d.book.beat(ctx, now)
			d.endGap(ctx, now)
			if d.mem.putOff {
				err = d.rejudge(ctx)
			}
			// Young processes and quiet losses do not wake anybody.
			d.pace.schedule(now)
		case o := <-d.reload:
			d.live = o
			d.mem.forget()
			rearm()
			err = d.sweep(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		d.vitals.failed(err)
		if err != nil {
			d.log.Error("could not judge", zap.Error(err))
			d.owed = true
			d.pace.schedule(time.Now().Add(time.Second))
		}
		d.vitals.turn()
	}
}

// look reads what has changed, and judges if that is worth it.
func (d *daemon) look(ctx context.Context) error {
	began := time.Now()
	defer func() { d.pace.done(began, time.Now()) }()
	changed, all, err := d.refresh(ctx)
	if err != nil {
		return err
	}
	again := d.gatherEnded() || all || d.owed || d.remade.Swap(false)
	for _, pid := range changed {
		again = again || d.reported[pid]
	}
	d.countDropped()
	if !again && len(changed) > 0 {
		if again, err = d.suspicious(ctx, changed); err != nil {
			return err
		}
	}
	if again {
		return d.rejudge(ctx)
	}
	return d.afterlife(ctx)
}

// rejudge judges for the sake of the events only.
func (d *daemon) rejudge(ctx context.Context) error {
	sc, _, err := d.judge(ctx)
	if err != nil {
		return err
	}
	sc.close()
	return d.afterlife(ctx)
}

// sweep judges everything although nothing was told of a change, from mappings
// that are read anew: unmapping is not told either.
func (d *daemon) sweep(ctx context.Context) error {
	if err := d.resync(ctx); err != nil {
		return err
	}
	return d.rejudge(ctx)
}

// reply answers all questions that wait.
func (d *daemon) reply(ctx context.Context, first *question) error {
	waiting := []*question{first}
	for more := true; more; {
		select {
		case q := <-d.questions:
			waiting = append(waiting, q)
		default:
			more = false
		}
	}
	began := time.Now()
	defer func() { d.hold.done(began, time.Now()) }()
	sc, r, err := d.current(ctx)
	if err != nil {
		for _, q := range waiting {
			q.answer <- answerTo{err: err}
		}
		return err
	}
	defer sc.close()
	for _, q := range waiting {
		if q.target == "" {
			q.answer <- answerTo{report: r}
			continue
		}
		e := sc.explain(ctx, q.target)
		e.ScannedAt, e.DurationSeconds = began.UTC(), time.Since(began).Seconds()
		q.answer <- answerTo{explanation: e}
	}
	return d.afterlife(ctx)
}

// rereadAfter is how long what is known of a process is good enough to say that it
// is stale: nothing tells when a library is unmapped.
const rereadAfter = 5 * time.Second

// current judges everything as it is now.
func (d *daemon) current(ctx context.Context) (*scan, *Report, error) {
	if d.tracer != nil {
		if err := d.tracer.Sync(ctx); err != nil {
			return nil, nil, err
		}
	}
	d.markReported()
	if err := d.readChanges(ctx); err != nil {
		return nil, nil, err
	}
	return d.judge(ctx)
}

// readChanges reads what has changed, or everything where not every change is told.
func (d *daemon) readChanges(ctx context.Context) error {
	if d.blind() {
		return d.resync(ctx)
	}
	_, _, err := d.refresh(ctx)
	return err
}

// markReported has the processes read again that the last report named.
func (d *daemon) markReported() {
	now := bootNow()
	d.mu.Lock()
	defer d.mu.Unlock()
	for pid := range d.reported {
		if _, info, ok := d.state.Process(pid); ok && now-info.Read > rereadAfter {
			d.state.Apply(trace.Event{Kind: trace.Dirty, PID: pid, At: now})
		}
	}
}

var errStopped = errors.New("the sensor is stopping")

// ask puts a question to the worker.
func (d *daemon) ask(ctx context.Context, target string) (answerTo, error) {
	q := &question{target: target, answer: make(chan answerTo, 1)}
	select {
	case d.questions <- q:
	case <-ctx.Done():
		return answerTo{}, ctx.Err()
	case <-d.vitals.stopped:
		return answerTo{}, errStopped
	}
	select {
	case a := <-q.answer:
		return a, a.err
	case <-ctx.Done():
		return answerTo{}, ctx.Err()
	case <-d.vitals.stopped:
		return answerTo{}, errStopped
	}
}
