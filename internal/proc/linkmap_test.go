package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// fakeMemory is the memory of a process, in whole pages by address. It counts
// the reads.
type fakeMemory struct {
	pages map[uint64][]byte
	reads int
}

// read answers as process_vm_readv does with one element a page.
func (m *fakeMemory) read(buf []byte, addr uint64) (int, error) {
	m.reads++
	n := 0
	for n < len(buf) {
		page, ok := m.pages[addr+uint64(n)]
		if !ok {
			break
		}
		n += copy(buf[n:], page)
	}
	if n == 0 {
		return 0, unix.EFAULT
	}
	return n, nil
}

// memory is a Memory over a fake.
func (m *fakeMemory) memory() *Memory {
	mem := &Memory{read: m.read}
	mem.Reset(1)
	return mem
}

func (m *fakeMemory) write(addr uint64, b []byte) {
	for len(b) > 0 {
		base := addr &^ (pageSize - 1)
		page := m.pages[base]
		if page == nil {
			page = make([]byte, pageSize)
			m.pages[base] = page
		}
		n := copy(page[addr-base:], b)
		b, addr = b[n:], addr+uint64(n)
	}
}

// image is a process with a program and a dynamic loader's list.
type image struct {
	fakeMemory
	width                      uint64
	base, dynamic, debug, node uint64 // addresses
	aux                        snapshot.Aux
}

func (m *image) words(addr uint64, words ...uint64) {
	for i, w := range words {
		b := binary.NativeEndian.AppendUint64(nil, w)
		if m.width == 4 {
			b = binary.NativeEndian.AppendUint32(nil, uint32(w))
		}
		m.write(addr+uint64(i)*m.width, b)
	}
}

func (m *image) text(addr uint64, s string) { m.write(addr, append([]byte(s), 0)) }

// header writes program header number i; only type and address count.
func (m *image) header(i, typ, vaddr uint64) {
	size, at := uint64(56), uint64(16)
	if m.width == 4 {
		size, at = 32, 8
	}
	m.write(m.aux.Phdr+i*size, binary.NativeEndian.AppendUint32(nil, uint32(typ)))
	m.words(m.aux.Phdr+i*size+at, vaddr)
}

// link writes the list's node number i, with its name 1 MiB above it.
func (m *image) link(i, bias uint64, name string, next uint64) {
	at := m.at(i)
	m.words(at, bias, at+1<<20, 0, next, 0)
	m.text(at+1<<20, name)
}

func (m *image) at(i uint64) uint64 { return m.node + i*64 }

// newImage makes a position-independent program at base that has loaded two
// libraries.
func newImage(width int) *image {
	m := &image{fakeMemory: fakeMemory{pages: make(map[uint64][]byte)}, width: uint64(width), base: 0x40000000}
	if width == 8 {
		m.base = 0x555500000000
	}
	m.dynamic, m.debug, m.node = m.base+0x3000, m.base+0x5000, m.base+0x8000
	size := uint64(64)
	if width == 4 {
		size = 52
	}
	m.write(m.base, []byte{0x7f, 'E', 'L', 'F', byte(width / 4)})
	m.aux = snapshot.Aux{Phdr: m.base + size, Phnum: 4}
	m.header(0, ptPhdr, size)
	m.header(1, 1, 0) // PT_LOAD
	m.header(2, ptDynamic, m.dynamic-m.base)
	m.header(3, 1, 0x1000)
	m.words(m.dynamic, 1, 7, dtDebug, m.debug, 0, 0)
	m.words(m.debug, 1, m.node)
	m.link(0, m.base, "", m.at(1))
	m.link(1, 0x71000000, "linux-vdso.so.1", m.at(2))
	m.link(2, 0x72000000, "/lib/libc.so.6", 0)
	return m
}

type linked struct {
	bias uint64
	name string
}

func (m *image) list() ([]linked, error) {
	var got []linked
	err := LinkMap(m.memory(), m.aux, func(l Linked) { got = append(got, linked{l.Bias, string(l.Name)}) })
	return got, err
}

