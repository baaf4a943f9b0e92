package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// The fields of bpf/event.h, in its order.
type process struct {
	pid, tid, ppid, innerPID, uid, pidNS, mntNS, flags uint32
	start, root, cgroup, cgroupID, phdr, phnum, execfn uint64
	comm, exe                                          string
}

type mapping struct {
	flags                uint32
	start, end, key      uint64
	ino, size            uint64
	ctime, mtime         int64
	ctimeNsec, mtimeNsec uint32
	dev                  uint32
	generation           uint32
	fsMagic              uint32
}

func (p process) append(b []byte) []byte {
	e := binary.NativeEndian
	for _, v := range []uint32{1, 0, p.pid, p.tid, p.ppid, p.innerPID, p.uid, p.pidNS, p.mntNS, p.flags} {
		b = e.AppendUint32(b, v)
	}
	for _, v := range []uint64{p.start, p.root, p.cgroup, p.cgroupID, p.phdr, p.phnum, p.execfn} {
		b = e.AppendUint64(b, v)
	}
	var comm [16]byte
	copy(comm[:], p.comm)
	var exe [256]byte
	copy(exe[:], p.exe)
	return append(append(b, comm[:]...), exe[:]...)
}

func (m mapping) append(b []byte) []byte {
	e := binary.NativeEndian
	b = e.AppendUint32(e.AppendUint32(b, 2), m.flags)
	for _, v := range []uint64{m.start, m.end, m.key, m.ino, m.size, uint64(m.ctime), uint64(m.mtime)} {
		b = e.AppendUint64(b, v)
	}
	for _, v := range []uint32{m.ctimeNsec, m.mtimeNsec, m.dev, m.generation, m.fsMagic, 0} {
		b = e.AppendUint32(b, v)
	}
	return b
}

type record interface{ append([]byte) []byte }

func wire(records ...record) []byte {
	var b []byte
	for _, r := range records {
		b = r.append(b)
	}
	return b
}

