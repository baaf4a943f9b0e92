package proc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemory compares reads of every place and length with the memory itself.
func TestMemory(t *testing.T) {
	const base = 0x10000
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 11*pageSize) // its last chunk is not whole
	for i := range want {
		want[i] = byte(rnd.Uint32() % 200) // a NUL about every 200 bytes
	}
	m := &fakeMemory{pages: make(map[uint64][]byte)}
	m.write(base, want)
	for range 300 {
		mem := m.memory()
		for range 5 {
			at := rnd.IntN(len(want))
			b := make([]byte, 1+rnd.IntN(3*chunk))
			err := mem.Read(b, base+uint64(at))
			if fits := at+len(b) <= len(want); fits != (err == nil) || (fits && !bytes.Equal(b, want[at:at+len(b)])) {
				t.Fatalf("%d bytes at %d: %v", len(b), at, err)
			}
			s, err := mem.String(base + uint64(at))
			end := bytes.IndexByte(want[at:], 0)
			if (end >= 0) != (err == nil) || (end >= 0 && !bytes.Equal(s, want[at:at+end])) {
				t.Fatalf("string at %d: %q, %v", at, s, err)
			}
		}
	}
}

func TestMemoryReset(t *testing.T) {
	m := &fakeMemory{pages: make(map[uint64][]byte)}
	m.write(0x1000, []byte("one"))
	mem := m.memory()
	if s, err := mem.String(0x1000); string(s) != "one" || err != nil {
		t.Fatalf("%q, %v", s, err)
	}
	m.write(0x1000, []byte("two"))
	if s, err := mem.String(0x1000); string(s) != "one" || err != nil {
		t.Errorf("fetched twice: %q, %v", s, err)
	}
	mem.Reset(2)
	if s, err := mem.String(0x1000); string(s) != "two" || err != nil {
		t.Errorf("kept from another process: %q, %v", s, err)
	}
	mem.Reset(3)
	delete(m.pages, 0x1000)
	if s, err := mem.String(0x1000); !errors.Is(err, unix.EFAULT) {
		t.Errorf("kept from another process: %q, %v", s, err)
	}
}

// A chunk that was cut short must not shorten those that use its buffer later.
func TestMemoryReuse(t *testing.T) {
	m := &fakeMemory{pages: make(map[uint64][]byte)}
	m.write(0x1000, []byte("short"))
	m.write(0x100000, bytes.Repeat([]byte("x"), chunk))
	mem := m.memory()
	if _, err := mem.String(0x1000); err != nil {
		t.Fatal(err)
	}
	mem.Reset(1)
	m.reads = 0
	b := make([]byte, chunk)
	if err := mem.Read(b, 0x100000); err != nil || m.reads != 1 || b[chunk-1] != 'x' {
		t.Errorf("%d reads, %v", m.reads, err)
	}
	for at := uint64(0); at < chunk; at += pageSize / 2 {
		if err := mem.Read(b[:1], 0x100000+at); err != nil || m.reads != 1 {
			t.Fatalf("fetched again at %#x: %d reads, %v", at, m.reads, err)
		}
	}
}

// What may be fetched is bounded for each process, not for all together.
func TestMemoryBound(t *testing.T) {
	m := &fakeMemory{pages: make(map[uint64][]byte)}
	for i := range uint64(maxChunks + 1) {
		m.write(i*2*chunk, []byte("x"))
	}
	mem := m.memory()
	var b [1]byte
	for range 2 {
		for i := range uint64(maxChunks + 1) {
			if err := mem.Read(b[:], i*2*chunk); (err == nil) != (i < maxChunks) {
				t.Fatalf("chunk %d: %v", i, err)
			}
		}
		mem.Reset(1)
	}
}