func TestLinkMap(t *testing.T) {
	none := func(m *image) []linked { return nil }
	all := func(m *image) []linked {
		return []linked{{m.base, ""}, {0x71000000, "linux-vdso.so.1"}, {0x72000000, "/lib/libc.so.6"}}
	}
	first := func(n int) func(*image) []linked { return func(m *image) []linked { return all(m)[:n] } }
	tests := []struct {
		name   string
		change func(*image)
		want   func(*image) []linked
		err    error
	}{
		{"as usual", func(*image) {}, all, nil},
		{"fixed addresses", func(m *image) { m.header(0, 1, 0); m.header(2, ptDynamic, m.dynamic) }, all, nil},
		{"lower than linked", func(m *image) { m.header(0, ptPhdr, m.aux.Phdr+0x1000); m.header(2, ptDynamic, m.dynamic+0x1000) }, all, nil},
		{"headers after dynamic", func(m *image) { m.header(0, ptDynamic, m.dynamic-m.base); m.header(2, ptPhdr, m.aux.Phdr-m.base) }, all, nil},
		{"entry across pages", func(m *image) {
			m.words(m.debug, 1, m.base+0x5ff0)
			m.words(m.base+0x5ff0, m.base, 0, 0, m.at(1))
		}, all, nil},
		{"name across pages and chunks", func(m *image) {
			name := m.base + 0x8000 + 1<<20 + 5*chunk - 4
			m.words(m.at(2)+m.width, name)
			m.text(name, "/lib/libc.so.6")
		}, all, nil},
		{"empty list", func(m *image) { m.words(m.debug, 1, 0) }, none, nil},
		{"no auxiliary vector", func(m *image) { m.aux = snapshot.Aux{} }, none, ErrNoLinkMap},
		{"no headers", func(m *image) { m.aux.Phnum = 0 }, none, ErrNoLinkMap},
		{"too many headers", func(m *image) { m.aux.Phnum = maxPhnum + 1 }, none, ErrNoLinkMap},
		{"static", func(m *image) { m.header(2, 1, 0) }, none, ErrNoLinkMap},
		{"dynamic without loader", func(m *image) { m.words(m.dynamic, 1, 7, 5, 9, 0, 0) }, none, ErrNoLinkMap},
		{"loader has not run", func(m *image) { m.words(m.dynamic, dtDebug, 0) }, none, ErrNoLinkMap},
		{"nothing counts after the end", func(m *image) { m.words(m.dynamic, 0, 0, dtDebug, m.debug) }, none, ErrNoLinkMap},
		{"dynamic section has no end", func(m *image) {
			for i := range uint64(maxDynamic + 1) {
				m.words(m.dynamic+i*2*m.width, 1, 7)
			}
			m.words(m.dynamic+maxDynamic*2*m.width, dtDebug, m.debug)
		}, none, ErrNoLinkMap},
		{"headers are nowhere", func(m *image) { m.aux.Phdr += 1 << 30 }, none, errAny},
		{"more headers than memory", func(m *image) { m.aux.Phdr, m.aux.Phnum = m.aux.Phdr+3*pageSize, maxPhnum }, none, errAny},
		{"dynamic section is nowhere", func(m *image) { m.header(2, ptDynamic, 1<<30) }, none, unix.EFAULT},
		{"structure is nowhere", func(m *image) { m.words(m.dynamic, dtDebug, 0xdead0000) }, none, unix.EFAULT},
		{"list is nowhere", func(m *image) { m.words(m.debug, 1, 0xdead0000) }, none, unix.EFAULT},
		{"list at address 1", func(m *image) { m.words(m.debug, 1, 1) }, none, unix.EFAULT},
		{"list at the end of addresses", func(m *image) { m.words(m.debug, 1, 1<<64-1) }, none, unix.EFAULT},
		{"next is nowhere", func(m *image) { m.words(m.at(1)+3*m.width, 0xdead0000) }, first(2), unix.EFAULT},
		{"name is nowhere", func(m *image) { m.words(m.at(1)+m.width, 0xdead0000) }, first(1), unix.EFAULT},
		{"no name", func(m *image) { m.words(m.at(1)+m.width, 0) }, func(m *image) []linked {
			l := all(m)
			l[1].name = ""
			return l
		}, nil},
		{"longest name", func(m *image) { m.text(m.at(2)+1<<20, strings.Repeat("x", unix.PathMax-1)) }, func(m *image) []linked {
			l := all(m)
			l[2].name = strings.Repeat("x", unix.PathMax-1)
			return l
		}, nil},
		{"name too long", func(m *image) { m.text(m.at(2)+1<<20, strings.Repeat("x", unix.PathMax)) }, first(2), errAny},
		{"name runs to the end of memory", func(m *image) {
			end := m.base + 1<<24
			m.write(end-100, []byte(strings.Repeat("x", 100)))
			m.words(m.at(2)+m.width, end-100)
		}, first(2), unix.EFAULT},
	}
	for _, width := range []int{4, 8} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%d bits/%s", 8*width, test.name), func(t *testing.T) {
				m := newImage(width)
				test.change(m)
				got, err := m.list()
				if want := test.want(m); !reflect.DeepEqual(got, want) {
					t.Errorf("%+v; want %+v", got, want)
				}
				if (err == nil) != (test.err == nil) || (test.err != errAny && !errors.Is(err, test.err)) {
					t.Errorf("%v; want %v", err, test.err)
				}
			})
		}
	}
}

var errAny = errors.New("any error")

