package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Offsets in the little-endian 64-bit files that the tests below make.
const (
	atPhoff     = 32
	atPhentsize = 54
	atPhnum     = 56
	atPhdrs     = 64
)

// set overwrites the 64 bits at offset.
func set(data []byte, offset int, v uint64) []byte {
	binary.LittleEndian.PutUint64(data[offset:], v)
	return data
}

// Every lie is named with its place, and the facts beside it are read.
func TestReadELFLies(t *testing.T) {
	little := elfMaker{bits: 64, order: binary.LittleEndian, typ: 3}
	id := little.note(4, "GNU\x00", 3, []byte{0xaa})
	with := func(change func(*elfMaker)) []byte {
		m := little
		m.noteSegments = []noteSegment{{4, id}}
		m.interp = "/lib/ld.so"
		m.strtab = "\x00libone.so\x00"
		m.dynamic = []dynEntry{{dtNeeded, 1}}
		if change != nil {
			change(&m)
		}
		return m.bytes()
	}
	notes := func(data []byte) []byte {
		return with(func(m *elfMaker) { m.noteSegments = []noteSegment{{4, data}, {4, id}} })
	}
	// The parts follow the program headers: two of notes and interpreter by
	// default, then dynamic, relro and load.
	const phdr = 56
	firstNote := (atPhdrs + 5*phdr + 15) &^ 15
	secondLayout := (atPhdrs + 6*phdr + 15) &^ 15
	all := ELF{BuildID: "aa", Interp: "/lib/ld.so", Needed: []string{"libone.so"}, Class: 64, Type: 3, Machine: 8}
	but := func(change func(*ELF)) ELF {
		e := all
		change(&e)
		return e
	}
	header := ELF{Class: 64, Type: 3, Machine: 8}
	huge := strings.Repeat("x", maxString+1)

	tests := map[string]struct {
		data   []byte
		offset int // -1 for the size of the file
		says   string
		want   ELF
	}{
		"magic only":             {[]byte(elfMagic), -1, "ends before 16 bytes", ELF{}},
		"no data encoding":       {append([]byte(elfMagic), make([]byte, 60)...), 5, "encoding 0", ELF{}},
		"no class":               {append([]byte(elfMagic+"\x00\x01"), make([]byte, 60)...), 4, "class 0", ELF{}},
		"half a header":          {with(nil)[:40], -1, "ends before 64 bytes", ELF{Class: 64}},
		"odd phentsize":          {set(with(nil), atPhentsize, 32|5<<16), atPhentsize, "32 bytes instead of 56", header},
		"too many phdrs":         {set(with(nil), atPhentsize, 56|0xffff<<16), atPhnum, "65535 program headers", header},
		"phdrs beyond the end":   {set(with(nil), atPhoff, 1<<62), -1, "the file ends before", header},
		"phdrs wrap around":      {set(with(nil), atPhoff, 1<<64-8), -1, "the file ends before", header},
		"notes beyond the end":   {set(with(nil), atPhdrs+32, 1<<40), atPhdrs, "beyond the end", but(func(e *ELF) { e.BuildID = "" })},
		"notes wrap around":      {set(with(nil), atPhdrs+8, 1<<64-8), atPhdrs, "beyond the end", but(func(e *ELF) { e.BuildID = "" })},
		"interp beyond the end":  {set(with(nil), atPhdrs+phdr+32, 1<<40), atPhdrs + phdr, "beyond the end", but(func(e *ELF) { e.Interp = "" })},
		"dynamic beyond the end": {set(with(nil), atPhdrs+2*phdr+32, 1<<40), atPhdrs + 2*phdr, "beyond the end", but(func(e *ELF) { e.Needed = nil })},

		"giant note": {notes(set(bytes.Clone(id), 0, 4|0xffffffff<<32)), secondLayout, "note of 4+4294967295 bytes where 8", all},
		"giant name": {notes(set(bytes.Clone(id), 0, 0xffffffff)), secondLayout, "note of 4294967295+0 bytes where 8", all},
		"giant build ID": {
			notes(little.note(4, "GNU\x00", 3, make([]byte, 65))), secondLayout + 16, "build ID of 65 bytes", all,
		},
		"giant Go build ID": {
			notes(little.note(4, "Go\x00\x00", 4, make([]byte, 257))), secondLayout + 16, "Go build ID of 257 bytes", all,
		},
		"giant package note": {
			notes(little.note(4, "FDO\x00", notePackage, bytes.Repeat([]byte(" "), maxPackageNote+1))),
			secondLayout + 16, "package note of 65537 bytes", all,
		},
		"many notes":        {notes(make([]byte, 12*(maxNotes+1))), secondLayout + 12*maxNotes, "more than 1024 notes", but(func(e *ELF) { e.BuildID = "" })},
		"malformed JSON":    {notes(little.note(4, "FDO\x00", notePackage, []byte("{\"name\": x}"))), secondLayout + 16 + 10, "package note: invalid character 'x'", all},
		"truncated JSON":    {notes(little.note(4, "FDO\x00", notePackage, []byte("{\"name\":\x00 1}"))), secondLayout + 16 + 8, "unexpected end of JSON", all},
		"JSON of no text":   {notes(little.note(4, "FDO\x00", notePackage, []byte("{\"name\":1}"))), secondLayout + 16, "cannot unmarshal number", all},
		"JSON of long text": {notes(little.note(4, "FDO\x00", notePackage, []byte("{\"name\":\""+huge+"\"}"))), secondLayout + 16, "value of 4097 bytes", all},

		"long interpreter": {
			with(func(m *elfMaker) { m.interp = huge }), firstNote + 32, "string without end in 4096 bytes",
			but(func(e *ELF) { e.Interp = "" }),
		},
		"no string table": {
			with(func(m *elfMaker) { m.dynamic = []dynEntry{{dtNeeded, 1}, {dtNull, 0}} }),
			atPhdrs + 2*phdr, "no string table", but(func(e *ELF) { e.Needed = nil }),
		},
		"string table nowhere": {
			with(func(m *elfMaker) { m.dynamic = []dynEntry{{dtNeeded, 1}, {dtStrtab, 8}, {dtNull, 0}} }),
			firstNote + 64 + 16, "string table at address 0x8", but(func(e *ELF) { e.Needed = nil }),
		},
		"load beyond the end": {
			set(with(nil), atPhdrs+4*phdr+32, 1<<40), firstNote + 64 + 16,
			"which is not in the file", but(func(e *ELF) { e.Needed = nil }),
		},
		"string table too long": {
			with(func(m *elfMaker) {
				m.dynamic = []dynEntry{{dtNeeded, 1}, {dtStrtab, loadAddr + uint64(firstNote) + 48}, {dtStrsz, 1 << 50}, {dtNull, 0}}
			}),
			firstNote + 64 + 32, "string table of 1125899906842624 bytes", all,
		},
		"string outside the table": {
			with(func(m *elfMaker) { m.dynamic = []dynEntry{{dtNeeded, 1 << 63}, {dtNeeded, 1}, {dtSoname, 99}} }),
			firstNote + 64 + 16*2, "string 99 of a table of 11", all,
		},
		"string without end": {
			with(func(m *elfMaker) { m.strtab, m.dynamic = m.strtab+"end", []dynEntry{{dtNeeded, 11}, {dtNeeded, 1}} }),
			firstNote + 48 + 11, "string without end in 3 bytes", all,
		},
		"many dynamic entries": {
			with(func(m *elfMaker) { m.dynamic = repeat(dynEntry{99, 1}, maxDynamic+1) }),
			firstNote + 64 + 16*maxDynamic, "more than 4096 dynamic entries", but(func(e *ELF) { e.Needed = nil }),
		},
		"many needed": {
			with(func(m *elfMaker) { m.dynamic = repeat(dynEntry{dtNeeded, 1}, maxNeeded+9) }),
			firstNote + 64 + 16*maxNeeded, "more than 256 needed",
			but(func(e *ELF) { e.Needed = repeat("libone.so", maxNeeded) }),
		},
		"long needed": {
			with(func(m *elfMaker) { m.strtab, m.dynamic = huge[:4000]+"\x00", repeat(dynEntry{dtNeeded, 0}, 9) }),
			firstNote + 48 + 4016 + 4*16, "more than 16384 bytes",
			but(func(e *ELF) { e.Needed = repeat(huge[:4000], 4) }),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ReadELF(bytes.NewReader(test.data), int64(len(test.data)))
			fe, ok := errors.AsType[*FormatError](err)
			if !ok || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got error %v, want one that says %q", err, test.says)
			}
			if want := test.offset; want >= 0 && fe.Offset != int64(want) || want < 0 && fe.Offset != int64(len(test.data)) {
				t.Errorf("got %v, want it at offset %d of %d", err, want, len(test.data))
			}
			got.Layout = Layout{} // see TestLayout
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func repeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// A thousand segments that all name one long table of notes are not read a
// thousand times over.
func TestReadELFBudget(t *testing.T) {
	m := elfMaker{bits: 64, order: binary.LittleEndian, typ: 3}
	far := m.note(4, "GNU\x00", 1, make([]byte, 2*elfWindow))
	m.noteSegments = repeat(noteSegment{4, append(bytes.Clone(far), far...)}, 1000)
	data := m.bytes()
	_, err := ReadELF(bytes.NewReader(data), int64(len(data)))
	if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), "lead to more than 1048576 bytes") {
		t.Error(err)
	}
}

