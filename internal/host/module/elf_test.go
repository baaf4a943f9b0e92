package module

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
)

// TestBuilt reads modules that compiler and linker made, packed in each way, signed and
// not.
func TestBuilt(t *testing.T) {
	plain := build(t, "snd_dummy", "1A8305910641CAB8B515711", "1.0.2.0-k")
	dir := t.TempDir()
	write(t, dir, "plain.ko", plain)
	id := regexp.MustCompile("Build ID: ([0-9a-f]+)").FindSubmatch(run(t, "readelf", "-n", dir+"/plain.ko"))
	if id == nil {
		t.Fatal("the linker made no build ID")
	}
	want := Info{Name: "snd_dummy", Srcversion: "1A8305910641CAB8B515711", Version: "1.0.2.0-k",
		Vermagic: release + " SMP mod_unload", BuildID: string(id[1])}
	signed := append(slices.Clone(plain), strings.Repeat("signature", 50)+"~Module signature appended~\n"...)
	write(t, dir, "signed.ko", signed)
	write(t, dir, "gz.ko.gz", pack(t, signed, "gzip", "-nc"))
	write(t, dir, "xz.ko.xz", pack(t, signed, "xz", "-c", "--check=crc32", "--lzma2=dict=1MiB"))
	write(t, dir, "zst.ko.zst", pack(t, signed, "zstd", "-qc", "-T0", "--ultra", "-20"))
	write(t, dir, "odd.ko.gz", pack(t, plain, "zstd", "-qc")) // by its content, not its name
	root := openRoot(t, dir)
	for _, name := range []string{"plain.ko", "signed.ko", "gz.ko.gz", "xz.ko.xz", "zst.ko.zst", "odd.ko.gz"} {
		if got, err := new(Cache).ReadFile(root, name); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestManySections(t *testing.T) {
	// More than fit the ELF header's 16 bits, as the extended numbering allows.
	parts := []part{{".modinfo", 1, []byte("name=big\x00")}}
	for range 1000 {
		parts = append(parts, part{".text.x", 1, nil})
	}
	b := makeELF(binary.LittleEndian, true, parts...)
	shoff := binary.LittleEndian.Uint64(b[40:])
	binary.LittleEndian.PutUint64(b[shoff+32:], uint64(len(parts)+2))
	binary.LittleEndian.PutUint32(b[shoff+40:], uint32(len(parts)+1))
	binary.LittleEndian.PutUint16(b[60:], 0)
	binary.LittleEndian.PutUint16(b[62:], 0xffff)
	if got, err := ParseELF(bytes.NewReader(b), int64(len(b))); err != nil || got.Name != "big" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestClasses(t *testing.T) {
	info := part{".modinfo", 1, []byte("junk\x00\x00name=m\x00name=second\x00version=a=b\x00srcversion=X")}
	for _, wide := range []bool{false, true} {
		little := makeELF(binary.LittleEndian, wide, info, part{".note.gnu.build-id", shtNote, note(binary.LittleEndian, []byte{1, 2, 3, 4, 5})})
		big := makeELF(binary.BigEndian, wide, info, part{".note.gnu.build-id", shtNote, note(binary.BigEndian, []byte{1, 2, 3, 4, 5})})
		want := Info{Name: "m", Version: "a=b", Srcversion: "X", BuildID: "0102030405"}
		for _, b := range [][]byte{little, big} {
			if got, err := ParseELF(bytes.NewReader(b), int64(len(b))); err != nil || got != want {
				t.Errorf("64 bit %v: %+v, %v", wide, got, err)
			}
		}
	}
}

func TestHostileELF(t *testing.T) {
	order := binary.LittleEndian
	good := func(parts ...part) []byte {
		return makeELF(order, true, append(parts, part{".modinfo", 1, []byte("name=m\x00")})...)
	}
	at := func(offset int, with ...byte) []byte {
		b := good()
		copy(b[offset:], with)
		return b
	}
	table := int(order.Uint64(good()[40:]))
	build := func(b []byte) part { return part{".note.gnu.build-id", shtNote, b} }
	huge := note(order, []byte{1})
	order.PutUint32(huge[4:], 0xffffffff)
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":              {nil, "not an ELF file"},
		"text":               {[]byte(strings.Repeat("#!/bin/sh\n", 20)), "not an ELF file"},
		"program":            {at(16, 2), "ELF type 2"},
		"class":              {at(4, 3), "ELF class 3"},
		"byte order":         {at(5, 9), "byte order 9"},
		"table outside":      {at(40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), "the file ends before"},
		"header size":        {at(58, 1, 1), "section headers of 257 bytes"},
		"count outside":      {at(60, 0xff, 0xff), "the file ends before"},
		"extended count":     {func() []byte { b := at(60, 0, 0); order.PutUint64(b[table+32:], 1<<40); return b }(), "1099511627776 sections"},
		"names outside":      {at(62, 77), "names in section 77 of 3"},
		"content outside":    {at(table+64+24, 0xff, 0xff, 0xff, 0xff), "the file ends before"},
		"content too large":  {at(table+64+32, 0, 0, 0, 0, 1), "section of 4294967296 bytes"},
		"name outside":       {at(table+64, 0xff, 0xff), "name of section 1"},
		"compressed section": {at(table+64+9, 8), "without plain content"},
		"no modinfo":         {makeELF(order, true), "no module"},
		"long value":         {makeELF(order, true, part{".modinfo", 1, []byte("version=" + strings.Repeat("1", 600))}), "version of 600 bytes"},
		"lying note":         {good(build(huge)), "note of 4+4294967295 bytes"},
		"long build ID":      {good(build(note(order, make([]byte, 65)))), "build ID of 65 bytes"},
		"empty build ID":     {good(build(note(order, nil))), "build ID of 0 bytes"},
		"later name outside": {nameless(good()), "name of section 2"},
		"note by name only":  {good(part{".note.gnu.build-id", 1, huge}), "is no note"},
	} {
		info, err := ParseELF(bytes.NewReader(c.b), int64(len(c.b)))
		var d *Error
		if !errors.As(err, &d) || !strings.Contains(err.Error(), c.want) || info != (Info{}) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func TestReadFileErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "bomb.ko.gz", pack(t, nil, "sh", "-c", "head -c 80M /dev/zero | gzip -1"))
	write(t, dir, "bomb.ko.zst", pack(t, nil, "sh", "-c", "head -c 80M /dev/zero | zstd -q"))
	write(t, dir, "cut.ko.xz", pack(t, make([]byte, 1000), "xz")[:40])
	write(t, dir, "empty.ko", nil)
	write(t, dir, "dir.ko/x", nil)
	root := openRoot(t, dir)
	for name, want := range map[string]error{
		"bomb.ko.gz": file.ErrTooLarge, "bomb.ko.zst": file.ErrTooLarge,
		"dir.ko": file.ErrNotRegular, "missing.ko": fs.ErrNotExist, "cut.ko.xz": nil, "empty.ko": nil,
	} {
		_, err := new(Cache).ReadFile(root, name)
		var d *Error
		if !errors.As(err, &d) || d.File != name || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error names the outside: %v", name, err)
		}
	}
}

// TestCache: a file is read once, and again when it changed.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.ko", simple("a", "A", nil))
	root := openRoot(t, dir)
	var c Cache
	for _, want := range []string{"A", "A", "BB"} {
		if want == "BB" {
			write(t, dir, "a.ko", simple("a", want, nil))
		}
		if got, err := c.ReadFile(root, "a.ko"); err != nil || got.Srcversion != want {
			t.Errorf("%+v, %v; want %s", got, err, want)
		}
	}
	if len(c.known) != 2 {
		t.Errorf("%d files known", len(c.known))
	}
	for i := range maxCached + 10 {
		c.put(cached{size: int64(i)}, Info{})
	}
	if len(c.known) > maxCached {
		t.Errorf("%d files known", len(c.known))
	}
}