// Lists that are made to keep the reader busy.
func TestLinkMapHostile(t *testing.T) {
	many := func(n uint64) func(*image) {
		return func(m *image) {
			for i := range n {
				m.words(m.at(i), i, m.at(0)+1<<20, 0, m.at(i+1), 0)
			}
			m.words(m.at(n-1)+3*m.width, 0)
			m.text(m.at(0)+1<<20, "x")
		}
	}
	tests := []struct {
		name   string
		change func(*image)
		n      int
		err    string // part of the message
	}{
		{"as many as allowed", many(maxLinked), maxLinked, ""},
		{"one too many", many(maxLinked + 1), maxLinked, "more than 16384 objects"},
		{"cycle", func(m *image) { m.words(m.at(2)+3*m.width, m.at(0)) }, maxLinked, "more than 16384 objects"},
		{"cycle of one", func(m *image) { m.words(m.at(0)+3*m.width, m.at(0)) }, maxLinked, "more than 16384 objects"},
		{"scattered", func(m *image) {
			for i := range uint64(2 * maxChunks) {
				at := m.node + i*2*chunk
				m.words(at, i, 0, 0, at+2*chunk, 0)
			}
		}, -1, "bytes of memory"},
		{"long names that overlap", func(m *image) {
			m.text(m.node+1<<20, strings.Repeat("x", unix.PathMax-1))
			for i := range uint64(1000) {
				m.words(m.at(i), i, m.node+1<<20+i, 0, m.at(i+1), 0)
			}
		}, -1, "bytes of names"},
		{"one long name again and again", func(m *image) {
			m.text(m.node+1<<20, strings.Repeat("x", unix.PathMax-1))
			m.words(m.at(0), 0, m.node+1<<20, 0, m.at(0))
		}, maxNames / (unix.PathMax - 1), "bytes of names"},
	}
	for _, width := range []int{4, 8} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%d bits/%s", 8*width, test.name), func(t *testing.T) {
				m := newImage(width)
				test.change(m)
				got, err := m.list()
				if test.n >= 0 && len(got) != test.n {
					t.Errorf("%d objects; want %d", len(got), test.n)
				}
				if (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
					t.Errorf("%v; want %q", err, test.err)
				}
				bounded(t, m.reads, got)
			})
		}
	}
}

// bounded holds what may be asked of a process and had from it at most.
func bounded(t *testing.T, reads int, got []linked) {
	t.Helper()
	names := 0
	for _, l := range got {
		if len(l.name) >= unix.PathMax || strings.IndexByte(l.name, 0) >= 0 {
			t.Errorf("name of %d bytes", len(l.name))
		}
		names += len(l.name)
	}
	// Three reads may fail: two to tell the class, and the one that ends it.
	if reads > maxChunks+3 || len(got) > maxLinked || names > maxNames {
		t.Errorf("%d reads, %d objects, %d bytes of names", reads, len(got), names)
	}
}

func FuzzLinkMap(f *testing.F) {
	// The input is the memory from the program's first page on; images are
	// pressed into few pages, so that the fuzzer finds what matters.
	const base = 0x400000
	for _, width := range []int{4, 8} {
		m := &image{fakeMemory: fakeMemory{pages: make(map[uint64][]byte)}, width: uint64(width), base: base}
		m.aux = snapshot.Aux{Phdr: base + 40 + 12*uint64(width/4), Phnum: 2}
		if width == 8 {
			m.aux.Phdr = base + 64
		} else {
			m.aux.Phdr = base + 52
		}
		m.write(base, []byte{0x7f, 'E', 'L', 'F', byte(width / 4)})
		m.header(0, ptPhdr, m.aux.Phdr-base)
		m.header(1, ptDynamic, 0x100)
		m.words(base+0x100, dtDebug, base+0x140)
		m.words(base+0x140, 1, base+0x160)
		m.words(base+0x160, base, 0, 0, base+0x1a0)
		m.words(base+0x1a0, 5, base+0x1f0, 0, 0)
		m.text(base+0x1f0, "/lib/libc.so.6")
		f.Add(m.pages[base][:0x200], m.aux.Phdr, m.aux.Phnum)
		m.words(base+0x1a0, 5, base+0x1f0, 0, base+0x160)
		f.Add(m.pages[base][:0x200], m.aux.Phdr, m.aux.Phnum)
	}
	f.Fuzz(func(t *testing.T, b []byte, phdr, phnum uint64) {
		m := &image{fakeMemory: fakeMemory{pages: make(map[uint64][]byte)}, aux: snapshot.Aux{Phdr: phdr, Phnum: phnum}}
		m.write(base, b)
		m.write(1<<64-pageSize, b[:min(len(b), pageSize)]) // where additions overflow
		got, err := m.list()
		bounded(t, m.reads, got)
		if errors.Is(err, ErrNoLinkMap) && len(got) > 0 {
			t.Errorf("%d objects, %v", len(got), err)
		}
	})
}
