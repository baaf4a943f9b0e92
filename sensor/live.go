package sensor

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/track"
)

// Live is a running sensor, as its sinks see it. Its methods may be called by
// any number of goroutines.
type Live struct{ d *daemon }

// LiveOptions say how a running sensor works. The zero value is sensible.
type LiveOptions struct {
	// StateDir is where the sensor keeps what it saw; "/var/lib/sensor" if empty.
	StateDir string
	// Tier is the way to see executable mappings (Tracking.Tier); empty or "auto"
	// is the best that works.
	Tier string
	// RingBytes is the size of the kernel's buffers of events, per buffer; 0 is
	// sensible.
	RingBytes int
	// Sweep is how often everything is judged although nothing was told of a
	// change, which finds files replaced outside of package databases; 5 minutes
	// if zero, never if negative.
	Sweep time.Duration
	// Settle is how long a package database has to be quiet; 300 ms if zero.
	Settle time.Duration
	// Retention is how long events, patches and closed exposures are kept; 90 days
	// if zero.
	Retention time.Duration
	// SentinelDir is where reboot-required and reboot-required.pkgs are kept for as long
	// as a reboot is needed: /run is where others look for them. Empty keeps none.
	SentinelDir string
	// Attached is called once when the kernel side is in place and everything that
	// needs more privileges is open; it may give them up. It may be nil.
	Attached func() error
	// Ready is called once when everything that runs was judged. It may be nil.
	Ready func(*Live)
	// Sinks are run for as long as the sensor.
	Sinks []Sink
}

// Sink is one output of a running sensor.
type Sink interface {
	// Name is a word for logs and metrics.
	Name() string
	// Run serves until ctx ends; an error before that ends the sensor.
	Run(ctx context.Context, live *Live) error
}

// ErrCursor says that what came right after a cursor is not kept any more.
var ErrCursor = errors.New("events after this cursor are not kept any more")

// Stale judges everything as it is now and reports.
func (l *Live) Stale(ctx context.Context) (*Report, error) {
	a, err := l.d.ask(ctx, "")
	return a.report, err
}

// Explain lays open the evidence on one target, as Sensor.Explain does.
func (l *Live) Explain(ctx context.Context, target string) (*Explanation, error) {
	if target == "" {
		return nil, errors.New("the target is empty")
	}
	a, err := l.d.ask(ctx, target)
	return a.explanation, err
}

// Diagnose says what the running sensor is able to see.
func (l *Live) Diagnose(ctx context.Context) (*Diagnosis, error) {
	diagnosis, err := l.d.Diagnose(ctx)
	if err != nil {
		return nil, err
	}
	diagnosis.Tracking = &Tracking{Tier: l.d.tier(), Source: l.d.source, Tiers: l.d.tiers}
	return diagnosis, nil
}

// Status says how the running sensor is doing.
func (l *Live) Status(context.Context) (*Status, error) {
	d := l.d
	now := time.Now()
	s := &Status{
		Schema: StatusSchema, Version: d.opts.Version, PID: os.Getpid(), StartedAt: d.vitals.started.UTC(), Now: now.UTC(),
		Tracking: Tracking{Tier: d.tier(), Source: d.source, Tiers: append([]Check{}, d.tiers...)},
		Patches:  []PatchStatus{}, Losses: d.losses(), Gaps: d.gaps(), Warnings: []Warning{},
	}
	count := d.count()
	s.Processes, s.Loads, s.Files = count.Processes, count.Loads, count.Files
	v := &d.vitals
	v.mu.Lock()
	s.Host, s.Ready, s.Judgements = v.describes, v.ready, v.count
	if v.summary != nil {
		summary, at := *v.summary, v.judgedAt
		s.Summary, s.JudgedAt, s.Reboot = &summary, &at, v.reboot
	}
	s.Patches = append(s.Patches, v.patches...)
	s.Warnings = append(s.Warnings, v.warnings...)
	v.mu.Unlock()
	s.Store = d.book.status()
	s.CPUSeconds, s.MemoryBytes = ownCost()
	return s, nil
}

// Measure returns what a metrics system wants to know; it never waits.
func (l *Live) Measure() Measurements {
	d := l.d
	count := d.count()
	m := Measurements{
		Tier: d.tier(), Source: d.source, Processes: count.Processes, Loads: count.Loads, Files: count.Files,
		Findings: make(map[FindingKey]int), Exposures: make(map[Domain][]time.Duration),
		Events: d.book.counts(), Losses: d.losses(),
	}
	if d.tracer != nil {
		m.Observed = counters(d.tracer.Stats().Observed)
	}
	v := &d.vitals
	v.mu.Lock()
	m.Ready, m.Judgements = v.ready, v.count
	if v.reboot != nil {
		m.Reboot = v.reboot.Need
	}
	maps.Copy(m.Findings, v.findings)
	older := time.Since(v.agesAt)
	for domain, ages := range v.ages {
		for _, age := range ages {
			m.Exposures[domain] = append(m.Exposures[domain], age+older)
		}
	}
	v.mu.Unlock()
	s := d.book.status()
	m.StoreBytes, m.StoreOK = s.Bytes, s.Error == ""
	m.CPUSeconds, m.Memory = ownCost()
	return m
}

func (d *daemon) count() track.Count {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.Count()
}

// losses are what was not observed or not kept, by name.
func (d *daemon) losses() []Counter {
	lost := make(map[string]uint64)
	if d.tracer != nil {
		maps.Copy(lost, d.tracer.Stats().Lost)
	}
	count := d.count()
	lost["processes not kept"] = count.Evicted
	lost["ended processes not judged"] = count.EndedDropped
	lost["entries not stored"] = d.book.lost()
	return counters(lost)
}

func counters(counts map[string]uint64) []Counter {
	list := []Counter{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, Counter{text(name), counts[name]})
	}
	return list
}

// Ready reports whether everything that runs was looked at once.
func (l *Live) Ready() bool {
	l.d.vitals.mu.Lock()
	defer l.d.vitals.mu.Unlock()
	return l.d.vitals.ready
}

// Alive returns an error when the sensor does not get on with its work.
func (l *Live) Alive() error { return l.d.vitals.alive() }

// Cursor is that of the newest event, 0 if there has never been one.
func (l *Live) Cursor() uint64 { return l.d.book.last() }

// Events returns up to limit events that came after a cursor, oldest first. With
// ErrCursor it returns the oldest that are kept: others came between.
func (l *Live) Events(ctx context.Context, after uint64, limit int) ([]Event, error) {
	return l.d.book.events(ctx, after, limit)
}

// Wait waits until there is an event after a cursor, or ctx ends.
func (l *Live) Wait(ctx context.Context, after uint64) error { return l.d.book.wait(ctx, after) }

// Reconfigure takes over those options that can change while the sensor runs
// (Sweep) and looks at everything anew.
func (l *Live) Reconfigure(ctx context.Context, o LiveOptions) error {
	o = o.withDefaults()
	select {
	case l.d.reload <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.d.vitals.stopped:
		return errStopped
	}
}
