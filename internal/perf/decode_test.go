package perf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// raw makes a record of a type, its flags and its fields, with a time behind.
func raw(kind uint32, misc uint16, at time.Duration, fields ...any) []byte {
	var b bytes.Buffer
	b.Write(make([]byte, headerSize))
	for _, f := range fields {
		if s, ok := f.(string); ok {
			b.WriteString(s)
			b.Write(make([]byte, 8-len(s)%8))
			continue
		}
		if err := binary.Write(&b, binary.NativeEndian, f); err != nil {
			panic(err)
		}
	}
	_ = binary.Write(&b, binary.NativeEndian, uint64(at))
	out := b.Bytes()
	binary.NativeEndian.PutUint32(out, kind)
	binary.NativeEndian.PutUint16(out[4:], misc)
	binary.NativeEndian.PutUint16(out[6:], uint16(len(out)))
	return out
}

func rawMap(at time.Duration, pid, major, minor uint32, ino uint64, name string) []byte {
	return raw(recordMmap2, 2, at, pid, pid+1, uint64(0x1000), uint64(0x2000), uint64(0x3000),
		major, minor, ino, uint64(7), uint32(5), uint32(2), name)
}

func rawTask(kind uint32, at time.Duration, pid, ppid, tid uint32) []byte {
	return raw(kind, 0, at, pid, ppid, tid, ppid, uint64(at))
}

