package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// filled makes a database of some hundred pages with the log merged in, and
// returns its bytes.
func filled(t testing.TB, path string) []byte {
	t.Helper()
	s := open(t, path, Options{})
	b := sample()
	for i := range 800 {
		b.Events = append(b.Events, Event{At: at(i), Type: "t", Body: bytes.Repeat([]byte{byte(i)}, 400)})
		b.Learned = append(b.Learned, Knowledge{File: FileKey{Ino: uint64(i)}, BuildID: fmt.Sprintf("%x", i*7919), SeenAt: at(i)})
	}
	write(t, s, b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// usable opens the store, with or without recovery, and fails unless it then keeps
// what it is given, is sound, and opens again without recovery.
func usable(t testing.TB, path string) *Recovery {
	t.Helper()
	ctx := context.Background()
	s, recovery, err := Open(ctx, path, Options{})
	if err != nil {
		t.Fatalf("not usable: %v", err)
	}
	b := sample()
	b.Learned[0].File.Size = 12345
	b.Learned[0].SeenAt = at(1 << 30)
	for range 2 {
		if err := s.Write(ctx, b); err != nil {
			t.Fatalf("not usable: %v", err)
		}
	}
	if _, err := s.Patches(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exposures(ctx, time.Time{}, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(ctx, at(0)); err != nil {
		t.Fatal(err)
	}
	known, err := s.Known(ctx, []FileKey{b.Learned[0].File})
	if err != nil || known[b.Learned[0].File].Version != "3.0.11-1" {
		t.Fatalf("written and not known: %v, %v", known, err)
	}
	if err := sound(ctx, s.db); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, again, err := Open(ctx, path, Options{})
	if err != nil || again != nil {
		t.Fatalf("after it worked: %v, %v", again, err)
	}
	events, _, err := s.Events(ctx, b.Events[0].Seq-1, 0)
	if err != nil || len(events) != 1 || !bytes.Equal(events[0].Body, b.Events[0].Body) {
		t.Fatalf("written and gone: %v, %v", events, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if recovery != nil {
		if _, err := os.Stat(recovery.MovedTo); err != nil || recovery.Cause == nil {
			t.Errorf("%+v: %v", recovery, err)
		}
	}
	return recovery
}

// TestCorrupt: damage is either found, and the file moved aside byte by byte, or
// does no harm.
func TestCorrupt(t *testing.T) {
	good := filled(t, newPath(t))
	page := func(n int) int { return (n - 1) * 4096 }
	pages := len(good) / 4096
	if pages < 100 {
		t.Fatalf("only %d pages", pages)
	}
	random := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 50_000)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	edit := func(offset int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[offset:], with)
		return b
	}
	zero := make([]byte, 4096)
	for name, c := range map[string]struct {
		content []byte
		moved   bool
		cause   error
	}{
		"as it is":          {good, false, nil},
		"empty":             {nil, false, nil},
		"one byte":          {[]byte("S"), true, ErrCorrupt},
		"text":              {[]byte(strings.Repeat("not a database\n", 1000)), true, ErrCorrupt},
		"garbage":           {garbage, true, ErrCorrupt},
		"zeros":             {make([]byte, 100_000), true, ErrCorrupt},
		"magic only":        {good[:16], true, ErrCorrupt},
		"header only":       {good[:100], true, ErrCorrupt},
		"one page":          {good[:4096], true, ErrCorrupt},
		"half":              {good[:page(pages/2)], true, ErrCorrupt},
		"last page cut":     {good[:len(good)-4000], true, ErrCorrupt},
		"more at the end":   {append(bytes.Clone(good), zero...), false, nil},
		"magic":             {edit(3, 'X'), true, ErrCorrupt},
		"page size":         {edit(16, 0x20, 0), true, ErrCorrupt},
		"read-only format":  {edit(18, 9), true, nil},
		"unreadable format": {edit(18, 9, 9), true, ErrCorrupt},
		"reserved bytes":    {edit(20, 200), true, nil},
		"schema format":     {edit(44, 0, 0, 0, 9), true, nil},
		"no auto-vacuum":    {edit(52, 0, 0, 0, 0), true, ErrCorrupt},
		"encoding":          {edit(56, 0, 0, 0, 2), true, nil},
		"version 0":         {edit(60, 0, 0, 0, 0), true, ErrCorrupt},
		"version negative":  {edit(60, 0xff, 0xff, 0xff, 0xff), true, ErrCorrupt},
		"version newer":     {edit(60, 0, 0, 0, byte(len(migrations())+1)), true, ErrNewer},
		"other program":     {edit(68, 1, 2, 3, 4), true, ErrCorrupt},
		"schema page":       {edit(100, zero[:1000]...), true, ErrCorrupt},
		"first data page":   {edit(page(3), zero...), true, ErrCorrupt},
		"middle page":       {edit(page(pages/2), garbage[:4096]...), true, ErrCorrupt},
		"last page":         {edit(page(pages), garbage[:4096]...), true, ErrCorrupt},
		"two pages swapped": {edit(page(pages/2), append(bytes.Clone(good[page(pages/2+1):page(pages/2+2)]), good[page(pages/2):page(pages/2+1)]...)...), true, ErrCorrupt},
		"table renamed":     {bytes.Replace(good, []byte("TABLE events"), []byte("TABLE eventz"), 1), true, ErrCorrupt},
		"column renamed":    {bytes.ReplaceAll(good, []byte("why TEXT"), []byte("whi TEXT")), true, nil},
		"constraint gone":   {bytes.Replace(good, []byte("AUTOINCREMENT"), []byte("             "), 1), false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			recovery := usable(t, path)
			if (recovery != nil) != c.moved {
				t.Fatalf("moved aside: %v, want %v", recovery, c.moved)
			}
			if recovery == nil {
				return
			}
			t.Log(recovery.Cause)
			if c.cause != nil && !errors.Is(recovery.Cause, c.cause) {
				t.Errorf("cause %v, want %v", recovery.Cause, c.cause)
			}
			if !strings.HasPrefix(recovery.MovedTo, path+".corrupt-2") {
				t.Errorf("moved to %s", recovery.MovedTo)
			}
			if got, err := os.ReadFile(recovery.MovedTo); err != nil || !bytes.Equal(got, c.content) {
				t.Errorf("what was moved is not what was there: %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestFlips: a byte anywhere. Most hit the content of rows, which SQLite cannot
// know; none may make the store unusable.
func TestFlips(t *testing.T) {
	good := filled(t, newPath(t))
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	path := newPath(t)
	moved := 0
	for i := range 60 {
		b := bytes.Clone(good)
		offset := random.IntN(len(b))
		if i%2 == 0 {
			offset = random.IntN(8192) // The header and the schema.
		}
		old := b[offset]
		b[offset] ^= byte(1 + random.IntN(255))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("byte %d from %#x to %#x", offset, old, b[offset]), func(t *testing.T) {
			if usable(t, path) != nil {
				moved++
			}
		})
	}
	t.Logf("%d of 60 found", moved)
	if moved == 0 {
		t.Error("no damage was found at all")
	}
}

// TestLog: damage to the log costs at most what was in it.
func TestLog(t *testing.T) {
	ctx := context.Background()
	path := newPath(t)
	s := open(t, path, Options{})
	first, err := s.LastSeq(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		write(t, s, &Batch{Events: []Event{{At: at(i), Type: "t", Body: make([]byte, 3000)}}, Meta: map[string]string{"n": fmt.Sprint(i)}})
	}
	// As a kill would leave it: Close would merge the log.
	db, err1 := os.ReadFile(path)
	wal, err2 := os.ReadFile(path + "-wal")
	if err := errors.Join(err1, err2, s.Close()); err != nil || len(wal) < 20*4096 {
		t.Fatal(len(wal), err)
	}
	change := func(f func([]byte) []byte) []byte { return f(bytes.Clone(wal)) }
	for name, c := range map[string]struct {
		db, wal []byte
		events  int // -1: from 0 to 20, whole batches.
		moved   bool
	}{
		"as it is":       {db, wal, 20, false},
		"gone":           {db, nil, 0, false},
		"garbage":        {db, []byte(strings.Repeat("garbage", 5000)), 0, false},
		"frame damaged":  {db, change(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), -1, false},
		"header damaged": {db, change(func(b []byte) []byte { b[0] ^= 1; return b }), 0, false},
		"cut":            {db, wal[:len(wal)*2/3], -1, false},
		"cut in a frame": {db, wal[:len(wal)-100], -1, false},
		"longer":         {db, append(bytes.Clone(wal), make([]byte, 10_000)...), 20, false},
		"of an empty db": {nil, wal, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			if err := errors.Join(os.WriteFile(path, c.db, 0o600), os.WriteFile(path+"-wal", c.wal, 0o600)); err != nil {
				t.Fatal(err)
			}
			s, recovery, err := Open(ctx, path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if (recovery != nil) != c.moved {
				t.Errorf("moved aside: %v, want %v", recovery, c.moved)
			}
			list, _, err1 := s.Events(ctx, 0, 0)
			n, _, err2 := s.Meta(ctx, "n")
			last, err3 := s.LastSeq(ctx)
			if err := errors.Join(err1, err2, err3, s.Close()); err != nil {
				t.Fatal(err)
			}
			if !c.moved && last != first+uint64(len(list)) {
				t.Errorf("the last number is %d with %d events after %d: made anew, silently", last, len(list), first)
			}
			if c.events >= 0 && len(list) != c.events {
				t.Errorf("%d events, want %d", len(list), c.events)
			}
			if len(list) > 0 && n != fmt.Sprint(len(list)-1) {
				t.Errorf("%d events, and the last batch is %s", len(list), n)
			}
			t.Logf("%d events, recovery %v", len(list), recovery)
			usable(t, path)
		})
	}
}

// TestOrphanLog: a kill between the renames of moving aside leaves a log alone.
func TestOrphanLog(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path+"-wal", []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	recovery := usable(t, path)
	if recovery == nil {
		t.Fatal("the log was dropped silently")
	}
	if got, err := os.ReadFile(recovery.MovedTo); err != nil || string(got) != "left" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLaterCorruption: what Open could not see shows as ErrCorrupt, and the way
// out of it works.
func TestLaterCorruption(t *testing.T) {
	ctx, path := context.Background(), newPath(t)
	filled(t, path)
	s := open(t, path, Options{})
	for i := range 20 {
		// More than the cache holds.
		write(t, s, &Batch{Events: []Event{{At: at(i), Body: make([]byte, MaxBody)}}})
	}
	if err := s.giveBack(ctx); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Repeat([]byte{0xA5}, int(info.Size())-4096)
	if _, err := f.WriteAt(bad, 4096); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = s.KnownBuildID(ctx, "1eef")
	_, _, err2 := s.Events(ctx, 0, 0)
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err2, ErrCorrupt) {
		t.Fatalf("%v, %v: want ErrCorrupt", err, err2)
	}
	_ = s.Close() // Whatever it says.
	recovery, err := Discard(path, err2)
	if err != nil || recovery == nil || recovery.Cause != err2 {
		t.Fatal(recovery, err)
	}
	if usable(t, path) != nil {
		t.Error("moved aside twice")
	}
}

// TestDiscardNothing: nothing there is no error.
func TestDiscardNothing(t *testing.T) {
	if r, err := Discard(newPath(t), errors.New("x")); r != nil || err != nil {
		t.Error(r, err)
	}
}

// TestKeptAside: of what was moved aside only the newest stay.
func TestKeptAside(t *testing.T) {
	path := newPath(t)
	bystander := path + ".corrupt-notes"
	// The clock was ahead once: that one counts as the newest, the last stays anyway.
	future := path + ".corrupt-20990101T000000.000000000Z"
	if err := errors.Join(os.Mkdir(bystander, 0o700), os.WriteFile(future, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	var moved []string
	for i := range keptAside + 3 {
		if err := errors.Join(os.WriteFile(path, fmt.Append(nil, "bad ", i), 0o600), os.WriteFile(path+"-wal", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		r, err := Discard(path, nil)
		if err != nil || r == nil {
			t.Fatal(r, err)
		}
		moved = append(moved, r.MovedTo)
	}
	for i, name := range moved {
		_, err1 := os.Stat(name)
		_, err2 := os.Stat(name + "-wal")
		if gone := i < len(moved)-(keptAside-1); errors.Is(err1, os.ErrNotExist) != gone || errors.Is(err2, os.ErrNotExist) != gone {
			t.Errorf("%d of %d: %v, %v", i, len(moved), err1, err2)
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 2*(keptAside-1)+3 {
		t.Errorf("%v, %v", files, err)
	}
	for _, name := range []string{bystander, future} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	if usable(t, path) != nil {
		t.Error("nothing was there")
	}
}

// TestNumbers: numbers at their end are found while there is time to say so.
func TestNumbers(t *testing.T) {
	for _, statement := range []string{
		"UPDATE sqlite_sequence SET seq = 9223372036854775807", "UPDATE sqlite_sequence SET seq = -1",
		"UPDATE patches SET id = 9223372036854775807", "UPDATE marks SET value = 9223372036854775807 WHERE name = 'seq'",
		"UPDATE marks SET value = 1 WHERE name = 'seq'", "DELETE FROM marks WHERE name = 'beat'",
		"INSERT INTO marks VALUES ('more', 1)", "UPDATE marks SET value = -5 WHERE name = 'pruned'",
		"UPDATE events SET seq = -seq", "UPDATE knowledge SET id = 9223372036854775807",
		"DROP INDEX knowledge_build_id; DROP TABLE gaps", "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM events; END",
		"CREATE TRIGGER t BEFORE INSERT ON knowledge BEGIN SELECT RAISE(ABORT, 'no'); END",
	} {
		path := newPath(t)
		s := open(t, path, Options{})
		write(t, s, sample())
		s.Close()
		raw(t, path, statement)
		if r := usable(t, path); r == nil || !errors.Is(r.Cause, ErrCorrupt) && primary(r.Cause) == -1 {
			t.Errorf("%s: %v", statement, r)
		}
	}
}

// raw runs statements on a database that no Store has open.
func raw(t testing.TB, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(statements)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

// FuzzOpen: whatever the file holds, there is a usable store afterwards. The first
// bytes of the input say what is done with the rest.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "seed.db")
	s := open(f, path, Options{})
	write(f, s, sample())
	wal, err := os.ReadFile(path + "-wal")
	if err != nil {
		f.Fatal(err)
	}
	s.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	patch := func(offset uint32, b ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte{1}, offset), b...)
	}
	f.Add(append([]byte{0}, good[:4096]...))
	f.Add([]byte{0})
	f.Add([]byte("\x00SQLite format 3\x00"))
	f.Add(patch(18, 9, 9))
	f.Add(patch(52, 0, 0, 0, 0))
	f.Add(patch(100, 13))
	f.Add(patch(4096*3, 0xff))
	f.Add(append([]byte{2}, wal[:200]...))
	f.Add([]byte("\x03\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"))
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 || len(input) > 1<<20 {
			return
		}
		path := newPath(t)
		content, log, journal := input[1:], []byte(nil), []byte(nil)
		switch input[0] % 4 {
		case 1: // Write the rest over a good one, anywhere.
			content = bytes.Clone(good)
			if len(input) > 5 {
				copy(content[int(binary.LittleEndian.Uint32(input[1:])%uint32(len(good))):], input[5:])
			}
		case 2: // A good one with that log.
			content, log = good, input[1:]
		case 3: // A good one with that rollback journal.
			content, journal = good, input[1:]
		}
		for suffix, b := range map[string][]byte{"": content, "-wal": log, "-journal": journal} {
			if b == nil {
				continue
			}
			if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		usable(t, path)
	})
}
