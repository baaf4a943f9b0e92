package sensor

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/store"
)

// book keeps what the sensor saw: in the store and, for as long as that fails, in
// memory. What is told is told whether it can be kept or not.
type book struct {
	log  *zap.Logger
	path string
	opts store.Options

	mu sync.Mutex
	// store is opened and closed by the worker alone.
	store *store.Store
	// pending is what could not be written yet, oldest first, bounded by maxPending.
	pending []*entry
	recent  []Event // the newest ones, oldest first
	before  uint64  // the cursor of the event before recent
	cursor  uint64  // at or above that of the newest event
	newest  uint64  // of the newest event that can be had, 0 if there is none
	number  uint64  // below the cursor of the next event
	// news is closed and made anew with each event.
	news    chan struct{}
	gapList []Gap
	failure error
	pruned  time.Time // by the worker
	// open are the exposures that are not closed yet, as the worker changes them:
	// a store that is lost is told of them anew.
	open    map[*store.Exposure]bool
	dropped uint64 // batches
	told    map[EventType]uint64
}

const (
	maxPending = 1024
	maxRecent  = 1024
	maxGaps    = 64
	// gapMemory is how long a report mentions a gap.
	gapMemory = 7 * 24 * time.Hour
)

// entry is what is written at once. Exposures get their numbers when they are
// written, so that what closes them has to be filled in after that.
type entry struct {
	store.Batch
	entries
}

// storeFile is the store's name in the state directory.
const storeFile = "sensor.db"

// openBook opens the store. One that cannot be opened is no reason not to watch:
// only that another sensor has it is.
func openBook(ctx context.Context, dir string, retention time.Duration, log *zap.Logger) (*book, error) {
	b := &book{
		log: log, path: filepath.Join(dir, storeFile), opts: store.Options{MaxAge: retention},
		news: make(chan struct{}), told: make(map[EventType]uint64), open: make(map[*store.Exposure]bool),
		// By the clock, so that no cursor is used again when the store is lost or
		// its last transactions are.
		number: uint64(max(0, time.Now().UnixMicro())),
	}
	if err := b.openStore(ctx); err != nil {
		if errors.Is(err, store.ErrLocked) {
			return nil, err
		}
		b.fail(err)
	}
	return b, nil
}

func (b *book) openStore(ctx context.Context) error {
	opts := b.opts
	b.mu.Lock()
	opts.First = b.number
	for _, n := range b.pending {
		if len(n.Events) > 0 {
			opts.First = n.Events[0].Seq - 1
			break
		}
	}
	b.mu.Unlock()
	s, recovery, err := store.Open(ctx, b.path, opts)
	if err != nil {
		return err
	}
	if recovery != nil {
		b.log.Error("the store could not be used and was moved aside: what was observed before is lost",
			zap.String("moved to", recovery.MovedTo), zap.Error(recovery.Cause))
	}
	last, err := s.LastSeq(ctx)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	newest, _, err := s.Events(ctx, max(last, 1)-1, 1)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	gaps, err := s.Gaps(ctx, time.Now().Add(-gapMemory), maxGaps)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.store, b.failure = s, nil
	if len(b.recent) == 0 {
		b.before, b.cursor = last, last
		if len(newest) > 0 {
			b.newest = last
		}
	}
	b.number = max(b.number, last)
	for i := len(gaps) - 1; i >= 0; i-- {
		b.gapList = append(b.gapList, Gap{gaps[i].From, gaps[i].To, gaps[i].Why})
	}
	return nil
}

func (b *book) close() error {
	if b.store == nil {
		return nil
	}
	return b.store.Close()
}

// fail notes that something could not be kept, and says so once for each cause.
func (b *book) fail(err error) {
	b.mu.Lock()
	before := b.failure
	b.failure = err
	b.mu.Unlock()
	if before == nil || before.Error() != err.Error() {
		b.log.Error("what is observed cannot be kept at the moment", zap.String("store", b.path), zap.Error(err))
	}
}