func TestDecode(t *testing.T) {
	mapped := Record{Kind: Map, PID: 10, TID: 11, Dev: file.MakeDev(254, 3), Ino: 99, Generation: 7,
		Addr: 0x1000, Len: 0x2000, Pgoff: 0x3000, Prot: unix.PROT_READ | unix.PROT_EXEC, Flags: unix.MAP_PRIVATE}
	named := func(r Record, name string) Record { r.Name = name; return r }
	nowhere := mapped
	nowhere.Dev, nowhere.Ino = 0, 0
	long := "/" + strings.Repeat("x", 4094)
	for _, c := range []struct {
		what string
		in   []byte
		kind Kind
		want Record
	}{
		{"file", rawMap(1, 10, 254, 3, 99, "/lib/x.so"), Map, named(mapped, "/lib/x.so")},
		{"name of whole words", rawMap(1, 10, 254, 3, 99, "/1234567"), Map, named(mapped, "/1234567")},
		{"longest name", rawMap(1, 10, 254, 3, 99, long), Map, named(mapped, long)},
		{"odd name", rawMap(1, 10, 254, 3, 99, "/a b\n(deleted) (deleted)\xff"), Map, named(mapped, "/a b\n(deleted) (deleted)\xff")},
		{"file that is called like no file", rawMap(1, 10, 254, 3, 99, "//anon"), Map, named(mapped, "//anon")},
		{"memory", rawMap(1, 10, 0, 3, 99, "/memfd:jit (deleted)"), Map,
			named(func() Record { r := mapped; r.Dev = file.MakeDev(0, 3); return r }(), "/memfd:jit (deleted)")},
		{"too long", rawMap(1, 10, 0, 0, 0, "//toolong"), Map, func() Record { r := nowhere; r.Generation = 7; return r }()},
		{"no memory", rawMap(1, 10, 0, 0, 0, "//enomem"), Map, func() Record { r := nowhere; r.Generation = 7; return r }()},
		{"anonymous", rawMap(1, 10, 0, 0, 0, "//anon"), kindNoFile, Record{}},
		{"vdso", rawMap(1, 10, 0, 0, 0, "[vdso]"), kindNoFile, Record{}},
		{"foreign", rawMap(1, 0, 254, 3, 99, "/lib/x.so"), kindForeign, Record{}},
		{"beyond", rawMap(1, math.MaxUint32, 254, 3, 99, "/lib/x.so"), kindForeign, Record{}},
		{"build ID", raw(recordMmap2, miscMmapBuildID, 1, make([]uint64, 9)), kindMalformed, Record{}},
		{"no name", raw(recordMmap2, 0, 1, make([]uint64, 8)), kindMalformed, Record{}},
		{"exec", raw(recordComm, miscCommExec, 1, uint32(10), uint32(10), "a) b\n"), Exec, Record{Kind: Exec, PID: 10, TID: 10, Name: "a) b\n"}},
		{"exec elsewhere", raw(recordComm, miscCommExec, 1, uint32(0), uint32(0), "sh"), kindForeign, Record{}},
		{"rename", raw(recordComm, 0, 1, uint32(10), uint32(10), "x"), kindRename, Record{}},
		{"no comm", raw(recordComm, miscCommExec, 1, uint32(10), uint32(10)), kindMalformed, Record{}},
		{"fork", rawTask(recordFork, 1, 12, 10, 12), Fork, Record{Kind: Fork, PID: 12, TID: 12, PPID: 10}},
		{"fork by a foreigner", rawTask(recordFork, 1, 12, 0, 12), Fork, Record{Kind: Fork, PID: 12, TID: 12}},
		{"fork by one past showing", rawTask(recordFork, 1, 12, math.MaxUint32, 12), Fork, Record{Kind: Fork, PID: 12, TID: 12}},
		{"thread", rawTask(recordFork, 1, 10, 10, 13), kindThread, Record{}},
		{"threads of foreigners", rawTask(recordFork, 1, 0, 0, 0), kindForeign, Record{}},
		{"exit", rawTask(recordExit, 1, 12, 10, 12), Exit, Record{Kind: Exit, PID: 12, TID: 12, PPID: 10}},
		{"thread's exit", rawTask(recordExit, 1, 10, 1, 13), Exit, Record{Kind: Exit, PID: 10, TID: 13, PPID: 1}},
		{"short fork", raw(recordFork, 0, 1, uint64(1)), kindMalformed, Record{}},
		{"lost", raw(recordLost, 0, 1, uint64(4), uint64(77)), Lost, Record{Kind: Lost, Lost: 77}},
		{"lost samples", raw(recordLostSamples, 0, 1, uint64(5)), Lost, Record{Kind: Lost, Lost: 5}},
		{"short lost", raw(recordLost, 0, 1, uint64(4)), kindMalformed, Record{}},
		{"short lost samples", raw(recordLostSamples, 0, 1), kindMalformed, Record{}},
		{"sample", raw(9, 0, 1, uint64(4)), kindUnknown, Record{}},
		{"header alone", raw(recordMmap2, 0, 1)[:headerSize], kindMalformed, Record{}},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := Record{Name: "left over", Ino: 1}
			if kind := decode(c.in, newNames(), &r); kind != c.kind {
				t.Fatalf("kind %d, want %d", kind, c.kind)
			}
			if c.kind <= Lost && r != c.want {
				t.Errorf("got  %+v\nwant %+v", r, c.want)
			}
		})
	}
}

// fake is a ring that no kernel writes.
func fake(cpu, size int, at uint64, records ...[]byte) *ring {
	g := &ring{cpu: cpu, fd: -1, header: new(unix.PerfEventMmapPage), image: image{data: make([]byte, size), tail: at}}
	g.header.Data_tail, g.header.Data_head = at, at
	for _, b := range records {
		for _, c := range b {
			g.image.data[g.header.Data_head%uint64(size)] = c
			g.header.Data_head++
		}
	}
	return g
}

func reader(rings ...*ring) *Reader {
	return &Reader{tasks: true, log: zap.NewNop(), names: newNames(), rings: rings}
}

func kinds(records []Record) string {
	var s []string
	for _, r := range records {
		s = append(s, fmt.Sprintf("%d@%d/%d", r.Kind, r.Time, r.CPU))
	}
	return strings.Join(s, " ")
}

