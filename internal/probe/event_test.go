package probe

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// header is struct record_header of bpf/event.h.
type header struct {
	kind, pid    uint32
	at, start    uint64
	image, flags uint32
}

func (h header) append(b []byte) []byte {
	e := binary.NativeEndian
	b = e.AppendUint32(e.AppendUint32(b, h.kind), h.pid)
	b = e.AppendUint64(e.AppendUint64(b, h.at), h.start)
	return e.AppendUint32(e.AppendUint32(b, h.image), h.flags)
}

// What process_record and mapping_record begin and end with is left out of the
// facts of a trace.
func (p process) facts() []byte { return p.append(nil)[8 : processSize-256] }
func (m mapping) facts() []byte { return m.append(nil)[24:] }

func sample(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func name(s string) []byte {
	var b [256]byte
	copy(b[:], s)
	return b[:]
}

func decodeOne(t *testing.T, b []byte) trace.Event {
	t.Helper()
	d := recordDecoder{newInterner()}
	got, err := d.decode(nil, b)
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	return got[0]
}

func TestDecodeEvent(t *testing.T) {
	who := process{pid: 10, tid: 10, ppid: 1, innerPID: 7, uid: 1000, pidNS: 4026531836, mntNS: 4026531841, flags: 1,
		start: 123456789, root: 21, cgroup: 22, cgroupID: 23, phdr: 0x40, phnum: 13, execfn: 0x7ffd00000fed, comm: "sixteen bytes..."}
	what := mapping{key: 5, ino: 326269, size: 1926256, ctime: 1700000000, mtime: 1600000000, ctimeNsec: 999999999, mtimeNsec: 1,
		dev: 254<<20 | 3, generation: 9, fsMagic: 0x9123683e}
	process := &snapshot.Process{PID: 10, TID: 10, PPID: 1, InnerPID: 7, Start: 123456789, UID: 1000, Comm: "sixteen bytes...",
		PIDNS: 4026531836, MntNS: 4026531841, RootKey: 21, CgroupKey: 22, ForkNoExec: true, Aux: snapshot.Aux{Phdr: 0x40, Phnum: 13, ExecFn: 0x7ffd00000fed}}
	f := &snapshot.File{Key: 5, ID: file.LayerID(254<<20|3, 326269), Ctime: 1700000000999999999, Size: 1926256, FSType: 0x9123683e}
	head := func(kind uint32) []byte { return header{kind, 10, 77, 123456789, 4, 0}.append(nil) }
	event := func(kind trace.Kind) trace.Event {
		return trace.Event{Kind: kind, At: 77, PID: 10, Start: 123456789, Image: 4}
	}
	fork, exec, nameless, bare, exit, mapped := event(trace.Fork), event(trace.Exec), event(trace.Exec), event(trace.Exec), event(trace.Exit), event(trace.Map)
	fork.Process, exec.Process, nameless.Process, bare.Process = process, process, process, process
	exec.File, nameless.File, mapped.File = f, f, f
	exec.Name, bare.Name = "/usr/bin/a b\n", strings.Repeat("x", 254)
	tests := []struct {
		name string
		in   []byte
		want trace.Event
	}{
		{"fork", sample(head(3), who.facts()), fork},
		{"exec", sample(head(4), who.facts(), what.facts(), name("/usr/bin/a b\n")), exec},
		{"exec without a name", sample(head(4), who.facts(), what.facts(), name("")), nameless},
		{"exec of a name cut off", sample(head(4), who.facts(), what.facts(), name(strings.Repeat("x", 255))), nameless},
		{"exec without an executable", sample(head(4), who.facts(), mapping{}.facts(), name(strings.Repeat("x", 254))), bare},
		{"exit", head(5), exit},
		{"map", sample(head(6), what.facts()), mapped},
		{"begin", head(7), event(trace.Image)},
		{"sync", head(8), trace.Event{Kind: syncing, At: 77, PID: 10, Image: 4, Count: 123456789}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := decodeOne(t, test.in); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			d := recordDecoder{newInterner()}
			_, err := d.decode(nil, test.in[:len(test.in)-1])
			if _, ok := errors.AsType[*RecordError](err); !ok {
				t.Errorf("cut short: %v", err)
			}
		})
	}
	for _, kind := range []uint32{0, 1, 2, 9, 1 << 31} {
		d := recordDecoder{newInterner()}
		_, err := d.decode(nil, sample(head(kind), make([]byte, 1000)))
		if re, ok := errors.AsType[*RecordError](err); !ok || re.Kind != kind {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

// TestDecodeShares holds that equal files and names are one, and changed ones are not.
func TestDecodeShares(t *testing.T) {
	d := recordDecoder{newInterner()}
	var got []trace.Event
	for _, ctime := range []int64{1, 1, 2, 1} {
		var err error
		if got, err = d.decode(got, sample(header{kind: 6}.append(nil), mapping{key: 5, ino: 1, ctime: ctime}.facts())); err != nil {
			t.Fatal(err)
		}
	}
	if got[0].File != got[1].File || got[0].File == got[2].File || got[0].File != got[3].File {
		t.Errorf("%p %p %p %p", got[0].File, got[1].File, got[2].File, got[3].File)
	}
}

// aligned copies b to where the ring would have it.
func aligned(b []byte) []byte {
	words := make([]uint64, len(b)/8+1)
	to := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(b))
	copy(to, b)
	return to
}

func FuzzDecodeEvent(f *testing.F) {
	for kind := range uint32(10) {
		f.Add(sample(header{kind, 1, 2, 3, 4, 5}.append(nil), process{pid: 1, comm: "comm"}.facts(), mapping{ino: 1}.facts(), name("name")))
		f.Add(header{kind, 1, 2, 3, 4, 5}.append(nil))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		d := recordDecoder{newInterner()}
		b := aligned(input)
		got, err := d.decode(nil, b)
		clear(b) // nothing of the sample may be kept
		if err != nil {
			if _, ok := errors.AsType[*RecordError](err); !ok || len(got) != 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			return
		}
		e := got[0]
		native := binary.NativeEndian
		if len(got) != 1 || e.PID != int(native.Uint32(input[4:])) || e.At != time.Duration(native.Uint64(input[8:])) || e.Image != native.Uint32(input[24:]) {
			t.Fatalf("%+v", got)
		}
		if (e.Process != nil) != (e.Kind == trace.Fork || e.Kind == trace.Exec) || e.Kind == trace.Map && e.File == nil {
			t.Fatalf("%+v", e)
		}
		names := e.Name
		if e.Process != nil {
			names += e.Process.Comm
			if len(e.Process.Comm) > 16 || e.Process.Mappings != nil {
				t.Fatalf("%+v", e.Process)
			}
		}
		if strings.IndexByte(names, 0) >= 0 || len(e.Name) > 254 {
			t.Fatalf("%q", names)
		}
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	who := process{pid: 10, tid: 10, ppid: 1, start: 123456789, comm: "worker"}
	for _, bench := range []struct {
		name string
		in   []byte
	}{
		{"fork", sample(header{kind: 3}.append(nil), who.facts())},
		{"exec", sample(header{kind: 4}.append(nil), who.facts(), mapping{ino: 7}.facts(), name("/usr/bin/worker"))},
		{"map", sample(header{kind: 6}.append(nil), mapping{ino: 7}.facts())},
		{"exit", header{kind: 5}.append(nil)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := recordDecoder{newInterner()}
			var events []trace.Event
			in := aligned(bench.in)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if events, err = d.decode(events[:0], in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
