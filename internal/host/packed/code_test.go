package packed

import (
	"bytes"
	"io"
	"os"
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

// armBytes are bytes that look like arm64 code full of calls and addresses.
func armBytes(n int) []byte {
	b := callBytes(n)
	for i := 0; i+4 <= n; i += 4 {
		switch v := b[i] >> 1 & 7; v {
		case 0, 1, 2:
			b[i+3] = 0x94 | b[i+3]&3
		case 3, 4, 5:
			b[i+3] = 0x90 | b[i+3]&0x60
			if v == 3 {
				b[i+2] &= 0x0f // near enough to be filtered
			} else if v == 4 {
				b[i+2] |= 0xf0
			}
		}
	}
	return b
}

// TestCode compares with xz(1) itself, on every length up to a few instructions and on
// more than a buffer.
func TestCode(t *testing.T) {
	for option, all := range map[string][]byte{"--x86": callBytes(60_000), "--arm64": armBytes(60_000)} {
		for _, n := range []int{1, 3, 4, 5, 6, 7, 9, 10, 11, 4096, 16383, 16384, 16385, 50_001} {
			packed := pipe(t, all[:n], "xz", "--check=crc32", option, "--lzma2=dict=1MiB", "-c")
			in, err := NewReader(bytes.NewReader(packed), XZ, Limits{Window: 1 << 20, Output: 1 << 20})
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", option, n, err)
			}
			if got, err := io.ReadAll(iotest.OneByteReader(in)); err != nil || !bytes.Equal(got, all[:n]) {
				t.Errorf("%s, %d bytes: got %d others, %v", option, n, len(got), err)
			}
			if n > 1000 && bytes.Contains(packed, all[n-200:n]) {
				t.Errorf("%s, %d bytes: nothing was filtered", option, n)
			}
		}
	}
}

// FuzzCode holds that what is read at once does not matter.
func FuzzCode(f *testing.F) {
	f.Add(callBytes(300), true)
	f.Add(armBytes(300), false)
	f.Fuzz(func(t *testing.T, data []byte, x86 bool) {
		filter := func(r io.Reader) io.Reader {
			if x86 {
				return &codeFilter{decoder: new(x86Code), r: r}
			}
			return &codeFilter{decoder: arm64Code{}, r: r}
		}
		whole, err1 := io.ReadAll(filter(bytes.NewReader(data)))
		single, err2 := io.ReadAll(filter(iotest.OneByteReader(bytes.NewReader(data))))
		half, err3 := io.ReadAll(iotest.HalfReader(filter(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data))))))
		if err1 != nil || err2 != nil || err3 != nil || len(whole) != len(data) || !bytes.Equal(whole, single) || !bytes.Equal(whole, half) {
			t.Errorf("%x: %x, %x, %x", data, whole, single, half)
		}
	})
}
