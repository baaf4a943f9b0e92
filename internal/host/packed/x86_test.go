package packed

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
	"testing/iotest"
)

// TestX86File reads what the library cannot make: x86.xz is random bytes, many of them
// calls, packed by xz --x86 --lzma2.
func TestX86File(t *testing.T) {
	packed, err := os.ReadFile("testdata/x86.xz")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(packed, XZ, 1<<20); err != nil || !bytes.Equal(got, callBytes(20_000)) {
		t.Errorf("%d bytes, other content than was packed: %v", len(got), err)
	}
}

// callBytes are bytes that look like x86 code full of calls and jumps.
func callBytes(n int) []byte {
	b := make([]byte, n)
	state := uint32(1)
	for i := range b {
		state = state*1664525 + 1013904223
		r := state >> 24
		switch state >> 16 & 7 {
		case 0, 1:
			b[i] = 0xe8 | byte(r&1)
		case 2, 3:
			b[i] = 0
		case 4:
			b[i] = 0xff
		default:
			b[i] = byte(r)
		}
	}
	return b
}

// TestX86Program compares with xz(1) itself, on every length up to a few
// instructions and on more than a buffer.
func TestX86Program(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: no xz(1) on this machine; TestX86File holds one of its files")
	}
	all := callBytes(60_000)
	for _, n := range []int{0, 1, 4, 5, 6, 7, 9, 10, 11, 4096, 16383, 16384, 16385, 50_001} {
		cmd := exec.Command("xz", "--check=crc32", "--x86", "--lzma2=dict=1MiB", "-c")
		cmd.Stdin = bytes.NewReader(all[:n])
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			continue // it has no block
		}
		in, err := NewReader(bytes.NewReader(packed), XZ, Limits{Window: 1 << 20, Output: 1 << 20})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got, err := io.ReadAll(iotest.OneByteReader(in)); err != nil || !bytes.Equal(got, all[:n]) {
			t.Errorf("%d bytes: got %d others, %v", n, len(got), err)
		}
	}
}

// FuzzX86Filter holds that what is read at once does not matter.
func FuzzX86Filter(f *testing.F) {
	f.Add(callBytes(300))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err1 := io.ReadAll(&x86Filter{r: bytes.NewReader(data)})
		single, err2 := io.ReadAll(&x86Filter{r: iotest.OneByteReader(bytes.NewReader(data))})
		half, err3 := io.ReadAll(iotest.HalfReader(&x86Filter{r: iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data)))}))
		if err1 != nil || err2 != nil || err3 != nil || len(whole) != len(data) || !bytes.Equal(whole, single) || !bytes.Equal(whole, half) {
			t.Errorf("%x: %x, %x, %x", data, whole, single, half)
		}
	})
}
