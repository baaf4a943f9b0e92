package sensor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
	"github.com/patchsensor/patchsensor/internal/track"
)

// refresh reads again what has changed, and returns which processes that was; nil
// and true if it was all of them.
func (d *daemon) refresh(ctx context.Context) (changed []int, all bool, err error) {
	began := bootNow()
	d.mu.Lock()
	if d.tracer != nil {
		pids, complete := d.tracer.TakeDirty()
		d.state.Mark(pids, began, bootNow())
		if !complete {
			d.state.Apply(trace.Event{Kind: trace.Lost, At: began, Why: "the set of changed processes was full"})
		}
	}
	for _, pid := range d.due(began) {
		d.state.Apply(trace.Event{Kind: trace.Dirty, PID: pid, At: began})
	}
	dirty, all := d.state.Dirty()
	d.mu.Unlock()
	if all {
		return nil, true, d.resync(ctx)
	}
	if len(dirty) == 0 {
		return nil, false, nil
	}
	return dirty, false, d.reread(ctx, dirty)
}

// resync reads everything.
func (d *daemon) resync(ctx context.Context) error {
	began := bootNow()
	list, err := d.reader.All(ctx)
	if err != nil {
		return fmt.Errorf("read all processes: %w", err)
	}
	ended := bootNow()
	if err := d.hear(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	d.state.Seed(list, began, ended)
	d.mu.Unlock()
	d.resynced = time.Now()
	return nil
}

// due are the young processes that are to be read once more. The caller holds mu.
func (d *daemon) due(now time.Duration) []int {
	d.revisits = append(d.revisits, d.vitals.takeYoung()...)
	var pids []int
	rest := d.revisits[:0]
	for _, r := range d.revisits {
		switch _, _, alive := d.state.Process(r.pid); {
		case !alive:
		case r.at <= now:
			pids = append(pids, r.pid)
		default:
			rest = append(rest, r)
		}
	}
	d.revisits = rest
	return pids
}

// inputs are the processes to judge: those named with their ancestors as far as
// these matter, or all.
func (d *daemon) inputs(only []int) []remembered {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []remembered
	perf := d.tier() == probe.TierPerf
	add := func(p *snapshot.Process, info track.Info) {
		if errors.Is(p.Err, track.ErrUnread) {
			return // it began after the last reading, and is marked
		}
		key := nameKeyOf(p, info)
		r := remembered{Process: *p, names: d.names[key], key: key}
		if perf {
			r.Mappings = withoutTold(p.Mappings, info.Read)
		}
		list = append(list, r)
	}
	if only == nil {
		list = make([]remembered, 0, d.state.Count().Processes)
		d.state.Each(add)
		return list
	}
	taken := make(map[int]bool)
	for _, pid := range only {
		for pid != 0 && !taken[pid] {
			taken[pid] = true
			p, info, ok := d.state.Process(pid)
			if !ok {
				break
			}
			add(&p, info)
			if !p.ForkNoExec {
				break
			}
			pid = p.PPID
		}
	}
	return list
}

// withoutTold leaves out the mappings that were only told, by the side band, before the
// process was read: that tells of what is already there, so a later reading shows it if it
// still is. On overlayfs the two number the same file differently.
func withoutTold(list []snapshot.Mapping, read time.Duration) []snapshot.Mapping {
	told := func(m snapshot.Mapping) bool { return m.End == 0 && !m.Exe && m.At != 0 && m.At < read }
	if !slices.ContainsFunc(list, told) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), told)
}

// scan judges the processes named, or all, and doubts readings from before fresh. The
// caller closes the scan.
func (d *daemon) scan(ctx context.Context, only []int, fresh time.Duration) (*scan, error) {
	inputs := d.inputs(only)
	if only == nil {
		if err := d.identify(ctx, inputs); err != nil {
			return nil, err
		}
	}
	boot, err := bootTime()
	if err != nil {
		return nil, err
	}
	sc := newScan(d.Sensor, d.fs, d.root, SourceDaemon, boot)
	sc.inventory = d.inventory
	sc.mem, sc.evident = d.mem, make(map[evidenceKey]evidence)
	if only == nil {
		d.mem.later, d.mem.putOff = time.Time{}, false
		d.mem.useKept()
	}
	sc.keepHostAway()
	d.mem.hostPackages(sc)
	sc.fresh = fresh
	if d.count().Evicted > 0 {
		sc.warnings.add(SubjectProcesses, errCrowded, "")
	}
	if err := sc.run(ctx, inputs); err != nil {
		sc.close()
		return nil, err
	}
	d.remember(sc, only == nil)
	d.mem.learn(ctx, sc)
	return sc, nil
}

// identify brings up to date what processes can change about themselves without
// anybody being told: root, namespaces, cgroup, user. By these they are told what
// they see and whose they are.
func (d *daemon) identify(ctx context.Context, inputs []remembered) error {
	who, err := d.reader.Who(ctx)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	index := make(map[int]*snapshot.Process, len(who))
	for i := range who {
		if index[who[i].PID] == nil {
			index[who[i].PID] = &who[i]
		}
	}
	for i := range inputs {
		p := &inputs[i].Process
		now := index[p.PID]
		if now == nil || now.Start != p.Start {
			continue // it has just ended
		}
		inputs[i].alive = true
		p.TID, p.PPID, p.UID, p.Comm = now.TID, now.PPID, now.UID, now.Comm
		p.PIDNS, p.MntNS, p.InnerPID = now.PIDNS, now.MntNS, now.InnerPID
		p.RootKey, p.CgroupKey = now.RootKey, now.CgroupKey
	}
	return nil
}

