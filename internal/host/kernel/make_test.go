package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/patchsensor/patchsensor/internal/file"
)

const (
	testID      = "be80279be0383f6dbea0d4cedb91714bdff3a72b"
	testVersion = "6.1.0-35-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)"
	testRelease = "6.1.0-35-amd64"
)

var testIDBytes = []byte{0xbe, 0x80, 0x27, 0x9b, 0xe0, 0x38, 0x3f, 0x6d, 0xbe, 0xa0, 0xd4, 0xce, 0xdb, 0x91, 0x71, 0x4b, 0xdf, 0xf3, 0xa7, 0x2b}

// makeNote builds one ELF note.
func makeNote(order binary.ByteOrder, owner string, typ uint32, desc []byte) []byte {
	b := make([]byte, 12)
	order.PutUint32(b, uint32(len(owner)+1))
	order.PutUint32(b[4:], uint32(len(desc)))
	order.PutUint32(b[8:], typ)
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	b = append(append(b, owner...), 0)
	pad()
	b = append(b, desc...)
	pad()
	return b
}

// makeNotes builds the notes that kernels have.
func makeNotes(order binary.ByteOrder) []byte {
	b := makeNote(order, "Xen", 6, []byte("linux\x00"))
	b = append(b, makeNote(order, "GNU", noteBuildID, testIDBytes)...)
	return append(b, makeNote(order, "Linux", noteBuildSalt, []byte("6.1.0-35-amd64\x00"))...)
}

// makeELF builds a kernel with its notes at a distance.
func makeELF(order binary.ByteOrder, bits int, distance int) []byte {
	data := byte(1)
	if order == binary.BigEndian {
		data = 2
	}
	notes := makeNotes(order)
	b := make([]byte, distance)
	copy(b, elfMagic)
	for i := 0x100; i < len(b); i++ {
		b[i] = byte(i * i >> 7)
	}
	b[4], b[5], b[6] = byte(bits/32), data, 1
	if bits == 64 {
		order.PutUint64(b[32:], 64)
		order.PutUint16(b[54:], 56)
		order.PutUint16(b[56:], 2)
		order.PutUint32(b[64:], 1) // PT_LOAD
		order.PutUint32(b[120:], 4)
		order.PutUint64(b[128:], uint64(distance))
		order.PutUint64(b[152:], uint64(len(notes)))
	} else {
		order.PutUint32(b[28:], 52)
		order.PutUint16(b[42:], 32)
		order.PutUint16(b[44:], 2)
		order.PutUint32(b[52:], 1)
		order.PutUint32(b[84:], 4)
		order.PutUint32(b[88:], uint32(distance))
		order.PutUint32(b[100:], uint32(len(notes)))
	}
	return append(append(b, notes...), make([]byte, 1000)...)
}

// makeBzImage builds an x86 image around a payload.
func makeBzImage(payload []byte) []byte {
	b := make([]byte, 3*512+100)
	b[0x1f1] = 2
	copy(b[0x1fe:], "\x55\xaaxxHdrS\x0f\x02")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x100)
	copy(b[0x300:], testVersion+"\x00")
	binary.LittleEndian.PutUint32(b[0x248:], 100)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	return append(append(b, payload...), make([]byte, 64)...)
}

// makeArm64 builds a bare kernel: a header, two vDSOs, a banner, notes.
func makeArm64() []byte {
	b := make([]byte, 64, 3<<20)
	copy(b[0x38:], "ARM\x64")
	order := binary.LittleEndian
	b = append(b, make([]byte, scanWindow-200)...) // the first vDSO lies across two windows
	other := bytes.Repeat([]byte{7}, 20)
	for range 2 {
		b = append(b, makeNote(order, "Linux", noteVersion, []byte{0, 1, 6, 0})...)
		b = append(b, makeNote(order, "Linux", noteBuildSalt, []byte("salt"))...)
		b = append(b, makeNote(order, "GNU", noteBuildID, other)...)
		b = append(b, make([]byte, 4000)...)
	}
	b = append(b, "Linux version %s (x)\n\x00Linux version "+testVersion+"\n\x00"...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, make([]byte, 900_000)...)
	return append(append(b, makeNotes(order)[20:]...), make([]byte, 100)...)
}

// makeZBoot builds an EFI program that unpacks a kernel.
func makeZBoot(payload []byte) []byte {
	b := make([]byte, 0x400)
	copy(b, "MZ\x00\x00zimg")
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], "gzip")
	return append(b, payload...)
}

type section struct{ name, data string }

// makeUKI builds an EFI program with sections.
func makeUKI(sections ...section) []byte {
	b := make([]byte, 0x80+24+0x70+40*len(sections))
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00\x64\x86")
	binary.LittleEndian.PutUint16(b[0x86:], uint16(len(sections)))
	binary.LittleEndian.PutUint16(b[0x94:], 0x70)
	for i, s := range sections {
		h := b[0x80+24+0x70+40*i:]
		copy(h[:8], s.name)
		binary.LittleEndian.PutUint32(h[8:], uint32(len(s.data)))
		binary.LittleEndian.PutUint32(h[16:], uint32((len(s.data)+511)&^511))
		binary.LittleEndian.PutUint32(h[20:], uint32(len(b)))
		b = append(b, s.data...)
		b = append(b, make([]byte, -len(s.data)&511)...)
	}
	return b
}

func packGzip(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	write(t, w, data)
	return b.Bytes()
}

func packXZ(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, data)
	return b.Bytes()
}

func packLZMA(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w, err := lzma.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, data)
	return b.Bytes()
}

func packZstd(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, data)
	return b.Bytes()
}

// packLZ4 packs nothing: it writes literals, in blocks of 64 KiB.
func packLZ4(_ testing.TB, data []byte) []byte {
	b := []byte("\x02\x21\x4c\x18")
	for len(data) > 0 {
		n := min(len(data), 64<<10)
		block := []byte{0xf0}
		left := n - 15
		for ; left >= 255; left -= 255 {
			block = append(block, 255)
		}
		block = append(append(block, byte(left)), data[:n]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(block)))
		b = append(b, block...)
		data = data[n:]
	}
	return b
}

func write(t testing.TB, w io.WriteCloser, data []byte) {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// xzBlock puts headers before LZMA2 chunks; dict is the window's size as the
// format has it.
func xzBlock(dict byte, chunks []byte) []byte { return xzBlockOf(0x21, dict, chunks) }

func xzBlockOf(filter, dict byte, chunks []byte) []byte {
	b := []byte("\xfd7zXZ\x00\x00\x00")
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[6:8]))
	head := []byte{2, 0, filter, 1, dict, 0, 0, 0}
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(head))
	return append(b, chunks...)
}

// makeRoot makes a root of files, by name; a content that begins with "-> " is
// a symbolic link.
func makeRoot(t testing.TB, files map[string]string) *file.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := bytes.CutPrefix([]byte(content), []byte("-> ")); ok {
			err = os.Symlink(string(target), p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}