func TestDecodeRecord(t *testing.T) {
	full := process{pid: 10, tid: 12, ppid: 1, innerPID: 7, uid: 1000, pidNS: 4026531836, mntNS: 4026531841, flags: 1 | 2,
		start: 123456789, root: 21, cgroup: 22, cgroupID: 23, phdr: 0x555500000040, phnum: 13, execfn: 0x7ffd00000fed, comm: "a b)\n(c", exe: "/usr/bin/a b)\n(c (deleted)"}
	got, err := decode(context.Background(), bytes.NewReader(wire(full,
		mapping{flags: 1, key: 5, ino: 326269, size: 1926256, ctime: 1700000000, mtime: 1600000000,
			ctimeNsec: 999999999, mtimeNsec: 1, dev: 254<<20 | 3, generation: 9, fsMagic: 0x9123683e},
		mapping{start: 0x4000, end: 0x5000, key: 6, ino: 1, ctime: -1, ctimeNsec: 5, dev: 1},
	)))
	if err != nil {
		t.Fatal(err)
	}
	want := []snapshot.Process{{
		PID: 10, TID: 12, PPID: 1, InnerPID: 7, Start: 123456789, UID: 1000, Comm: "a b)\n(c", Exe: "/usr/bin/a b)\n(c (deleted)", PIDNS: 4026531836, MntNS: 4026531841,
		RootKey: 21, CgroupKey: 22, ForkNoExec: true, Aux: snapshot.Aux{Phdr: 0x555500000040, Phnum: 13, ExecFn: 0x7ffd00000fed},
		Mappings: []snapshot.Mapping{
			{File: &snapshot.File{Key: 5, ID: file.LayerID(254<<20|3, 326269), Ctime: 1700000000999999999, Size: 1926256, FSType: 0x9123683e}, Exe: true},
			{Start: 0x4000, End: 0x5000, File: &snapshot.File{Key: 6, ID: file.LayerID(1, 1), Ctime: -int64(time.Second) + 5}},
		},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// shape is what decode made of records, as far as it groups them.
type shape struct {
	pid, tid int
	comm     string
	keys     []uint64
}

func shapes(list []snapshot.Process) []shape {
	var s []shape
	for _, p := range list {
		one := shape{pid: p.PID, tid: p.TID, comm: p.Comm}
		for _, m := range p.Mappings {
			one.keys = append(one.keys, m.File.Key)
		}
		s = append(s, one)
	}
	return s
}

func keys(n ...uint64) []uint64 { return n }

func TestDecode(t *testing.T) {
	one, two := process{pid: 1, tid: 1, start: 5, comm: "one"}, process{pid: 2, tid: 2, start: 6, comm: "two"}
	dead := func(tid uint32) process { return process{pid: 1, tid: tid, start: 5, comm: "one", flags: 2} }
	tests := []struct {
		name    string
		records []record
		want    []shape
	}{
		{"nothing", nil, nil},
		{"no mapping", []record{one}, []shape{{1, 1, "one", nil}}},
		{"full name", []record{process{pid: 1, tid: 1, comm: "sixteen bytes..."}}, []shape{{1, 1, "sixteen bytes...", nil}}},
		{"two processes share a file", []record{one, mapping{key: 5}, mapping{key: 6}, two, mapping{key: 6}, mapping{key: 7}},
			[]shape{{1, 1, "one", keys(5, 6)}, {2, 2, "two", keys(6, 7)}}},
		{"duplicates", []record{one, mapping{key: 5}, mapping{key: 6}, mapping{key: 5}, mapping{key: 6}, mapping{key: 6}},
			[]shape{{1, 1, "one", keys(5, 6)}}},
		{"threads of a dead leader", []record{dead(3), mapping{key: 5}, mapping{key: 6}, dead(4), mapping{key: 5}, mapping{key: 7}},
			[]shape{{1, 3, "one", keys(5, 6, 7)}}},
		{"a process between two threads", []record{dead(3), mapping{key: 5}, mapping{key: 6}, two, mapping{key: 6}, mapping{key: 5},
			dead(4), mapping{key: 5}, mapping{key: 6}, mapping{key: 7}, two, mapping{key: 6}, mapping{key: 8}},
			[]shape{{1, 3, "one", keys(5, 6, 7)}, {2, 2, "two", keys(6, 5, 8)}}},
		{"thread without mappings", []record{dead(3), mapping{key: 5}, dead(4), two, mapping{key: 5}},
			[]shape{{1, 3, "one", keys(5)}, {2, 2, "two", keys(5)}}},
		{"live leader, thread with its own files", []record{one, mapping{key: 5}, process{pid: 1, tid: 9, start: 5}, mapping{key: 5}},
			[]shape{{1, 1, "one", keys(5)}}},
		{"number used again", []record{one, mapping{key: 5}, process{pid: 1, tid: 1, start: 7, comm: "heir"}, mapping{key: 5}},
			[]shape{{1, 1, "one", keys(5)}, {1, 1, "heir", keys(5)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := wire(test.records...)
			for _, r := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b)), iotest.DataErrReader(bytes.NewReader(b))} {
				got, err := decode(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(shapes(got), test.want) {
					t.Errorf("got %+v, want %+v", shapes(got), test.want)
				}
			}
		})
	}
}

func TestDecodeMany(t *testing.T) {
	// More mappings than one piece of the arena holds, in processes of every
	// size around it.
	var records []record
	var want []shape
	for i, n := range []int{1, arenaSize - 2, 2, 0, arenaSize + 1, 3 * arenaSize, 1, arenaSize} {
		s := shape{pid: i + 1, tid: i + 1}
		records = append(records, process{pid: uint32(i + 1), tid: uint32(i + 1)})
		for k := range n {
			records = append(records, mapping{key: uint64(k)})
			s.keys = append(s.keys, uint64(k))
		}
		want = append(want, s)
	}
	got, err := decode(context.Background(), bytes.NewReader(wire(records...)))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range shapes(got) {
		if !reflect.DeepEqual(s, want[i]) {
			t.Errorf("process %d has %d mappings, want %d", s.pid, len(s.keys), len(want[i].keys))
		}
	}
	// Appending to one process's mappings must not write over another's.
	_ = append(got[0].Mappings, snapshot.Mapping{File: &snapshot.File{Key: 99}})
	if got[1].Mappings[0].File.Key != 0 {
		t.Error("processes share memory")
	}
}

func TestDecodeError(t *testing.T) {
	p := process{pid: 1, tid: 1}
	good := wire(p, mapping{key: 5})
	tests := []struct {
		name   string
		input  []byte
		offset int64
		text   string
		is     error
	}{
		{"kind 0", []byte{0, 0, 0, 0}, 0, "unknown record kind 0", nil},
		{"kind 3", append(good[:len(good):len(good)], binary.NativeEndian.AppendUint32(nil, 3)...), int64(len(good)), "unknown record kind 3", nil},
		{"mapping before process", wire(mapping{key: 5}, p), 0, "mapping before any process", errOrphan},
		{"kind cut short", good[:2], 0, "unexpected EOF", io.ErrUnexpectedEOF},
		{"process cut after its kind", good[:4], 0, "cut short", io.EOF},
		{"process cut short", good[:processSize-1], 0, "cut short", io.ErrUnexpectedEOF},
		{"mapping cut short", good[:len(good)-1], int64(processSize), "cut short", io.ErrUnexpectedEOF},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode(context.Background(), bytes.NewReader(test.input))
			fe, ok := errors.AsType[*FormatError](err)
			if got != nil || !ok {
				t.Fatalf("%v, %v", got, err)
			}
			if fe.Offset != test.offset || !strings.Contains(err.Error(), test.text) || (test.is != nil && !errors.Is(err, test.is)) {
				t.Errorf("%v; want offset %d, %q", err, test.offset, test.text)
			}
		})
	}
}

