package perf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"
)

// frames counts the records in b, the plain way. The last one may be no record.
func frames(b []byte) (n int, sound bool) {
	for len(b) > 0 {
		if len(b) < headerSize {
			return n, false
		}
		size := int(binary.NativeEndian.Uint16(b[6:]))
		if size < headerSize || size%8 != 0 || size > len(b) {
			return n, false
		}
		b = b[size:]
		n++
	}
	return n, true
}

func total(r *Reader) (n uint64) {
	for _, c := range r.counts {
		n += c
	}
	return n
}

// FuzzDrain lets the kernel write anything into two rings, from any place on and
// Every record must be counted, whatever is not one must be a loss,
// and answers must be sorted.
func FuzzDrain(f *testing.F) {
	b := slices.Concat(rawMap(3, 10, 8, 1, 9, "/usr/lib/libx.so.1"), rawTask(recordFork, 4, 12, 10, 12),
		raw(recordComm, miscCommExec, 5, uint32(12), uint32(12), "sh"), rawTask(recordExit, 6, 12, 10, 12),
		raw(recordLost, 0, 7, uint64(1), uint64(2)), raw(9, 0, 8, uint64(1)))
	f.Add(b, b, uint64(0), int64(4))
	f.Add(b, b[:100], uint64(4000), int64(math.MaxInt64))
	f.Add(b, []byte{10, 0, 0, 0, 0, 0, 7, 0}, uint64(math.MaxUint64-4095), int64(0))
	f.Add(rawMap(math.MaxInt64, 10, 8, 1, 9, "/x"), b[:100], uint64(0), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b []byte, at uint64, until int64) {
		const size = 1 << 12
		at -= at % 8
		a, b = a[:min(len(a), size)], b[:min(len(b), size)]
		rings := []*ring{fake(0, size, at, a), fake(1, size, at, b)}
		for _, g := range rings {
			g.image.data = g.image.data[:size:size]
		}
		before := bytes.Clone(rings[0].image.data)
		r := reader(rings...)
		first := r.Drain(nil, time.Duration(until))
		early := r.Stats()
		rest := r.Drain(nil, math.MaxInt64)
		s := r.Stats()

		var want, broken uint64
		for _, in := range [][]byte{a, b} {
			n, sound := frames(in)
			want += uint64(n)
			if !sound {
				want++ // counted as malformed
				broken++
			}
		}
		if total(r) != want {
			t.Errorf("%d records counted, there are %d", total(r), want)
		}
		if s.Malformed < broken || s.Lost < s.Malformed || s.Lost < early.Lost {
			t.Errorf("first %+v\nthen %+v, %d rings broken", early, s, broken)
		}
		byTime := func(a, b Record) int { return cmp.Compare(a.Time, b.Time) }
		for _, records := range [][]Record{first, rest} {
			if !slices.IsSortedFunc(records, byTime) {
				t.Errorf("not sorted: %s", kinds(records))
			}
			for _, rec := range records {
				if rec.Kind < Map || rec.Kind > Lost || (rec.Kind != Lost && (rec.PID <= 0 || rec.TID <= 0)) {
					t.Errorf("%+v", rec)
				}
			}
		}
		for _, rec := range first {
			if rec.Kind != Lost && rec.Time > max(time.Duration(until), 0) {
				t.Errorf("%s is after %d", kinds([]Record{rec}), until)
			}
		}
		for _, g := range rings {
			if g.pending() != 0 || g.header.Data_tail != g.header.Data_head {
				t.Errorf("left %d bytes", g.pending())
			}
		}
		if !bytes.Equal(before, rings[0].image.data) {
			t.Error("the ring was written to")
		}
	})
}