func TestDrainMerges(t *testing.T) {
	m := func(at time.Duration) []byte { return rawMap(at, 1, 8, 1, 1, "/x") }
	a := fake(0, 1<<16, 0, m(1), m(4), m(4), raw(9, 0, 5, uint64(0)), m(9))
	b := fake(1, 1<<16, 0, m(2), m(3), rawTask(recordFork, 5, 12, 10, 12), rawTask(recordExit, 6, 12, 10, 12))
	c := fake(2, 1<<16, 0)
	r := reader(a, b, c)
	if got := kinds(r.Drain(nil, 4)); got != "1@1/0 1@2/1 1@3/1 1@4/0 1@4/0" {
		t.Errorf("up to 4: %s", got)
	}
	if b.header.Data_tail != b.image.tail || b.pending() == 0 {
		t.Errorf("tail %d, pending %d", b.header.Data_tail, b.pending())
	}
	head := []Record{{Kind: Map}}
	if got := kinds(r.Drain(head, math.MaxInt64)); got != "1@0/0 3@5/1 4@6/1 1@9/0" {
		t.Errorf("rest: %s", got)
	}
	if got := r.Drain(nil, math.MaxInt64); got != nil {
		t.Errorf("nothing: %+v", got)
	}
	s := r.Stats()
	if s.Maps != 6 || s.Forks != 1 || s.Exits != 1 || s.Unknown != 1 || s.Lost != 0 || s.Rings != 3 {
		t.Errorf("%+v", s)
	}
}

// TestWrap holds that a record is whole wherever the end of the ring cuts it.
func TestWrap(t *testing.T) {
	const size = 1 << 14
	b := rawMap(1, 10, 8, 1, 5, "/some/name/of a file")
	for cut := 0; cut <= len(b); cut += 8 {
		for _, base := range []uint64{0, 3 * size, math.MaxUint64 - size + 1} {
			r := reader(fake(0, size, base+size-uint64(cut), b, b))
			got := r.Drain(nil, math.MaxInt64)
			if len(got) != 2 || got[0].Name != "/some/name/of a file" || got[0].Prot != 5 || got[1] != got[0] {
				t.Fatalf("cut after %d of %d bytes: %+v", cut, len(b), got)
			}
		}
	}
}

// TestMalformed holds that a ring that makes no sense is a loss on its CPU, and
// that what stands before it, what comes after it and other CPUs are still read.
func TestMalformed(t *testing.T) {
	good := func(at time.Duration) []byte { return rawMap(at, 1, 8, 1, 1, "/x") }
	sized := func(n uint16) []byte {
		b := good(2)
		binary.NativeEndian.PutUint16(b[6:], n)
		return b
	}
	for what, bad := range map[string][]byte{
		"size 0": sized(0), "size below the header": sized(7), "odd size": sized(9),
		"more than there is": sized(1 << 15), "cut off": good(2)[:16], "less than a header": good(2)[:4],
	} {
		t.Run(what, func(t *testing.T) {
			records := [][]byte{good(1), bad}
			a, b := fake(0, 1<<16, 0, records...), fake(1, 1<<16, 0, good(1), good(3))
			r := reader(a, b)
			if got := kinds(r.Drain(nil, math.MaxInt64)); got != "1@1/0 5@1/0 1@1/1 1@3/1" && got != "1@1/1 1@1/0 5@1/0 1@3/1" {
				t.Errorf("drained %s", got)
			}
			if s := r.Stats(); s.Malformed != 1 || s.Lost != 1 {
				t.Errorf("%+v", s)
			}
			if a.pending() != 0 || a.header.Data_tail != a.header.Data_head {
				t.Errorf("the rest was not skipped")
			}
		})
	}
	// A record of a sound size does no harm to the next one.
	r := reader(fake(0, 1<<16, 0, good(1), raw(recordFork, 0, 2, uint64(1)), good(3)))
	if got := kinds(r.Drain(nil, math.MaxInt64)); got != "1@1/0 5@2/0 1@3/0" {
		t.Errorf("drained %s", got)
	}
	// More than the ring can hold.
	g := fake(0, 1<<12, 0)
	g.header.Data_head = 1<<12 + 8
	r = reader(g)
	if got := r.Drain(nil, math.MaxInt64); len(got) == 0 || got[0].Kind != Lost || r.Stats().Malformed != 1 {
		t.Errorf("overrun: %+v", got)
	}
}