var errCrowded = errors.New("there are, or were, more than the sensor keeps: some may be missing here")

// remember keeps the names that were read and where files were found, and now and then
// drops those of processes that are gone.
func (d *daemon) remember(sc *scan, all bool) {
	if all {
		d.names = make(map[nameKey]*loadNames, len(sc.processes))
		d.mem.files = make(map[*snapshot.File]*seenAt, len(sc.files))
	}
	for f, l := range sc.files {
		if l.known && l.seen != nil {
			d.mem.files[f] = l.seen
		}
	}
	for _, p := range sc.processes {
		if p.key.mappings != nil {
			d.names[p.key] = p.names
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.names) < 2*d.state.Count().Processes+1024 {
		return
	}
	alive := make(map[nameKey]*loadNames)
	d.state.Each(func(p *snapshot.Process, info track.Info) {
		key := nameKeyOf(p, info)
		if names := d.names[key]; names != nil {
			alive[key] = names
		}
	})
	d.names = alive
}

func nameKeyOf(p *snapshot.Process, info track.Info) nameKey {
	if len(p.Mappings) == 0 {
		return nameKey{nil, info.Read}
	}
	return nameKey{&p.Mappings[0], info.Read}
}

// suspicious reports whether anything that the processes named run is not plainly
// current.
func (d *daemon) suspicious(ctx context.Context, pids []int) (bool, error) {
	sc, err := d.scan(ctx, pids, 0)
	if err != nil {
		return false, err
	}
	defer sc.close()
	defer func() { maps.Copy(d.mem.evidence, sc.evident) }()
	named := make(map[int]bool, len(pids))
	for _, pid := range pids {
		named[pid] = true
	}
	for _, p := range sc.processes {
		if named[p.PID] && (p.Err != nil || len(sc.suspects(ctx, p)) > 0) {
			return true, nil
		}
	}
	return false, nil
}

// judge judges everything and enters the result into the ledger. The caller closes
// the scan.
func (d *daemon) judge(ctx context.Context) (*scan, *Report, error) {
	began := time.Now()
	// Before the report forgets what was said of them.
	d.gatherEnded()
	sc, r, err := d.settledReport(ctx)
	if err != nil {
		return nil, nil, err
	}
	r.ScannedAt = began.UTC()
	d.note(ctx, sc, r)
	d.watchRoots(ctx, sc)
	r.DurationSeconds = time.Since(began).Seconds()
	d.book.write(ctx, d.ledger.enter(r), r.Host)
	d.book.learn(ctx, d.mem)
	r.Gaps = d.gaps()
	r.DurationSeconds = time.Since(began).Seconds()
	d.maintain(sc, r)
	d.owed = false
	d.vitals.judged(r, d.ledger, time.Since(began))
	return sc, r, nil
}

// rounds is how often processes are read again one by one before all are.
const rounds = 3

// settledReport judges everything, and again for as long as what is remembered of a
// process does not fit what is seen of it: that a mapping is not where it was says
// nothing about what the process runs.
func (d *daemon) settledReport(ctx context.Context) (*scan, *Report, error) {
	began := bootNow()
	for round := 1; ; round++ {
		sc, err := d.scan(ctx, nil, began)
		if err != nil {
			return nil, nil, err
		}
		r := sc.report(ctx)
		d.mem.evidence = sc.evident
		if len(sc.doubts) == 0 || round > rounds+1 {
			return sc, r, nil
		}
		sc.close()
		d.log.Debug("what is remembered does not fit", zap.Int("round", round), zap.Int("processes", len(sc.doubts)))
		if round > rounds {
			err = d.resync(ctx)
		} else {
			err = d.reread(ctx, slices.Sorted(maps.Keys(sc.doubts)))
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// reread reads processes again.
func (d *daemon) reread(ctx context.Context, pids []int) error {
	began := bootNow()
	list, err := d.reader.Some(ctx, pids)
	if err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	ended := bootNow()
	if err := d.hear(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	d.state.Update(pids, list, began, ended)
	d.mu.Unlock()
	return nil
}

// hear waits for what was told while something was read. A process that a reading
// does not show has ended; what it did until then has to be known before that.
func (d *daemon) hear(ctx context.Context) error {
	if d.tracer == nil {
		return nil
	}
	if err := d.tracer.Sync(ctx); err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	return nil
}

// note keeps what the report says of files and processes, by which later events
// are judged.
func (d *daemon) note(ctx context.Context, sc *scan, r *Report) {
	d.reported = make(map[int]bool, len(r.Findings))
	for i := range r.Findings {
		for _, p := range r.Findings[i].Processes {
			d.reported[p.PID] = true
		}
	}
	d.known = sc.knownFiles(ctx)
	d.hosts = make(map[viewKey]bool)
	for key, v := range sc.views {
		d.hosts[key] = sc.isHost(v)
	}
}
