package proc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// Executable areas in testdata/smaps.
const (
	smapsLibm = 0x7f427e6a1000
	smapsLibc = 0x7f427e4c8000
	smapsVDSO = 0x7f427e779000
)

func TestParseRelocated(t *testing.T) {
	tests := []struct {
		fixture, name string
		addr          uint64
		want          int64
		ok            bool
	}{
		{"loaded", "one page of RELRO", smapsLibm, 4 << 10, true},
		{"truncated", "thrown away", smapsLibm, 0, true},
		{"loaded", "another file", smapsLibc, 16 << 10, true},
		{"truncated", "another file", smapsLibc, 16 << 10, true},
		{"loaded", "last byte of the area", 0x7f427e715000 - 1, 4 << 10, true},
		{"loaded", "no file", smapsVDSO, 0, false},
		{"loaded", "no area", 0x1000, 0, false},
		{"loaded", "beyond all areas", 1<<64 - 1, 0, false},
	}
	for _, test := range tests {
		t.Run(test.fixture+", "+test.name, func(t *testing.T) {
			got, ok, err := parseRelocated(bytes.NewReader(fixture(t, "smaps/"+test.fixture)), test.addr)
			if got != test.want || ok != test.ok || err != nil {
				t.Errorf("%d, %t, %v; want %d, %t", got, ok, err, test.want, test.ok)
			}
		})
	}
}

func TestParseRelocatedText(t *testing.T) {
	const (
		code    = "1000-2000 r-xp 00000000 08:01 12 /a b-c\nRss: 4 kB\nAnonymous: 8 kB\n"
		relro   = "2000-3000 r--p 00000000 08:01 12 /a b-c\nRss: 4 kB\nAnonymous: 4 kB\nSwap: 12 kB\nSwapPss: 1 kB\nVmFlags: rd mr\n"
		data    = "3000-4000 rw-p 00000000 08:01 12 /a b-c\nAnonymous: 4 kB\n"
		shared  = "4000-5000 r--s 00000000 08:01 12 /a b-c\nAnonymous: 4 kB\n"
		inode   = "5000-6000 r--p 00000000 08:01 13 /a b-c\nAnonymous: 4 kB\n"
		device  = "6000-7000 r--p 00000000 08:02 12 /a b-c\nAnonymous: 4 kB\n"
		unnamed = "7000-8000 r--p 00000000 00:00 0\nAnonymous: 4 kB\n"
		clean   = "8000-9000 r--p 00000000 08:01 12 /a b-c\nAnonymous: 0 kB\nSwap: 0 kB\n"
	)
	long := "a000-b000 r--p 00000000 08:01 12 /" + strings.Repeat("x 9-9 Anonymous: 4 kB", maxMapsLine) + "\nAnonymous: 8 kB\n"
	tests := []struct {
		name, text string
		addr       uint64
		want       int64
		ok         bool
	}{
		{"nothing", "", 0x1000, 0, false},
		{"swapped out", code + relro, 0x1000, 16 << 10, true},
		{"before the code", relro + code, 0x1000, 16 << 10, true},
		{"only its own read-only areas count", unnamed + data + shared + inode + device + code + clean, 0x1000, 0, true},
		{"several areas", relro + code + clean + relro, 0x1000, 32 << 10, true},
		{"no read-only area", code + data, 0x1000, 0, false},
		{"anonymous code", "1000-2000 r-xp 00000000 00:00 0 [vdso]\n" + unnamed, 0x1000, 0, false},
		{"read-only area", code + relro, 0x2000, 0, false},
		{"path beyond the buffer", code + long + relro, 0x1000, 24 << 10, true},
		{"cut in a line that does not count", code + relro + "VmFl", 0x1000, 16 << 10, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok, err := parseRelocated(strings.NewReader(test.text), test.addr)
			if got != test.want || ok != test.ok || err != nil {
				t.Errorf("%d, %t, %v; want %d, %t", got, ok, err, test.want, test.ok)
			}
		})
	}
}