func TestDecodeReadError(t *testing.T) {
	b := wire(process{pid: 1, tid: 1}, mapping{key: 5})
	_, err := decode(context.Background(), io.MultiReader(bytes.NewReader(b), iotest.ErrReader(syscall.EIO)))
	if fe, ok := errors.AsType[*FormatError](err); !ok || fe.Offset != int64(len(b)) || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

func TestDecodeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := decode(ctx, bytes.NewReader(wire(process{pid: 1, tid: 1}))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestResuming(t *testing.T) {
	b := wire(process{pid: 1, tid: 1}, mapping{key: 5})
	pause := &fs.PathError{Op: "read", Path: "bpf_iter", Err: syscall.EAGAIN}
	paused := &pausing{bytes.NewReader(b), pause, false}
	got, err := decode(context.Background(), resuming{paused})
	if want := []shape{{1, 1, "", keys(5)}}; err != nil || !reflect.DeepEqual(shapes(got), want) {
		t.Errorf("%+v, %v", shapes(got), err)
	}
	if _, err := decode(context.Background(), resuming{iotest.ErrReader(syscall.EIO)}); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

// pausing fails every other time.
type pausing struct {
	r      io.Reader
	err    error
	paused bool
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.paused = !p.paused; p.paused {
		return 0, p.err
	}
	return p.r.Read(b[:min(len(b), 10)])
}

func FuzzDecode(f *testing.F) {
	one, two := process{pid: 1, tid: 1, start: 5, comm: "one"}, process{pid: 2, tid: 3, start: 6, flags: 3}
	f.Add(wire())
	f.Add(wire(one, mapping{key: 5}, mapping{key: 6}, two, mapping{key: 5}, one, mapping{key: 5}, mapping{key: 7}))
	f.Add(wire(mapping{key: 5}))
	f.Add(wire(one, mapping{key: 5})[:processSize+9])
	f.Fuzz(func(t *testing.T, input []byte) {
		got, err := decode(context.Background(), bytes.NewReader(input))
		if err != nil {
			fe, ok := errors.AsType[*FormatError](err)
			if got != nil || !ok || fe.Offset < 0 || fe.Offset > int64(len(input)) {
				t.Fatalf("%v, %v", got, err)
			}
			return
		}
		mappings := 0
		seen := make(map[identity]bool)
		for _, p := range got {
			id := identity{uint32(p.PID), uint64(p.Start)}
			if seen[id] {
				t.Fatalf("process %d started at %d is listed twice", p.PID, p.Start)
			}
			seen[id] = true
			files := make(map[uint64]bool)
			for _, m := range p.Mappings {
				if files[m.File.Key] {
					t.Fatalf("process %d lists file %d twice", p.PID, m.File.Key)
				}
				files[m.File.Key] = true
			}
			mappings += len(p.Mappings)
			if strings.IndexByte(p.Comm+p.Exe, 0) >= 0 || len(p.Comm) > 16 || len(p.Exe) > 256 {
				t.Fatalf("names %q, %q", p.Comm, p.Exe)
			}
		}
		if len(got)*processSize+mappings*mappingSize > len(input) {
			t.Fatalf("%d processes and %d mappings of %d bytes", len(got), mappings, len(input))
		}
		// Every file of every record is listed in its process.
		if want := pairs(input); !reflect.DeepEqual(pairsOf(got), want) {
			t.Fatalf("got %v, want %v", pairsOf(got), want)
		}
	})
}

type loadOf struct {
	identity
	key uint64
}

// pairs reads well-formed input anew: which process has which file.
func pairs(b []byte) map[loadOf]bool {
	e := binary.NativeEndian
	got := make(map[loadOf]bool)
	var now loadOf
	for len(b) > 0 {
		if e.Uint32(b) == 1 {
			now.identity = identity{e.Uint32(b[8:]), e.Uint64(b[40:])}
			b = b[processSize:]
			continue
		}
		now.key = e.Uint64(b[24:])
		got[now] = true
		b = b[mappingSize:]
	}
	return got
}

func pairsOf(list []snapshot.Process) map[loadOf]bool {
	got := make(map[loadOf]bool)
	for _, p := range list {
		for _, m := range p.Mappings {
			got[loadOf{identity{uint32(p.PID), uint64(p.Start)}, m.File.Key}] = true
		}
	}
	return got
}
