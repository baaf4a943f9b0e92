package proc

import (
	"encoding/binary"
	"testing"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// auxv writes pairs in the words of a process.
func auxv(width int, words ...uint64) []byte {
	var b []byte
	for _, w := range words {
		if width == 4 {
			b = binary.NativeEndian.AppendUint32(b, uint32(w))
		} else {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
	}
	return b
}

func TestParseAuxv(t *testing.T) {
	for _, width := range []int{4, 8} {
		tests := []struct {
			name string
			b    []byte
			want snapshot.Aux
		}{
			{"nothing", nil, snapshot.Aux{}},
			{"others only", auxv(width, 6, 4096, 17, 100), snapshot.Aux{}},
			{"all", auxv(width, 33, 1, 3, 0x8048034, 4, 32, 5, 6, 31, 0xfff0, 0, 0), snapshot.Aux{Phdr: 0x8048034, Phnum: 6, ExecFn: 0xfff0}},
			{"nothing counts after the end", auxv(width, 3, 7, 0, 0, 5, 6), snapshot.Aux{Phdr: 7}},
			{"no end", auxv(width, 3, 7, 5, 6), snapshot.Aux{Phdr: 7, Phnum: 6}},
			{"cut in a value", auxv(width, 3, 7, 5, 6)[:4*width-1], snapshot.Aux{Phdr: 7}},
			{"cut in a type", auxv(width, 3, 7, 5)[:3*width-1], snapshot.Aux{Phdr: 7}},
			{"highest value", auxv(width, 3, 1<<(8*width-1)), snapshot.Aux{Phdr: 1 << (8*width - 1)}},
		}
		for _, test := range tests {
			if got := ParseAuxv(test.b, width); got != test.want {
				t.Errorf("%d bytes, %s: %+v; want %+v", width, test.name, got, test.want)
			}
		}
	}
}

// The fixtures are little-endian, as every machine that the program is built for.
func TestParseAuxvFixtures(t *testing.T) {
	tests := []struct {
		name  string
		width int
		want  snapshot.Aux
	}{
		{"amd64", 8, snapshot.Aux{Phdr: 0x55eb10daf040, Phnum: 13, ExecFn: 0x7ffd61574fed}},
		{"386", 4, snapshot.Aux{Phdr: 0x8048034, Phnum: 6, ExecFn: 0xffe68fea}},
		{"386", 8, snapshot.Aux{}}, // how a 32-bit process is recognised
	}
	for _, test := range tests {
		if got := ParseAuxv(fixture(t, "auxv/"+test.name), test.width); got != test.want {
			t.Errorf("%s in words of %d: %#x; want %#x", test.name, test.width, got, test.want)
		}
	}
}

func FuzzParseAuxv(f *testing.F) {
	f.Add(fixture(f, "auxv/amd64"), true)
	f.Add(fixture(f, "auxv/386"), false)
	f.Fuzz(func(t *testing.T, b []byte, wide bool) {
		width := 4
		if wide {
			width = 8
		}
		a := ParseAuxv(b, width)
		if width == 4 && (a.Phdr|a.Phnum|a.ExecFn)>>32 != 0 {
			t.Fatalf("%+v", a)
		}
		// An entry before changes nothing that comes after it, and one behind
		// the end nothing at all.
		more := append(auxv(width, 3, 1, 5, 1, 31, 1), b...)
		want := a
		for _, v := range []*uint64{&want.Phdr, &want.Phnum, &want.ExecFn} {
			*v = max(*v, 1)
		}
		got := ParseAuxv(more, width)
		if (a.Phdr > 0 && got.Phdr != want.Phdr) || (a.Phnum > 0 && got.Phnum != want.Phnum) || (a.ExecFn > 0 && got.ExecFn != want.ExecFn) {
			t.Fatalf("%+v; want %+v", got, want)
		}
		whole := b[:len(b)/(2*width)*2*width]
		ended := append(append(append([]byte(nil), whole...), auxv(width, 0, 0, 3, 99, 5, 99, 31, 99)...), b...)
		if got := ParseAuxv(ended, width); got != a {
			t.Fatalf("%+v; want %+v", got, a)
		}
	})
}