// FuzzReadELF holds that whatever a file says, the reading stays within the
// file and within its limits, gives the same facts twice, and names a place in
// the file when it complains.
func FuzzReadELF(f *testing.F) {
	for name, m := range makers() {
		m.noteSegments = []noteSegment{
			{8, m.note(8, "GNU\x00", 5, []byte(name))},
			{4, append(m.note(4, "GNU\x00", 3, []byte{1}), m.note(4, "FDO\x00", notePackage, []byte("{\"name\":\"n\"}\x00"))...)},
		}
		m.interp, m.strtab = "/lib/ld.so", "\x00libone.so\x00"
		m.dynamic = []dynEntry{{dtNeeded, 1}, {dtSoname, 2}}
		f.Add(m.bytes())
	}
	fixtures, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range fixtures {
		if fi, err := os.Stat(name); err != nil || fi.IsDir() {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		size, total := int64(len(data)), 0
		r := readerFunc(func(b []byte, off int64) (int, error) {
			if off < 0 || off+int64(len(b)) > size {
				t.Fatalf("read of %d bytes at %d of %d", len(b), off, size)
			}
			total += len(b)
			return copy(b, data[off:]), nil
		})
		got, err := ReadELF(r, size)
		if total > elfBudget {
			t.Errorf("%d bytes were read", total)
		}
		fe, ok := errors.AsType[*FormatError](err)
		switch {
		case err == nil:
		case errors.Is(err, ErrNotELF):
			if bytes.HasPrefix(data, []byte(elfMagic)) {
				t.Error("ELF magic not recognised")
			}
		case !ok:
			t.Errorf("error of another kind: %v", err)
		case fe.Offset < 0 || fe.Offset > size:
			t.Errorf("%v in a file of %d bytes", err, size)
		}
		held := len(got.BuildID) + len(got.GoBuildID) + len(got.Interp) + len(got.Soname)
		if got.PackageNote != nil {
			held += len(got.PackageNote.Name) + len(got.PackageNote.Version)
		}
		for _, s := range got.Needed {
			held += len(s)
			if s == "" || strings.Contains(s, "\x00") || !bytes.Contains(data, []byte(s)) {
				t.Errorf("needs %q, which the file does not say", s)
			}
		}
		if limit := 2*maxBuildID + maxGoBuildID + 2*maxString + 2*maxPackageWord + maxNeededBytes; held > limit || len(got.Needed) > maxNeeded {
			t.Errorf("%d bytes are held, %d names", held, len(got.Needed))
		}
		again, err2 := ReadELF(bytes.NewReader(data), size)
		if !reflect.DeepEqual(got, again) || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Errorf("%+v, %v and then %+v, %v", got, err, again, err2)
		}
	})
}
