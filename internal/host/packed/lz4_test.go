package packed

import (
	"strings"
	"testing"
)

func TestLZ4(t *testing.T) {
	for packed, want := range map[string]string{
		"\x50hello":                         "hello",
		"\x1fa\x01\x00\x00\x50hello":        strings.Repeat("a", 20) + "hello",
		"\x20ab\x02\x00\x10c":               "abababc",
		"\x41abcd\x04\x00\x12x\x06\x00\x00": "abcdabcdaxabcdax",
		"\xf0\x00" + "0123456789abcde":      "0123456789abcde",
	} {
		if got, err := appendLZ4(nil, []byte(packed)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", packed, got, err)
		}
	}
	for _, bad := range []string{
		"\x50hell", "\x10a\x00\x00\x00", "\x10a\x02\x00\x00", "\x10a\x01", "\xf0", "\xf0\xff", "\x1fa\x01\x00", "\x1fa\x01\x00\xff",
		"\x1fa\x01\x00" + strings.Repeat("\xff", maxLZ4Block/255+1) + "\x00",
	} {
		if got, err := appendLZ4(nil, []byte(bad)); err == nil || len(got) > maxLZ4Block {
			t.Errorf("%.20q is taken: %d bytes", bad, len(got))
		}
	}
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte("\x1fa\x01\x00\x50hello"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if out, err := appendLZ4(nil, data); len(out) > maxLZ4Block || err == nil && len(out) > 256*len(data) {
			t.Errorf("%d bytes of %d, %v", len(out), len(data), err)
		}
	})
}
