package packed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

// pipe runs a compressor over data.
func pipe(t testing.TB, data []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return out
}

// read returns the content in one piece.
func read(in []byte, kind Kind, limit int64) ([]byte, error) {
	c, err := Read(bytes.NewReader(in), kind, limit)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
}

// sample is partly compressible, so that several kinds of chunk occur.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := bytes.Repeat([]byte("module "), n/7+1)[:n]
	for i := range b[:n/2] {
		b[i] = byte(r.Uint32())
	}
	return b
}

type tool struct {
	name string
	kind Kind
	args []string
}

var tools = []tool{
	{"gzip", Gzip, []string{"gzip", "-nc"}},
	{"xz kernel", XZ, []string{"xz", "-c", "--check=crc32", "--lzma2=dict=1MiB"}},
	{"xz crc64", XZ, []string{"xz", "-c"}},
	{"xz sha256", XZ, []string{"xz", "-c", "--check=sha256"}},
	{"xz none", XZ, []string{"xz", "-c", "--check=none"}},
	{"xz blocks", XZ, []string{"xz", "-c", "-T2", "--block-size=65536"}},
	{"zstd", Zstd, []string{"zstd", "-qc"}},
	{"zstd 19", Zstd, []string{"zstd", "-qc", "-19", "--no-check"}},
	{"xz x86", XZ, []string{"xz", "-c", "--check=crc32", "--x86", "--lzma2=dict=1MiB"}},
	{"xz x86 blocks", XZ, []string{"xz", "-c", "--x86", "--lzma2=dict=1MiB", "--block-size=65536"}},
	{"xz small blocks", XZ, []string{"xz", "-c", "--block-size=20000"}},
	{"lzma", LZMA, []string{"xz", "-c", "--format=lzma"}},
}

func TestRead(t *testing.T) {
	data := sample(300_000)
	for _, tool := range tools {
		t.Run(tool.name, func(t *testing.T) {
			in := pipe(t, data, tool.args[0], tool.args[1:]...)
			if got := KindOf(in[:HeadSize]); got != tool.kind {
				t.Fatalf("kind %v", got)
			}
			for _, limit := range []int64{int64(len(data)), 1 << 30} {
				if got, err := read(in, tool.kind, limit); err != nil || !bytes.Equal(got, data) {
					t.Errorf("limit %d: %d bytes, %v", limit, len(got), err)
				}
			}
			if _, err := read(in, tool.kind, int64(len(data)-1)); !errors.Is(err, file.ErrTooLarge) {
				t.Errorf("one byte too many: %v", err)
			}
			for _, cut := range []int{7, 20, len(in) / 2} {
				if got, err := read(in[:cut], tool.kind, 1<<30); err == nil {
					t.Errorf("cut to %d bytes: %d bytes and no error", cut, len(got))
				}
			}
			if tool.name == "xz none" || tool.name == "zstd 19" {
				return // nothing would notice
			}
			bad := slices.Clone(in)
			bad[len(bad)/2] ^= 0x10
			if got, err := read(bad, tool.kind, 1<<30); err == nil {
				t.Errorf("a bit turned: %d bytes and no error", len(got))
			}
		})
	}
}

