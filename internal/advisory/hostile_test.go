package advisory

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// peak returns by how much the heap grew at most while f ran, as seen every
// millisecond.
func peak(f func()) uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	var most atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-stopped
	if most.Load() < before {
		return 0
	}
	return most.Load() - before
}

// endless repeats a piece up to n bytes, between a head and a tail.
type endless struct {
	head, piece, tail string
	n, done           int64
	rest              io.Reader
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == nil {
		e.rest = strings.NewReader(e.head)
	}
	n, err := e.rest.Read(p)
	e.done += int64(n)
	if err == io.EOF && e.tail != "" {
		if e.done < e.n {
			e.rest = strings.NewReader(strings.Repeat(e.piece, 1+32<<10/len(e.piece)))
		} else {
			e.rest, e.tail = strings.NewReader(e.tail), ""
		}
		return n, nil
	}
	return n, err
}

// TestHuge: what is larger than anything real is refused, whatever it is, in little
// memory.
func TestHuge(t *testing.T) {
	const size = 1 << 30
	start := `{"id":"CVE-2024-0001","modified":"2024-01-01T00:00:00Z",`
	for name, e := range map[string]*endless{
		"string":               {head: start + `"details":"`, piece: "x", tail: `"}`},
		"array":                {head: start + `"aliases":[""`, piece: `,""`, tail: `]}`},
		"objects":              {head: start + `"affected":[{}`, piece: `,{}`, tail: `]}`},
		"nesting":              {head: start + `"affected":`, piece: `[`, tail: `]}`},
		"object nesting":       {head: start + `"affected":`, piece: `{"package":`, tail: `}`},
		"number":               {head: start + `"x":`, piece: `1`, tail: `}`},
		"blanks":               {head: start, piece: ` `, tail: `}`},
		"tracker's string":     {head: `{"a":{"CVE-2024-0001":{"description":"`, piece: "x", tail: `"}}}`},
		"tracker's key":        {head: `{"a":{"CVE-2024-0001":{}},"`, piece: "x", tail: `":{}}`},
		"tracker's releases":   {head: `{"a":{"CVE-2024-0001":{"releases":{"":{}`, piece: `,"x":{}`, tail: `}}}}`},
		"tracker's nesting":    {head: `{"a":{"CVE-2024-0001":{}},"b":`, piece: "[", tail: `]}`},
		"catalogue's string":   {head: `{"vulnerabilities":[],"title":"`, piece: "x", tail: `"}`},
		"catalogue's entry":    {head: `{"vulnerabilities":[{"cveID":"`, piece: "x", tail: `"}]}`},
		"catalogue's blanks":   {head: `{"vulnerabilities":[`, piece: " ", tail: `]}`},
		"objects in a version": {head: start + `"affected":[{"versions":["1"`, piece: `,"1"`, tail: `]}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			e.n = size
			var err error
			problems := 0
			grown := peak(func() {
				err = readText(t.Context(), e, sinks{
					record:    func(*record) error { return nil },
					exploited: func(string) error { return nil },
					problem:   func(string, int64, error) { problems++ },
				}, &reading{})
			})
			if err == nil && problems == 0 {
				t.Error("no problem")
			}
			if e.done > 200<<20 {
				t.Errorf("read %d MB, %v", e.done>>20, err)
			}
			if grown > 100<<20 {
				t.Errorf("the heap grew by %d MB, %v", grown>>20, err)
			}
		})
	}
}

// TestUnfolding: a record just below the bound in bytes does not unfold to much
// more.
func TestUnfolding(t *testing.T) {
	for _, piece := range []string{`{}`, `{"ranges":[{"events":[{},{},{}]}]}`, `{"versions":["","","","","","",""]}`} {
		n := (maxRecord - 100) / (len(piece) + 1)
		text := `{"id":"CVE-2024-0001","modified":"2024-01-01T00:00:00Z","affected":[` + strings.Repeat(piece+",", n) + `{}]}`
		var err error
		if grown := peak(func() { _, err = parseOSV([]byte(text)) }); grown > 80<<20 || err == nil {
			t.Errorf("%s: %d MB, %v", piece, grown>>20, err)
		}
	}
}

func TestDuplicateKeys(t *testing.T) {
	x, stats := imported(t, files(t, map[string]string{
		"a.json": `{"id":"CVE-2024-0001","id":"CVE-2024-0002","modified":"2024-01-01T00:00:00Z",
			"affected":[{"package":{"ecosystem":"Debian:12","name":"b"},"versions":["1"],"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"9"}]}]}],
			"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}`,
		"b.json": `{"c":{"CVE-2024-0003":{"releases":{"bookworm":{"status":"open"}}},"CVE-2024-0003":{"releases":{"bookworm":{"status":"resolved","fixed_version":"0"}}}},
			"d":{"CVE-2024-0004":{"releases":{"bookworm":{"status":"open"}}}},"d":{"CVE-2024-0005":{"releases":{"bookworm":{"status":"open"}}}}}`,
	}))
	for name, want := range map[string]string{"a": "CVE-2024-0002", "b": "", "c": "", "d": "CVE-2024-0004 CVE-2024-0005"} {
		list, err := x.Affecting(t.Context(), "Debian:12", name, "1")
		if got := strings.Join(ids(list), " "); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if stats.Malformed != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestZipBombs: entries that overlap, that lie about their size, or unfold without
// end.
func TestZipBombs(t *testing.T) {
	sound := zipOf(t, "a", simple(1), "b", simple(2))
	at := func(text string, offset int, bytes ...byte) string {
		return text[:offset] + string(bytes) + text[offset+len(bytes):]
	}
	central := strings.Index(sound, "PK\x01\x02")
	second := central + strings.Index(sound[central+4:], "PK\x01\x02") + 4
	end := strings.Index(sound, "PK\x05\x06")
	deflated := len(sound) // more than any entry has
	for name, text := range map[string]string{
		"overlap":              at(sound, second+20, byte(deflated), byte(deflated>>8), 0, 0),
		"negative":             at(sound, second+20, 0xff, 0xff, 0xff, 0xff),
		"beyond":               at(sound, second+42, 0xff, 0xff, 0xff, 0x7f),
		"no header":            at(sound, second+42, 1, 0, 0, 0),
		"longer than it says":  at(sound, central+24, 1, 0, 0, 0),
		"shorter than it says": at(sound, central+24, 0xff, 0xff, 0, 0),
		"encrypted":            at(sound, central+8, 1),
		"method":               at(sound, central+10, 99),
		"checksum":             at(sound, central+16, 1, 2, 3, 4),
		"directory":            at(sound, end+16, 0xff, 0xff, 0xff, 0x7f),
		"directory's length":   at(sound, end+12, 0, 1, 0, 0),
		"many times the same":  strings.Repeat(sound[:end], 1) + strings.Repeat(sound[central:end], 50) + at(sound[end:], 12, binary.LittleEndian.AppendUint32(nil, uint32(51*(end-central)))...),
	} {
		_, stats, err := tryImport(t, files(t, map[string]string{"a.zip": text, "good.json": simple(9)}))
		if err != nil || stats.Malformed == 0 || stats.Entries == 0 {
			t.Errorf("%s: %+v, %v", name, stats, err)
		}
	}
	// An entry of 64 MB in 64 KB.
	_, stats, err := tryImport(t, files(t, map[string]string{"good.json": simple(9),
		"a.zip": zipOf(t, "a", `{"id":"CVE-2024-0001","details":"`+strings.Repeat("x", 64<<20)+`"}`, "b", simple(2))}))
	if err != nil || stats.Malformed != 1 || stats.Entries != 2 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func tryImport(t *testing.T, dir string) (string, Stats, error) {
	t.Helper()
	db := filepath.Join(t.TempDir(), "advisories.db")
	stats, err := Import(t.Context(), []string{dir}, db)
	return db, stats, err
}

// TestForeignIndex: what is not, or no longer, an index is said to be so.
func TestForeignIndex(t *testing.T) {
	dir := t.TempDir()
	var many strings.Builder
	for i := range 2000 {
		many.WriteString(osv(fmt.Sprintf("CVE-2024-%04d", i), "Debian:12", fmt.Sprintf("p%d", i), `{"introduced":"0"}`, ""))
	}
	sound := filepath.Join(dir, "sound.db")
	if _, err := Import(t.Context(), []string{files(t, map[string]string{"a.json": many.String()})}, sound); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"empty":         {nil, ErrCorrupt},
		"text":          {[]byte(strings.Repeat("no database ", 100)), ErrCorrupt},
		"cut off":       {content[:len(content)-4096], ErrCorrupt},
		"longer":        {append(bytes.Clone(content), 0), ErrCorrupt},
		"other program": {patched(content, 68, 1, 2, 3, 4), ErrCorrupt},
		"other schema":  {patched(content, 60, 0, 0, 0, 99), ErrSchema},
		"first page":    {patched(content, 100, bytes.Repeat([]byte{0xff}, 900)...), ErrCorrupt},
		"sound":         {content, nil},
	} {
		path := filepath.Join(dir, "x.db")
		if err := os.WriteFile(path, c.content, 0o644); err != nil {
			t.Fatal(err)
		}
		x, err := Open(path)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil {
			x.Close()
		}
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory is no index")
	}
	// Damage that opening does not see gives an error or the right answer.
	bad := 0
	for page := 1; page < len(content)/4096; page++ {
		path := filepath.Join(dir, "y.db")
		if err := os.WriteFile(path, patched(content, page*4096, bytes.Repeat([]byte{0xa5}, 64)...), 0o644); err != nil {
			t.Fatal(err)
		}
		x, err := Open(path)
		if err == nil {
			_, err = x.Affecting(context.Background(), "Debian:12", "p1000", "1")
			x.Close()
		}
		if err != nil {
			if bad++; !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotCovered) {
				t.Errorf("page %d: %v", page, err)
			}
		}
	}
	if bad == 0 {
		t.Error("no damage was seen")
	}
}

func patched(content []byte, offset int, with ...byte) []byte {
	c := bytes.Clone(content)
	copy(c[offset:], with)
	return c
}

// TestReadOnly: an index is read from a directory in which nothing can be made.
func TestReadOnly(t *testing.T) {
	_, err := os.Stat("testdata")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "advisories.db")
	if _, err := Import(t.Context(), []string{"testdata"}, path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if list, err := x.Affecting(t.Context(), "Wolfi", "openssl", "3.3.1-r0"); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	// Root may write there all the same, so look whether anything was made.
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	var db *sql.DB = x.db
	if _, err := db.Exec(`DELETE FROM affected`); err == nil {
		t.Error("it can be written to")
	}
}
