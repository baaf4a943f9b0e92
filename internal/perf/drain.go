package perf

import (
	"container/heap"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Drain appends to buf what all rings hold of times up to until, sorted by time,
// and returns it. It does not block; what came since it began is for the next
// call. math.MaxInt64 stands for everything.
//
// A record is in its ring some microseconds after its time (more where a
// hypervisor takes the CPU away in between), so with until a little in the past,
// such as Now() less a millisecond, successive answers are in order too and can be
// merged with other sources; with a later one a straggler may come late.
func (r *Reader) Drain(buf []Record, until time.Duration) []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.rings {
		g.load()
	}
	for _, g := range r.rings {
		var due bool
		if buf, due = r.look(buf, g, until); due {
			r.order = append(r.order, g)
		}
	}
	heap.Init(&r.order)
	for len(r.order) > 0 {
		g := r.order[0]
		buf = r.deliver(buf, g)
		var due bool
		if buf, due = r.look(buf, g, until); due {
			heap.Fix(&r.order, 0)
		} else {
			heap.Pop(&r.order)
		}
	}
	for _, g := range r.rings {
		buf = r.settle(buf, g, until)
	}
	r.rings = slices.DeleteFunc(r.rings, func(g *ring) bool {
		if !g.retired || g.pending() > 0 {
			return false
		}
		if err := g.close(); err != nil {
			r.log.Warn("close perf ring", zap.Int("cpu", g.cpu), zap.Error(err))
		}
		return true
	})
	return buf
}

// byTime is a heap of rings, the one with the oldest record first.
type byTime []*ring

func (o byTime) Len() int           { return len(o) }
func (o byTime) Less(i, j int) bool { return o[i].time < o[j].time }
func (o byTime) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *byTime) Push(x any)        { *o = append(*o, x.(*ring)) }
func (o *byTime) Pop() any {
	last := len(*o) - 1
	g := (*o)[last]
	*o = (*o)[:last]
	return g
}

// look moves a ring on to its next record and reports whether that is due. When
// the ring does not make sense, the rest of it is lost.
func (r *Reader) look(buf []Record, g *ring, until time.Duration) ([]Record, bool) {
	due, err := g.next(until)
	if err == nil {
		return buf, due
	}
	r.log.Warn("perf ring skipped", zap.Int("cpu", g.cpu), zap.Error(err),
		zap.Uint64("tail", g.image.tail), zap.Uint64("head", g.image.head))
	g.image.tail = g.image.head
	r.counts[kindMalformed]++
	return r.lose(buf, g, g.time, 0), false
}

// deliver takes one record from a ring.
func (r *Reader) deliver(buf []Record, g *ring) []Record {
	buf = append(buf, Record{})
	rec := &buf[len(buf)-1]
	kind := decode(g.rec, r.names, rec)
	g.take()
	// Who asks for mappings gets these from the kernel, wanted or not
	// (perf_event_task_match in kernel/events/core.c).
	if !r.tasks && (kind == Fork || kind == Exit) {
		kind = kindTask
	}
	r.counts[kind]++
	if kind >= Map && kind <= Exit {
		rec.CPU, rec.Time = g.cpu, g.time
		if kind == Map && rec.Ino == 0 && rec.Name == "" {
			r.stats.Unnamed++
		}
		return buf
	}
	lost := rec.Lost
	buf = buf[:len(buf)-1]
	switch kind {
	case Lost:
		g.told += lost
		return r.account(buf, g, g.time)
	case kindMalformed:
		return r.lose(buf, g, g.time, 0)
	}
	return buf
}

// settle gives back the memory of what was read, and finds losses of which no
// record tells yet: the kernel writes PERF_RECORD_LOST before the next record
// that it has room for, and that may never come.
func (r *Reader) settle(buf []Record, g *ring, until time.Duration) []Record {
	held := g.store()
	if held+maxRecord <= uint64(len(g.image.data)) {
		return buf
	}
	at := min(Now(), until)
	if n := len(buf); n > 0 {
		at = max(at, buf[n-1].Time)
	}
	if !g.counting {
		if held == 0 {
			return buf
		}
		return r.lose(buf, g, at, 0)
	}
	_, lost, err := g.read()
	if err != nil {
		r.log.Warn("perf losses unknown", zap.Error(err))
		return r.lose(buf, g, at, 0)
	}
	g.counted = lost
	return r.account(buf, g, at)
}

// account delivers the losses that were not: the event's counter and the records
// tell the same ones, either may be first.
func (r *Reader) account(buf []Record, g *ring, at time.Duration) []Record {
	known := max(g.counted, g.told)
	if known <= g.delivered {
		return buf
	}
	n := known - g.delivered
	g.delivered = known
	return r.lose(buf, g, at, n)
}

// lose delivers a loss of n records, 0 if their number is not known.
func (r *Reader) lose(buf []Record, g *ring, at time.Duration, n uint64) []Record {
	r.stats.Lost += max(n, 1)
	return append(buf, Record{Kind: Lost, CPU: g.cpu, Time: at, Lost: n})
}