// TestBomb reads 16 MiB of zeros that take little room: memory must not follow.
func TestBomb(t *testing.T) {
	for _, tool := range tools {
		if strings.Contains(tool.name, "blocks") || tool.name == "xz sha256" || tool.name == "xz none" {
			continue
		}
		t.Run(tool.name, func(t *testing.T) {
			cmd := append([]string{"-c", `head -c 16M /dev/zero | "$@"`, "sh"}, tool.args...)
			in := pipe(t, nil, "sh", cmd...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := read(in, tool.kind, 1<<20)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, file.ErrTooLarge) {
				t.Errorf("%d bytes: %v", len(in), err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 20<<20 {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
}

// TestContent reads a content of several pieces from everywhere.
func TestContent(t *testing.T) {
	data := sample(2*chunk + 1000)
	c, err := Read(bytes.NewReader(data), Plain, 1<<30)
	if err != nil || c.Size() != int64(len(data)) {
		t.Fatal(err)
	}
	for _, at := range []int{0, 1, chunk - 5, chunk, chunk + 3, 2*chunk - 1, len(data) - 10, len(data), len(data) + 5} {
		for _, n := range []int{0, 1, 10, chunk + 10, 3 * chunk} {
			p := make([]byte, n)
			got, err := c.ReadAt(p, int64(at))
			want := data[min(at, len(data)):min(at+n, len(data))]
			if got != len(want) || !bytes.Equal(p[:got], want) || (err == nil) != (got == n) {
				t.Errorf("%d bytes at %d: %d, %v", n, at, got, err)
			}
		}
	}
	if _, err := c.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset can be read")
	}
	if c, err := Read(bytes.NewReader(nil), Plain, 10); err != nil || c.Size() != 0 {
		t.Error(err)
	}
}

func TestHostileXZ(t *testing.T) {
	good := pipe(t, sample(1000), "xz", "-c", "--check=crc32")
	// header returns good with its block header replaced.
	header := func(body ...byte) []byte {
		body = slices.Concat([]byte{0}, body)
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		body[0] = byte(len(body) / 4)
		body = binary.LittleEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
		return slices.Concat(good[:12], body, good[24:])
	}
	for name, in := range map[string][]byte{
		"bad dictionary":     header(0, 0x21, 1, 41),
		"filter for ARM":     header(1, 7, 0, 0x21, 1, 20),
		"filter twice":       header(2, 4, 0, 4, 0, 0x21, 1, 20),
		"only x86":           header(0, 4, 0),
		"x86 behind LZMA2":   header(1, 0x21, 1, 20, 4, 0),
		"endless number":     header(0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"long properties":    header(0, 0x21, 0xff, 0x7f),
		"reserved flags":     header(0x20, 0x21, 1, 20),
		"size too small":     header(0x80, 0xe7, 7, 0x21, 1, 20),
		"size too large":     header(0x80, 0xe9, 7, 0x21, 1, 20),
		"header's checksum":  slices.Concat(good[:20], []byte{1, 2, 3, 4}, good[24:]),
		"stream's checksum":  slices.Concat(good[:8], []byte{1, 2, 3, 4}, good[12:]),
		"blocks without end": append(slices.Clone(good[:12]), bytes.Repeat(append(header(0, 0x21, 1, 28)[12:24], make([]byte, 8)...), 100)...),
		"no block":           good[:12],
		"no block, an index": append(slices.Clone(good[:12]), 0),
	} {
		got, err := read(in, XZ, 1<<20)
		var e *Error
		if !errors.As(err, &e) || e.Offset < 12 || e.Offset > int64(len(in)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := read(header(0, 0x21, 1, 40), XZ, 100<<20); err == nil {
		t.Error("a window of 4 GiB for 100 MiB is taken")
	}
	// What is asked for without need costs nothing.
	want := sample(1000)
	for name, in := range map[string][]byte{
		"4 GiB dictionary":  header(0, 0x21, 1, 40),
		"96 MiB dictionary": header(0, 0x21, 1, 29),
		"sizes":             header(0x80, 0xe8, 7, 0x21, 1, 29),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := read(in, XZ, 1<<20)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err != nil || !bytes.Equal(got, want) || used > 8<<20 {
			t.Errorf("%s: %d bytes, %v; %d bytes allocated", name, len(got), err, used)
		}
	}
}

// FuzzRead reads anything: memory is bounded, what is read fits the limit, and errors say
// where they are.
func FuzzRead(f *testing.F) {
	for _, tool := range tools {
		f.Add(pipe(f, sample(2000), tool.args[0], tool.args[1:]...))
	}
	for _, name := range []string{"lines.lz4", "lines.bz2"} {
		in, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Add([]byte("\x1f\x8b\b0000000")) // a header that is cut
	f.Fuzz(func(t *testing.T, in []byte) {
		limits := Limits{Window: 1 << 20, Output: 1 << 16}
		got, offset, err := readAll(bytes.NewReader(in), KindOf(in), limits)
		if int64(len(got)) > limits.Output || offset < 0 || offset > int64(len(in)) {
			t.Fatalf("%d bytes of %d packed ones, %v", len(got), offset, err)
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Err == nil || e.Offset < 0 || e.Offset > int64(len(in))) {
			t.Fatal(err)
		}
	})
}
