package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"github.com/patchsensor/patchsensor/internal/file"
)

func identify(data []byte) (Image, error) {
	return Identify(context.Background(), bytes.NewReader(data), int64(len(data)))
}

func TestIdentify(t *testing.T) {
	little := makeELF(binary.LittleEndian, 64, 200_000)
	asIs := func(_ testing.TB, b []byte) []byte { return b }
	// The kernel's build appends the size of the content.
	sized := func(pack func(testing.TB, []byte) []byte) func(testing.TB, []byte) []byte {
		return func(t testing.TB, b []byte) []byte {
			return binary.LittleEndian.AppendUint32(pack(t, b), uint32(len(b)))
		}
	}
	osrel := "ID=debian\nVERSION_ID=13\n"
	uki := func(inner []byte, uname string) []byte {
		return makeUKI(section{".text", "code"}, section{".osrel", osrel}, section{".uname", uname}, section{".linux", string(inner)},
			section{".profile", ""}, section{".uname", "another"})
	}
	tests := []struct {
		name, format string
		data         []byte
		release      string
		version      string
		header       bool // the header has the release
	}{
		{"bzImage gzip", FormatBzImage, makeBzImage(packGzip(t, little)), testRelease, testVersion, true},
		{"bzImage xz", FormatBzImage, makeBzImage(sized(packXZ)(t, little)), testRelease, testVersion, true},
		{"bzImage zstd", FormatBzImage, makeBzImage(sized(packZstd)(t, little)), testRelease, testVersion, true},
		{"bzImage lzma", FormatBzImage, makeBzImage(sized(packLZMA)(t, little)), testRelease, testVersion, true},
		{"bzImage lz4", FormatBzImage, makeBzImage(sized(packLZ4)(t, little)), testRelease, testVersion, true},
		{"bzImage raw", FormatBzImage, makeBzImage(asIs(t, little)), testRelease, testVersion, true},
		{"bzImage 32 bits", FormatBzImage, makeBzImage(packGzip(t, makeELF(binary.LittleEndian, 32, 5000))), testRelease, testVersion, true},
		{"vmlinux", FormatELF, little, "", "", false},
		{"vmlinux big-endian", FormatELF, makeELF(binary.BigEndian, 64, 70_000), "", "", false},
		{"Image", FormatImage, makeArm64(), testRelease, testVersion, false},
		{"Image.gz", FormatPacked, packGzip(t, makeArm64()), testRelease, testVersion, false},
		{"zboot", FormatZBoot, makeZBoot(packZstd(t, makeArm64())), testRelease, testVersion, false},
		{"UKI", FormatUKI, uki(makeBzImage(packGzip(t, little)), "6.12.1-1.fc41.x86_64\n\x00"), "6.12.1-1.fc41.x86_64", testVersion, true},
		{"UKI without .uname", FormatUKI, uki(makeBzImage(packGzip(t, little)), ""), testRelease, testVersion, true},
		{"UKI zboot", FormatUKI, uki(makeZBoot(packGzip(t, makeArm64())), "6.12.1"), "6.12.1", "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img, err := identify(test.data)
			if err != nil {
				t.Fatal(err)
			}
			if img.Format != test.format || img.Release != test.release || img.Version != test.version || img.BuildID != testID {
				t.Errorf("got %+v", img)
			}
			head, err := ReadImage(bytes.NewReader(test.data), int64(len(test.data)))
			if err != nil || head.BuildID != "" || (head.Release != "") != test.header {
				t.Errorf("header: %+v, %v", head, err)
			}
			if test.format == FormatUKI && img.OSRelease != osrel {
				t.Errorf(".osrel: %q", img.OSRelease)
			}
			// No prefix makes it panic, and none makes another build ID.
			for n := 0; n < len(test.data); n += 1 + len(test.data)/50 {
				if img, err := identify(test.data[:n]); err == nil && img.BuildID != testID {
					t.Errorf("%d bytes: %+v", n, img)
				}
			}
		})
	}
}

