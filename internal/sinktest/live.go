// Package sinktest holds what the tests of sinks share: a running sensor that
// says what it is told to say, and the contract that every sink keeps.
package sinktest

import (
	"context"
	"sync"

	"github.com/patchsensor/patchsensor/sensor"
)

// Live answers as a *sensor.Live does. What is in its fields is set before it is
// used and not changed after; a nil answer is an empty one.
type Live struct {
	Report      *sensor.Report
	Explanation func(target string) *sensor.Explanation
	Diagnosis   *sensor.Diagnosis
	Condition   *sensor.Status
	Measured    sensor.Measurements
	// Judging is called within Stale, Explain and Diagnose, which return its
	// error; it may block.
	Judging func(ctx context.Context) error
	// Reading is called within Events, which returns its error.
	Reading func(ctx context.Context) error

	mu      sync.Mutex
	ready   bool
	dead    error
	cursor  uint64
	oldest  uint64
	events  []sensor.Event
	changed chan struct{}
}

// SetReady says whether everything was looked at once.
func (l *Live) SetReady(ready bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = ready
}

// SetDead lets Alive return err.
func (l *Live) SetDead(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = err
}

// Emit tells of an event, to which it gives the next cursor.
func (l *Live) Emit(e sensor.Event) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursor++
	e.Schema, e.Cursor = sensor.EventSchema, l.cursor
	l.events = append(l.events, e)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.cursor
}

// Forget drops the events up to and with a cursor.
func (l *Live) Forget(upTo uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.events) > 0 && l.events[0].Cursor <= upTo {
		l.events = l.events[1:]
	}
	l.oldest = max(l.oldest, upTo)
}

// Stale returns Report.
func (l *Live) Stale(ctx context.Context) (*sensor.Report, error) {
	if err := l.judge(ctx); err != nil {
		return nil, err
	}
	if l.Report == nil {
		return EmptyReport(), nil
	}
	return l.Report, nil
}

// Explain returns what Explanation makes of the target.
func (l *Live) Explain(ctx context.Context, target string) (*sensor.Explanation, error) {
	if err := l.judge(ctx); err != nil {
		return nil, err
	}
	if l.Explanation == nil {
		return &sensor.Explanation{Schema: sensor.ExplanationSchema, Target: target, Warnings: []sensor.Warning{}, Workloads: []sensor.ExplainedWorkload{}}, nil
	}
	return l.Explanation(target), nil
}

// Diagnose returns Diagnosis.
func (l *Live) Diagnose(ctx context.Context) (*sensor.Diagnosis, error) {
	if err := l.judge(ctx); err != nil {
		return nil, err
	}
	if l.Diagnosis == nil {
		return &sensor.Diagnosis{Schema: sensor.DiagnosisSchema, Checks: []sensor.Check{}, Sources: []sensor.Check{}}, nil
	}
	return l.Diagnosis, nil
}

func (l *Live) judge(ctx context.Context) error {
	if l.Judging == nil {
		return ctx.Err()
	}
	return l.Judging(ctx)
}

// Status returns Condition.
func (l *Live) Status(ctx context.Context) (*sensor.Status, error) {
	if l.Condition == nil {
		return &sensor.Status{
			Schema: sensor.StatusSchema, Tracking: sensor.Tracking{Tiers: []sensor.Check{}}, Patches: []sensor.PatchStatus{},
			Losses: []sensor.Counter{}, Gaps: []sensor.Gap{}, Warnings: []sensor.Warning{},
		}, ctx.Err()
	}
	return l.Condition, ctx.Err()
}

// Measure returns Measured.
func (l *Live) Measure() sensor.Measurements { return l.Measured }

// Ready reports what SetReady said.
func (l *Live) Ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

// Alive returns what SetDead said.
func (l *Live) Alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// Cursor is that of the newest event.
func (l *Live) Cursor() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor
}

// Events returns up to limit events after a cursor, with sensor.ErrCursor if
// others came between.
func (l *Live) Events(ctx context.Context, after uint64, limit int) ([]sensor.Event, error) {
	if l.Reading != nil {
		if err := l.Reading(ctx); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []sensor.Event
	for _, e := range l.events {
		if e.Cursor > after && len(out) < limit {
			out = append(out, e)
		}
	}
	if after < l.oldest {
		return out, sensor.ErrCursor
	}
	return out, ctx.Err()
}

// Wait waits until there is an event after a cursor, or ctx ends.
func (l *Live) Wait(ctx context.Context, after uint64) error {
	for {
		l.mu.Lock()
		if l.cursor > after {
			l.mu.Unlock()
			return nil
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