func TestRelocatedOffset(t *testing.T) {
	rel, err := parseSmaps(strings.NewReader(`1000-2000 r-xp 00001000 08:01 12 /a
3000-4000 r-xp 00003000 08:01 12 /a
4000-6000 r--p 00004000 08:01 12 /a
6000-7000 rw-p 00000000 08:01 13 /b
7000-8000 rw-p 00000000 00:00 0
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		addr, other, want uint64
		ok                bool
	}{
		{0x5010, 0x3000, 0x5010, true},
		{0x1fff, 0x1000, 0x1fff, true},
		{0x2000, 0x1000, 0, false}, // nothing there
		{0x6000, 0x3000, 0, false}, // another file
		{0x7000, 0x7000, 0, false}, // no file
	} {
		if got, ok := rel.Offset(test.addr, test.other); got != test.want || ok != test.ok {
			t.Errorf("Offset(%#x, %#x) = %#x, %t", test.addr, test.other, got, ok)
		}
	}
}

func TestParseRelocatedError(t *testing.T) {
	const good = "1000-2000 r--p 00000000 08:01 12 /a\n"
	for _, line := range []string{
		"x000-2000 r--p 00000000 08:01 12 /a",
		"1000-x000 r--p 00000000 08:01 12 /a",
		"1000-2000",
		"1000-2000 r--p x 08:01 12 /a",
		"1000-2000 r--p 00000000 08:01",
		"1000-2000 r--p 00000000 08:01 ",
		"Anonymous: x kB",
		"Anonymous: -4 kB",
		"Anonymous: ",
		"Swap: 1099511627776 kB", // 2^40
	} {
		n, ok, err := parseRelocated(strings.NewReader(good+line+"\n"), 0)
		if me, is := errors.AsType[*MapsError](err); n != 0 || ok || !is || me.Offset != int64(len(good)) {
			t.Errorf("%q: %d, %t, %v", line, n, ok, err)
		}
	}
	if _, ok, err := parseRelocated(io.MultiReader(strings.NewReader(good), iotest.ErrReader(syscall.EIO)), 0); ok || !errors.Is(err, syscall.EIO) {
		t.Error(ok, err)
	}
	// A part must not pass for the whole.
	if _, ok, err := parseRelocated(io.MultiReader(strings.NewReader(good), endless{}), 0x1000); ok || !errors.Is(err, errSmapsSize) {
		t.Error(ok, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	const line = "Rss: 4 kB\n"
	n := 0
	for len(b)-n >= len(line) {
		n += copy(b[n:], line)
	}
	if n == 0 {
		b[0], n = '\n', 1
	}
	return n, nil
}

func FuzzRelocated(f *testing.F) {
	f.Add(fixture(f, "smaps/loaded"), uint64(smapsLibm))
	f.Add(fixture(f, "smaps/truncated"), uint64(smapsLibm))
	f.Add([]byte("1000-2000 r-xp 0 08:01 12 /a\n2000-3000 r--p 0 08:01 12 /a\nAnonymous: 4 kB\n"), uint64(0x1000))
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		n, ok, err := parseRelocated(bytes.NewReader(b), addr)
		if n < 0 || n%1024 != 0 || (n > 0 && !ok) {
			t.Fatalf("%d, %t", n, ok)
		}
		if err != nil {
			if me, is := errors.AsType[*MapsError](err); ok || !is || me.Offset < 0 || me.Offset >= int64(len(b)) {
				t.Fatalf("%t, %v", ok, err)
			}
			return
		}
		// Areas of another file change nothing.
		more := append([]byte("0-0 r--p 0 other: 5\nAnonymous: 4 kB\n0-0 rw-p 0 other: 5\n"), b...)
		if again, ok2, err := parseRelocated(bytes.NewReader(more), addr); again != n || ok2 != ok || err != nil {
			t.Fatalf("%d, %t, %v; want %d, %t", again, ok2, err, n, ok)
		}
	})
}