// TestBzip2 reads what the library cannot make: elf.bz2 is makeELF's.
func TestBzip2(t *testing.T) {
	packed, err := os.ReadFile("testdata/elf.bz2")
	if err != nil {
		t.Fatal(err)
	}
	if img, err := identify(makeBzImage(packed)); err != nil || img.BuildID != testID {
		t.Errorf("%+v, %v", img, err)
	}
}

func TestNoBuildID(t *testing.T) {
	two := makeArm64()
	two = append(two, makeNote(binary.LittleEndian, "GNU", noteBuildID, testIDBytes)...)
	none := makeELF(binary.LittleEndian, 64, 300)
	none[120] = 1 // PT_LOAD instead
	for name, data := range map[string][]byte{"two candidates": two, "no notes": makeBzImage(none)} {
		if img, err := identify(data); !errors.Is(err, ErrNoBuildID) || img.BuildID != "" {
			t.Errorf("%s: %+v, %v", name, img, err)
		}
	}
}

func TestBadImages(t *testing.T) {
	little := makeELF(binary.LittleEndian, 64, 5000)
	change := func(data []byte, at int, b ...byte) []byte {
		data = bytes.Clone(data)
		copy(data[at:], b)
		return data
	}
	good := makeBzImage(packGzip(t, little))
	uki := makeUKI(section{".linux", string(good)})
	header := 0x80 + 24 + 0x70
	far := change(little, 128, 0, 0, 0, 0xff, 0xff)
	tests := []struct {
		name, want string
		data       []byte
		is         error
	}{
		{"empty", "", nil, ErrNotKernel},
		{"text", "", []byte(strings.Repeat("text ", 500)), ErrNotKernel},
		{"another EFI program", "", makeUKI(section{".text", "x"}), ErrNotKernel},
		{"UKI in UKI", "", makeUKI(section{".linux", string(uki)}), ErrNotKernel},
		{"more setup than file", "offset 497", change(good, 0x1f1, 255), nil},
		{"version behind the setup", "offset 526", change(good, 0x20e, 0xff, 0xff), nil},
		{"old protocol", "offset 518", change(good, 0x206, 7, 2), nil},
		{"payload behind the end", "offset 584", change(good, 0x248, 0xff, 0xff, 0xff, 0xff), nil},
		{"payload too long", "offset 584", change(good, 0x24c, 0xff, 0xff, 0xff, 0xff), nil},
		{"sections behind the end", "wanted in a file", change(uki, 0x94, 0xff, 0xff), nil},
		{"PE header behind the end", "wanted in a file", change(uki, 0x3c, 0, 0, 0, 0xff), nil},
		{"many sections", "65535 sections", change(uki, 0x86, 0xff, 0xff), nil},
		{"section behind the end", ".linux", change(uki, header+20, 0, 0, 0, 0xff), nil},
		{"large .uname", "section of", makeUKI(section{".linux", string(good)}, section{".uname", strings.Repeat("x", 600)}), nil},
		{"unknown packer", "offset 1636", makeBzImage([]byte("something else, of some length, that is no known packer's output")), ErrCompression},
		{"lzo", "lzo", makeBzImage([]byte("\x89LZO\x00\r\n\x1a\n and more of it")), ErrCompression},
		{"notes far away", "notes of", makeBzImage(packGzip(t, far)), nil},
		{"cut", "the kernel ends in its segments, after 1000 bytes", makeBzImage(packGzip(t, little[:1000])), nil},
		{"xz window", "window of", makeBzImage(xzBlock(36, nil)), nil},
		{"xz filter", "filter 0xa", makeBzImage(xzBlockOf(0x0a, 20, nil)), nil},
		{"lzma window", "window of", makeBzImage([]byte("\x5d\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00")), nil},
		{"lz4 block", "lz4", makeBzImage([]byte("\x02\x21\x4c\x18\xff\xff\xff\xff and more")), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img, err := identify(test.data)
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%+v, %v", img, err)
			}
		})
	}
}

