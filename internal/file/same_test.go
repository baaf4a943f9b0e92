package file

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"testing"
)

func TestSameContent(t *testing.T) {
	withID := func(id byte, trailer string) []byte {
		m := elfMaker{bits: 64, order: binary.LittleEndian}
		m.noteSegments = []noteSegment{{4, m.note(4, "GNU\x00", 3, []byte{id})}}
		return append(m.bytes(), trailer...)
	}
	goProgram := func(trailer string) []byte {
		m := elfMaker{bits: 64, order: binary.LittleEndian}
		m.noteSegments = []noteSegment{{4, m.note(4, "Go\x00\x00", 4, []byte("a/b"))}}
		return append(m.bytes(), trailer...)
	}
	malformed := withID(1, "")
	binary.LittleEndian.PutUint64(malformed[64+56+32:], 1<<40) // size of the second segment
	tests := map[string]struct {
		a, b   []byte
		same   bool
		how    string
		hashed int64
	}{
		"same build ID":                 {withID(1, ""), withID(1, ""), true, ByBuildID, 0},
		"same build ID, one stripped":   {withID(1, "symbols"), withID(1, ""), true, ByBuildID, 0},
		"same build ID, one malformed":  {malformed, withID(1, ""), true, ByBuildID, 0},
		"other build ID":                {withID(1, ""), withID(2, ""), false, ByBuildID, 0},
		"build ID against script":       {withID(1, ""), []byte("#!"), false, BySize, 0},
		"build ID against same size":    {withID(1, ""), make([]byte, len(withID(1, ""))), false, BySHA256, 2},
		"same bytes":                    {[]byte("one"), []byte("one"), true, BySHA256, 2},
		"other bytes":                   {[]byte("one"), []byte("two"), false, BySHA256, 2},
		"other size":                    {[]byte("one"), []byte("three"), false, BySize, 0},
		"same Go build ID, other bytes": {goProgram("x"), goProgram("y"), false, BySHA256, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, a, b := NewCache(0), write(t, test.a), write(t, test.b)
			for range 2 {
				same, how, err := SameContent(t.Context(), c, a.Ref, b.Ref)
				if err != nil || same != test.same || how != test.how {
					t.Errorf("%v, %q, %v", same, how, err)
				}
			}
			if files, _ := c.Stats(); files != test.hashed {
				t.Errorf("%d files hashed", files)
			}
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		a, b := write(t, []byte("one")), write(t, []byte("one"))
		b.Open = func() (*os.File, error) { return nil, fs.ErrPermission }
		for _, pair := range [][2]Ref{{a.Ref, b.Ref}, {b.Ref, a.Ref}} {
			if same, how, err := SameContent(t.Context(), NewCache(0), pair[0], pair[1]); same || how != "" || !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%v, %q, %v", same, how, err)
			}
		}
	})
}