// add numbers the events, keeps the batch, and tells the events. They are told last,
// so that after a kill no number is given again to another event; and they are told
// even if nothing can be kept.
func (b *book) add(ctx context.Context, n *entry) {
	b.mu.Lock()
	events := n.entries.events
	for i := range events {
		e := &events[i]
		b.number++
		b.cursor, e.Cursor = b.number, b.number
		b.told[e.Type]++
		body, err := json.Marshal(e)
		if err != nil {
			b.log.Error("event cannot be written down", zap.Error(err))
			continue
		}
		n.Events = append(n.Events, store.Event{Seq: e.Cursor, At: e.Time, Type: string(e.Type), Body: body})
	}
	b.pending = append(b.pending, n)
	if n := len(b.pending) - maxPending; n > 0 {
		b.pending = append([]*entry(nil), b.pending[n:]...)
		b.dropped += uint64(n)
	}
	b.mu.Unlock()
	b.flush(ctx)
	if len(events) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recent = append(b.recent, events...)
	if n := len(b.recent) - maxRecent; n > 0 {
		b.before = b.recent[n-1].Cursor
		b.recent = append([]Event(nil), b.recent[n:]...)
	}
	b.newest = events[len(events)-1].Cursor
	close(b.news)
	b.news = make(chan struct{})
}

// flush writes what is pending, in order, until something fails. What is wrong with
// a batch itself will not be right later.
func (b *book) flush(ctx context.Context) {
	for b.store != nil {
		b.mu.Lock()
		if len(b.pending) == 0 {
			b.failure = nil
			b.mu.Unlock()
			return
		}
		next := b.pending[0]
		b.mu.Unlock()
		next.fill()
		err := b.store.Write(ctx, &next.Batch)
		switch {
		case err == nil:
			for i, x := range next.opened {
				x.ID = next.Opened[i].ID
			}
		case errors.Is(err, store.ErrCorrupt):
			b.discard(ctx, err)
			return
		case errors.Is(err, store.ErrInvalid) && next.sift(b.log):
			continue
		case errors.Is(err, store.ErrNoExposure) && len(next.changed)+len(next.closed) > 0:
			// Not what it says of others, nor its events.
			b.log.Error("an exposure is not in the store any more", zap.Error(err))
			next.changed, next.closed = nil, nil
			continue
		case errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrNoExposure):
			b.log.Error("something observed cannot be kept", zap.Error(err))
			b.mu.Lock()
			b.dropped++
			b.mu.Unlock()
		default:
			if ctx.Err() == nil {
				b.fail(err)
			}
			return
		}
		b.mu.Lock()
		b.pending = b.pending[1:]
		b.mu.Unlock()
	}
}

