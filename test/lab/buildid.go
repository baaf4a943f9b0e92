package lab

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io"
	"testing"
)

// BuildID is the GNU build ID of an ELF file in lower-case hex (elf(5),
// NT_GNU_BUILD_ID), or empty where its PT_NOTE segments hold none: Go's linker
// leaves its GNU note outside of them. It is read by the standard library and
// so without the sensor's own parser.
func BuildID(t testing.TB, name string) string {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(segment.Open())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id := gnuBuildID(notes, f.ByteOrder); id != nil {
			return hex.EncodeToString(id)
		}
	}
	return ""
}

// gnuBuildID finds the build ID in a segment of notes: each has three words,
// the sizes of name and content and the type, then both, padded to words.
func gnuBuildID(notes []byte, order binary.ByteOrder) []byte {
	const header, ntGNUBuildID = 12, 3
	pad := func(n uint32) int { return (int(n) + 3) &^ 3 }
	for len(notes) >= header {
		nameSize, size, kind := order.Uint32(notes), order.Uint32(notes[4:]), order.Uint32(notes[8:])
		content := header + pad(nameSize)
		end := content + pad(size)
		if end > len(notes) {
			return nil
		}
		if kind == ntGNUBuildID && string(notes[header:header+nameSize]) == "GNU\x00" {
			return notes[content : content+int(size)]
		}
		notes = notes[end:]
	}
	return nil
}