// TestBombs holds that what grows without end is given up, in bounded memory.
func TestBombs(t *testing.T) {
	head := make([]byte, 64)
	copy(head[0x38:], "ARM\x64") // a bare Image is read to its end
	zeros := make([]byte, 16<<20)
	many := func(first, more []byte) []byte { return append(first, bytes.Repeat(more, 64)...) }
	var chunks bytes.Buffer
	w, err := lzma.Writer2Config{DictCap: 1 << 20}.NewWriter2(&chunks)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, append(bytes.Clone(head), zeros...))
	body := chunks.Bytes()[:chunks.Len()-1] // the end mark
	lz4 := append([]byte{0, 0, 0, 0, 0x1f, 0, 1, 0}, bytes.Repeat([]byte{255}, 8<<20/255)...)
	lz4 = append(lz4, 0, 0)
	binary.LittleEndian.PutUint32(lz4, uint32(len(lz4)-4))
	lz4 = append(lz4[:len(lz4)-1:len(lz4)-1], 0x00)
	bombs := map[string][]byte{
		"gzip": many(packGzip(t, head), packGzip(t, zeros)),
		"zstd": many(packZstd(t, head), packZstd(t, zeros)),
		"xz":   xzBlock(30, many(nil, body)), // a window of 128 MiB
		"lz4":  many(packLZ4(t, head), lz4),
	}
	for name, packed := range bombs {
		t.Run(name, func(t *testing.T) {
			data := makeZBoot(packed)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			img, err := identify(data)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, file.ErrTooLarge) || img.BuildID != "" {
				t.Errorf("%+v, %v", img, err)
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 160 {
				t.Errorf("%d MiB were allocated", used)
			}
		})
	}
}

// countingAt counts what is read.
type countingAt struct {
	io.ReaderAt
	n int64
}

func (c *countingAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// TestIdentifyReadsToNotes holds that a kernel is not read beyond its notes: half of a
// real one is behind them.
func TestIdentifyReadsToNotes(t *testing.T) {
	elf := makeELF(binary.LittleEndian, 64, 200_000)
	random := rand.NewChaCha8([32]byte{1})
	behind := make([]byte, 2<<20) // which no packer makes smaller
	random.Read(behind)
	elf = append(elf, behind...)
	for name, pack := range map[string]func(testing.TB, []byte) []byte{"gzip": packGzip, "xz": packXZ, "zstd": packZstd, "lz4": packLZ4} {
		data := makeBzImage(pack(t, elf))
		r := &countingAt{ReaderAt: bytes.NewReader(data)}
		img, err := Identify(context.Background(), r, int64(len(data)))
		if err != nil || img.BuildID != testID {
			t.Errorf("%s: %+v, %v", name, img, err)
		}
		if r.n > 1<<20 {
			t.Errorf("%s: %d bytes of %d were read", name, r.n, len(data))
		}
	}
}

func TestIdentifyStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	data := makeBzImage(packGzip(t, makeELF(binary.LittleEndian, 64, 5000)))
	if _, err := Identify(ctx, bytes.NewReader(data), int64(len(data))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestScanWindows moves what is looked for across the end of a window.
func TestScanWindows(t *testing.T) {
	things := append([]byte("Linux version "+testVersion+"\n\x00\x00\x00"), make([]byte, 600)...)
	for len(things)%4 != 0 {
		things = append(things, 0)
	}
	things = append(things, makeNote(binary.LittleEndian, "Linux", noteVersion, []byte{0, 1, 6, 0})...)
	things = append(things, makeNote(binary.LittleEndian, "GNU", noteBuildID, bytes.Repeat([]byte{7}, 20))...)
	things = append(things, make([]byte, 400)...)
	things = append(things, makeNotes(binary.LittleEndian)...)
	for at := scanWindow - 6000; at < scanWindow+200; at += 68 {
		data := make([]byte, scanWindow+8192)
		copy(data[0x38:], "ARM\x64")
		copy(data[at:], things)
		if img, err := identify(data); err != nil || img.BuildID != testID || img.Version != testVersion {
			t.Errorf("at %d: %+v, %v", at, img, err)
		}
	}
}