// TestAccount holds that a loss is delivered once, whoever tells first.
func TestAccount(t *testing.T) {
	r, g := reader(), fake(3, 1<<12, 0)
	var got []Record
	for _, step := range []struct{ counted, told, want uint64 }{
		{0, 0, 0}, {10, 0, 10}, {10, 10, 0}, {10, 15, 5}, {30, 15, 15}, {30, 30, 0},
	} {
		g.counted, g.told = step.counted, step.told
		got = r.account(got[:0], g, 7)
		var n uint64
		for _, rec := range got {
			if rec.Kind != Lost || rec.CPU != 3 || rec.Time != 7 {
				t.Errorf("%+v", rec)
			}
			n += rec.Lost
		}
		if n != step.want {
			t.Errorf("%+v: delivered %d", step, n)
		}
	}
	if r.stats.Lost != 30 {
		t.Errorf("lost %d", r.stats.Lost)
	}
}

// TestNearlyFull holds that a ring that may have been too full for a record is
// a loss of unknown number when the event does not count.
func TestNearlyFull(t *testing.T) {
	b := rawMap(1, 1, 8, 1, 1, "/x")
	for _, size := range []int{1 << 13, 1 << 16} {
		fits := (size - maxRecord) / len(b)
		for _, c := range []struct{ records, lost int }{{0, 0}, {fits, 0}, {fits + 1, 1}} {
			r := reader(fake(0, size, 0, slices.Repeat([][]byte{b}, c.records)...))
			got := r.Drain(nil, 50)
			if n := int(r.Stats().Lost); n != c.lost || len(got) != c.records+c.lost {
				t.Errorf("%d records in %d bytes: lost %d, drained %d", c.records, size, n, len(got))
			}
			if c.lost > 0 && (got[len(got)-1].Kind != Lost || got[len(got)-1].Lost != 0 || got[len(got)-1].Time != 50) {
				t.Errorf("%+v", got[len(got)-1])
			}
		}
	}
}

// TestNames holds that names are shared and that their memory is bounded.
func TestNames(t *testing.T) {
	n := newNames()
	a := n.get([]byte("/lib/a"))
	if allocs := testing.AllocsPerRun(100, func() { a = n.get([]byte("/lib/a")) }); allocs > 0 || a != "/lib/a" {
		t.Errorf("%q: %g allocations", a, allocs)
	}
	size := func(m map[string]string) (size int) {
		for k := range m {
			size += len(k) + 64
		}
		return size
	}
	for i := range 3000 {
		name := fmt.Appendf(nil, "/%d/%s", i, strings.Repeat("x", 3000))
		if got := n.get(name); got != string(name) {
			t.Fatalf("%q became %q", name, got)
		}
		if n.get([]byte("/lib/a")) != "/lib/a" {
			t.Fatal("a name that is in use changed")
		}
		if size(n.young) > maxNames || size(n.old) > maxNames {
			t.Fatalf("%d names take %d and %d bytes", i, size(n.young), size(n.old))
		}
	}
}

func TestCPUs(t *testing.T) {
	for in, want := range map[string][]int{
		"0": {0}, "0-3": {0, 1, 2, 3}, "0-1,5,7-8": {0, 1, 5, 7, 8}, "3,9": {3, 9},
		"": nil, "a": nil, "3-1": nil, "1,1": nil, "2-3,3": nil, "-1": nil, "0-": nil, "0,": nil, "70000": nil, "0-99999999": nil,
	} {
		got, err := parseCPUs(in)
		if (err == nil) != (want != nil) || !slices.Equal(got, want) || (err != nil && !errors.Is(err, errCPUs)) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}
