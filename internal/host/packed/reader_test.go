package packed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/patchsensor/patchsensor/internal/file"
)

var errDisk = errors.New("disk is broken")

// readAll unpacks with a Reader.
func readAll(in io.Reader, kind Kind, limits Limits) ([]byte, int64, error) {
	r, err := NewReader(in, kind, limits)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	got, err := io.ReadAll(iotest.HalfReader(r))
	return got, r.Offset(), err
}

// TestReader reads what each tool has packed, from a disk that is whole and from one that
// breaks.
func TestReader(t *testing.T) {
	data := sample(200_000)
	limits := Limits{Window: 64 << 20, Output: 200_000}
	for _, tool := range append(tools, tool{"plain", Plain, []string{"cat"}}) {
		t.Run(tool.name, func(t *testing.T) {
			in := pipe(t, data, tool.args[0], tool.args[1:]...)
			got, offset, err := readAll(iotest.OneByteReader(bytes.NewReader(in)), tool.kind, limits)
			if err != nil || !bytes.Equal(got, data) || offset > int64(len(in)) || offset < int64(len(in))*9/10 {
				t.Errorf("%d bytes of %d packed ones: %v", len(got), offset, err)
			}
			broken := io.MultiReader(bytes.NewReader(in[:len(in)/2]), iotest.ErrReader(errDisk))
			if _, _, err := readAll(broken, tool.kind, limits); err != errDisk {
				t.Errorf("a broken disk: %v", err)
			}
			got, _, err = readAll(bytes.NewReader(in), tool.kind, Limits{Window: 64 << 20, Output: 199_999})
			if e, ok := errors.AsType[*Error](err); !ok || len(got) != 199_999 || e.Offset <= 0 || e.Offset > int64(len(in)) || !errors.Is(err, file.ErrTooLarge) {
				t.Errorf("one byte too many: %d, %v", len(got), err)
			}
		})
	}
}

// TestFiles reads what lz4 -l and bzip2 have packed.
func TestFiles(t *testing.T) {
	var want []byte
	for i := range 3000 {
		want = fmt.Appendf(want, "line %d of many\n", i)
	}
	for _, name := range []string{"lines.lz4", "lines.bz2"} {
		in, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(in, KindOf(in[:HeadSize]), 1<<20); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if got, err := read(in, KindOf(in[:HeadSize]), 40_000); !errors.Is(err, file.ErrTooLarge) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	gz := pipe(t, sample(5000), "gzip", "-nc")
	sum := bytes.Clone(gz)
	sum[len(sum)-8] ^= 1
	limits := Limits{Window: 1 << 20, Output: 1 << 20}
	for name, test := range map[string]struct {
		in   string
		kind Kind
		want string
	}{
		"checksum":      {string(sum), Gzip, "gzip: "},
		"more follows":  {string(gz) + "rubbish", Gzip, "gzip: "},
		"empty members": {strings.Repeat(string(pipe(t, nil, "gzip", "-nc")), 100_000), Gzip, "offset 1245184: gzip: more than 1245184 packed bytes"},
		"lzo":           {"\x89LZO\x00\r\n\x1a\n", LZO, "offset 0: lzo: compression is not known"},
		"no kind":       {"", Kind(99), "offset 0: compression: compression is not known"},
		"nothing":       {"", XZ, "offset 0: xz: unexpected EOF"},
		"lzma window":   {"\x5d\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff\x00", LZMA, "offset 0: lzma: window of 33554432 bytes where 1048576 are allowed"},
		"lzma cut":      {"\x5d\x00\x00\x00", LZMA, "offset 0: lzma: unexpected EOF"},
		"zstd window":   {"\x28\xb5\x2f\xfd\x00\x60\x01\x00\x00", Zstd, "zstd: "},
		"lz4 cut":       {"\x02\x21\x4c", LZ4, "lz4: unexpected EOF"},
	} {
		_, _, err := readAll(strings.NewReader(test.in), test.kind, limits)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), test.want) || e.Offset > int64(len(test.in)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewReader(strings.NewReader(""), LZO, limits); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestKindOf(t *testing.T) {
	for head, want := range map[string]Kind{
		"": Plain, "\x7fELF": Plain, "\x1f\x8b\x08\x00": Gzip, "\xfd7zXZ\x00\x00": XZ, "\xfd7zX": Plain, "\x28\xb5\x2f\xfd": Zstd,
		"BZh9": Bzip2, "\x5d\x00\x00\x80": LZMA, "\x02\x21\x4c\x18": LZ4, "\x89LZO\x00\r\n\x1a\n": LZO,
	} {
		if got := KindOf([]byte(head)); got != want {
			t.Errorf("%q: %v", head, got)
		}
	}
}