// discard moves a corrupt store aside and starts a new one.
func (b *book) discard(ctx context.Context, why error) {
	err := b.store.Close()
	b.mu.Lock()
	b.store = nil
	b.mu.Unlock()
	_, discardErr := store.Discard(b.path, why)
	b.log.Error("the store is corrupt and was moved aside: what was observed before is lost", zap.Error(errors.Join(why, err, discardErr)))
	if err := b.openStore(ctx); err != nil {
		b.fail(err)
	}
	// Their numbers were those of the store that is gone.
	anew := &entry{}
	for x := range b.open {
		x.ID = 0
		anew.opened = append(anew.opened, x)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rest := b.pending[:0]
	for _, n := range b.pending {
		n.opened = slices.DeleteFunc(n.opened, func(x *store.Exposure) bool { return b.open[x] })
		n.changed = nil
		n.closed = slices.DeleteFunc(n.closed, func(x *store.Exposure) bool { x.ID = 0; return true })
		rest = append(rest, n)
	}
	b.pending = append([]*entry{anew}, rest...)
}

// write keeps what a report changed.
func (b *book) write(ctx context.Context, e entries, host Host) {
	if len(e.events)+len(e.opened)+len(e.changed)+len(e.closed) == 0 {
		return
	}
	for _, x := range e.opened {
		if x.Closed.IsZero() {
			b.open[x] = true
		}
	}
	for _, x := range e.closed {
		delete(b.open, x)
	}
	for i := range e.events {
		e.events[i].Host = host
	}
	b.add(ctx, &entry{entries: e})
}

// fill makes the rows of exposures. Those that were never written, because what
// was pending grew too long, cannot be changed.
func (n *entry) fill() {
	n.Opened, n.Changed, n.Closed = nil, nil, nil
	for _, x := range n.opened {
		n.Opened = append(n.Opened, *x)
	}
	for _, x := range n.changed {
		if x.ID != 0 {
			n.Changed = append(n.Changed, *x)
		}
	}
	for _, x := range n.closed {
		if x.ID != 0 {
			n.Closed = append(n.Closed, *x)
		}
	}
}

// sift drops what the store refuses, so that one hostile name does not cost its
// neighbours; it reports whether that was anything.
func (n *entry) sift(log *zap.Logger) bool {
	refused := n.Sift()
	valid := func(list []*store.Exposure) []*store.Exposure {
		return slices.DeleteFunc(list, func(x *store.Exposure) bool {
			return len((&store.Batch{Opened: []store.Exposure{*x}}).Sift()) > 0
		})
	}
	n.opened, n.changed, n.closed = valid(n.opened), valid(n.changed), valid(n.closed)
	for _, err := range refused {
		log.Error("something observed cannot be kept", zap.Error(err))
	}
	return len(refused) > 0
}

// learn keeps what the memory learned.
func (b *book) learn(ctx context.Context, m *memory) {
	if len(m.learned) == 0 {
		return
	}
	b.add(ctx, &entry{Batch: store.Batch{Learned: m.learned}})
	m.learned = nil
}

// missed keeps a gap and tells of it.
func (b *book) missed(ctx context.Context, g Gap, host Host) {
	b.mu.Lock()
	b.gapList = append(b.gapList, g)
	if n := len(b.gapList) - maxGaps; n > 0 {
		b.gapList = append([]Gap(nil), b.gapList[n:]...)
	}
	b.mu.Unlock()
	event := Event{Schema: EventSchema, Time: g.To, Type: EventGap, Host: host, Gap: &g}
	b.add(ctx, &entry{Batch: store.Batch{Gaps: []store.Gap{{From: g.From, To: g.To, Why: g.Why}}}, entries: entries{events: []Event{event}}})
}

// gaps are those of the last days, oldest first.
func (b *book) gaps() []Gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []Gap{}
	for _, g := range b.gapList {
		if time.Since(g.To) < gapMemory {
			list = append(list, g)
		}
	}
	return list
}

// beat notes that the sensor is alive, and tries again what failed.
func (b *book) beat(ctx context.Context, now time.Time) {
	if b.store == nil {
		if err := b.openStore(ctx); err != nil {
			b.fail(err)
			return
		}
	}
	// Not by add: beats that cannot be written are worth nothing later.
	b.flush(ctx)
	if b.store != nil {
		if err := b.store.Write(ctx, &store.Batch{Beat: now}); err != nil && ctx.Err() == nil {
			b.fail(err)
		}
	}
	if now.Sub(b.pruned) < pruneEvery || b.store == nil {
		return
	}
	b.pruned = now
	if err := b.store.Prune(ctx, now); err != nil && ctx.Err() == nil {
		b.fail(err)
	}
}

// pruneEvery is how often the store drops what is too old.
const pruneEvery = time.Hour

// status says how the store is doing.
func (b *book) status() StoreStatus {
	b.mu.Lock()
	s := StoreStatus{Path: b.path}
	if b.failure != nil {
		s.Error = text(b.failure.Error())
	}
	db := b.store
	b.mu.Unlock()
	if db != nil {
		if n, err := db.Size(); err == nil {
			s.Bytes = n
		}
	}
	return s
}

// counts are how many events were told since the start.
func (b *book) counts() map[EventType]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.told)
}

// lost is how much could not be kept.
func (b *book) lost() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}
