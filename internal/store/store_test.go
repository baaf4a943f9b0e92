package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the process that tests kill, see crash_test.go.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path))
	}
	os.Exit(m.Run())
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "sensor.db") }

// open opens a store that must not need recovery, and closes it at the end.
func open(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, recovery, err := Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // Most tests have closed it by then.
	if recovery != nil {
		t.Fatalf("moved aside: %v", recovery.Cause)
	}
	return s
}

func write(t testing.TB, s *Store, b *Batch) {
	t.Helper()
	if err := s.Write(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

// at is a time with all digits, so that rounding would show.
func at(n int) time.Time {
	return time.Unix(1_700_000_000, 123_456_789).UTC().Add(time.Duration(n) * time.Second)
}

// sample is a batch with all kinds of rows and every field set.
func sample() *Batch {
	return &Batch{
		Patches: []Patch{{At: at(1), Domain: "host", Root: "/", Manager: "dpkg", Package: "libssl3", Source: "openssl", Arch: "amd64",
			From: "3.0.11-1", To: "3.0.13-1"}},
		Learned: []Knowledge{{File: FileKey{Dev: 1<<63 + 5, Ino: 1<<64 - 1, Birth: -3, Mtime: 4, Size: 5}, Root: "/", Path: "/a\x00\xff\nb",
			BuildID: "abcd", Manager: "dpkg", Name: "libssl3", Arch: "amd64", Version: "3.0.11-1", Source: "openssl",
			SourceVersion: "3.0.11", SeenAt: at(2)}},
		Opened: []Exposure{{Finding: "f1", Domain: "host", Kind: "unit", Workload: "ssh.service", Manager: "dpkg", Package: "libssl3",
			Arch: "amd64", Loaded: "3.0.11-1", Evidence: "observed", Installed: "3.0.13-1", CVEs: []string{"CVE-1", "CVE-2"},
			Opened: at(3), AtLeast: true}},
		Gaps:   []Gap{{From: at(4), To: at(5), Why: "not running"}},
		Events: []Event{{At: at(6), Type: "stale", Body: []byte("{\x00\xff}")}},
		Beat:   at(7),
		Meta:   map[string]string{"boot": "b1", "": "\xff\x00"},
	}
}

// TestRoundTrip: what is written reads back field by field, also by the next
// process.
func TestRoundTrip(t *testing.T) {
	ctx, path := context.Background(), newPath(t)
	s := open(t, path, Options{})
	b := sample()
	write(t, s, b)
	if b.Patches[0].ID == 0 || b.Opened[0].ID == 0 || b.Events[0].Seq == 0 {
		t.Fatalf("numbers not filled in: %+v", b)
	}
	for _, when := range []string{"same store", "reopened"} {
		patches, err1 := s.Patches(ctx, 0)
		known, err2 := s.Known(ctx, []FileKey{b.Learned[0].File, {Ino: 1}})
		same, err3 := s.KnownBuildID(ctx, "abcd")
		opened, err4 := s.OpenExposures(ctx)
		all, err5 := s.Exposures(ctx, time.Time{}, 0)
		gaps, err6 := s.Gaps(ctx, time.Time{}, 0)
		events, oldest, err7 := s.Events(ctx, 0, 0)
		seq, err8 := s.LastSeq(ctx)
		beat, err9 := s.LastBeat(ctx)
		odd, ok, err10 := s.Meta(ctx, "")
		_, none, err11 := s.Meta(ctx, "none")
		if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11); err != nil {
			t.Fatal(when, err)
		}
		for _, c := range []struct{ got, want any }{
			{patches, b.Patches}, {known, map[FileKey]Knowledge{b.Learned[0].File: b.Learned[0]}}, {same, b.Learned},
			{opened, b.Opened}, {all, b.Opened}, {gaps, b.Gaps}, {events, b.Events}, {oldest, b.Events[0].Seq},
			{seq, b.Events[0].Seq}, {beat, b.Beat}, {odd, "\xff\x00"}, {ok, true}, {none, false},
		} {
			if !reflect.DeepEqual(c.got, c.want) {
				t.Errorf("%s: got %+v, want %+v", when, c.got, c.want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path, Options{})
	}
}

// TestCVEs: not known, none, and some are three things.
func TestCVEs(t *testing.T) {
	s := open(t, newPath(t), Options{})
	b := &Batch{}
	for i, cves := range [][]string{nil, {}, {"CVE-1"}, {"CVE-1", "CVE-2"}} {
		b.Opened = append(b.Opened, Exposure{CVEs: cves, Opened: at(i)})
	}
	write(t, s, b)
	got, err := s.OpenExposures(context.Background())
	if err != nil || !reflect.DeepEqual(got, b.Opened) {
		t.Errorf("got %#v (%v), want %#v", got, err, b.Opened)
	}
}

// TestKnowledge: what was seen last counts, whatever the order of writing.
func TestKnowledge(t *testing.T) {
	ctx := context.Background()
	s := open(t, newPath(t), Options{})
	key := FileKey{Dev: 8, Ino: 9, Mtime: 1, Size: 2}
	born := key
	born.Birth = 1
	for _, k := range []Knowledge{
		{File: key, Version: "2", BuildID: "aa", SeenAt: at(2)},
		{File: key, Version: "1", BuildID: "bb", SeenAt: at(1)},
		{File: born, Version: "1", BuildID: "aa", SeenAt: at(1)},
		{File: FileKey{Ino: 5}, Version: "no build ID", SeenAt: at(1)},
	} {
		write(t, s, &Batch{Learned: []Knowledge{k}})
	}
	known, err := s.Known(ctx, []FileKey{key, born, key})
	if err != nil || len(known) != 2 || known[key].Version != "2" || known[born].Version != "1" {
		t.Errorf("known %+v, %v", known, err)
	}
	for id, want := range map[string][]string{"aa": {"2", "1"}, "bb": nil, "": nil} {
		list, err := s.KnownBuildID(ctx, id)
		var got []string
		for _, k := range list {
			got = append(got, k.Version)
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("build ID %q: versions %v (%v), want %v", id, got, err, want)
		}
	}
	many := &Batch{}
	for i := range 2 * maxSameBuildID {
		many.Learned = append(many.Learned, Knowledge{File: FileKey{Ino: uint64(100 + i)}, BuildID: "cc", SeenAt: at(i)})
	}
	write(t, s, many)
	if list, err := s.KnownBuildID(ctx, "cc"); err != nil || len(list) != maxSameBuildID || !list[0].SeenAt.Equal(at(2*maxSameBuildID-1)) {
		t.Errorf("%d with the same build ID, %v", len(list), err)
	}
}

// TestExposureLife: opened, changed, closed, closed again.
func TestExposureLife(t *testing.T) {
	ctx := context.Background()
	s := open(t, newPath(t), Options{})
	b := &Batch{Opened: []Exposure{{Finding: "f1", Opened: at(1)}, {Finding: "f2", Opened: at(2)}, {Finding: "brief", Opened: at(3), Closed: at(4)}}}
	write(t, s, b)
	changed := b.Opened[0]
	changed.Installed, changed.CVEs, changed.Closed = "2", []string{"CVE-1"}, at(9)
	write(t, s, &Batch{Changed: []Exposure{changed}})
	changed.Closed = time.Time{} // Not by Changed.
	for _, end := range []int{5, 6} {
		write(t, s, &Batch{Closed: []Exposure{{ID: b.Opened[1].ID, Finding: "ignored", Closed: at(end)}}})
	}
	b.Opened[1].Closed = at(6)
	opened, err := s.OpenExposures(ctx)
	if want := []Exposure{changed}; err != nil || !reflect.DeepEqual(opened, want) {
		t.Errorf("open: %+v (%v), want %+v", opened, err, want)
	}
	for since, want := range map[int][]Exposure{0: {b.Opened[2], b.Opened[1], changed}, 6: {b.Opened[1], changed}, 7: {changed}} {
		if got, err := s.Exposures(ctx, at(since), 0); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("since %d: %+v (%v), want %+v", since, got, err, want)
		}
	}
	if got, err := s.Exposures(ctx, at(0), 1); err != nil || len(got) != 1 || got[0].Finding != "brief" {
		t.Errorf("limit: %+v, %v", got, err)
	}
	for name, b := range map[string]*Batch{
		"changed": {Changed: []Exposure{{ID: 99, Opened: at(1)}}}, "closed": {Closed: []Exposure{{ID: 99, Closed: at(1)}}},
	} {
		b.Meta = map[string]string{"k": name}
		if err := s.Write(ctx, b); !errors.Is(err, ErrNoExposure) {
			t.Errorf("%s: %v, want ErrNoExposure", name, err)
		}
	}
	if v, ok, err := s.Meta(ctx, "k"); ok || err != nil {
		t.Errorf("half of a batch was written: %q, %v", v, err)
	}
}

// TestBounds: every bound refuses its row and the whole batch; Sift saves the rest.
func TestBounds(t *testing.T) {
	ctx := context.Background()
	s := open(t, newPath(t), Options{})
	name, path, body := strings.Repeat("n", MaxName), strings.Repeat("p", MaxPath), strings.Repeat("b", MaxBody)
	far := time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)
	largest := func() *Batch {
		return &Batch{
			Patches: []Patch{{At: at(1), Root: path, Package: name, From: name}},
			Learned: []Knowledge{{Root: path, Path: path, BuildID: name, Version: name, SeenAt: at(1)}},
			Opened:  []Exposure{{Finding: path, Workload: path, Loaded: name, CVEs: []string{body[:MaxCVEs]}, Opened: at(1)}},
			Gaps:    []Gap{{From: at(1), To: at(1), Why: path}},
			Events:  []Event{{At: at(1), Type: name, Body: []byte(body)}},
			Meta:    map[string]string{name: body},
		}
	}
	write(t, s, largest())
	for what, spoil := range map[string]func(*Batch){
		"root": func(b *Batch) { b.Patches[0].Root += "x" }, "package": func(b *Batch) { b.Patches[0].Package += "x" },
		"no time": func(b *Batch) { b.Patches[0].At = time.Time{} }, "epoch": func(b *Batch) { b.Patches[0].At = time.Unix(0, 0) },
		"far": func(b *Batch) { b.Patches[0].At = far }, "path": func(b *Batch) { b.Learned[0].Path += "x" },
		"version": func(b *Batch) { b.Learned[0].Version += "x" }, "unseen": func(b *Batch) { b.Learned[0].SeenAt = time.Time{} },
		"workload": func(b *Batch) { b.Opened[0].Workload += "x" }, "loaded": func(b *Batch) { b.Opened[0].Loaded += "x" },
		"cves": func(b *Batch) { b.Opened[0].CVEs = append(b.Opened[0].CVEs, "CVE-1") }, "empty cve": func(b *Batch) { b.Opened[0].CVEs = []string{""} },
		"cve of two lines": func(b *Batch) { b.Opened[0].CVEs = []string{"CVE-1\nCVE-2"} },
		"never opened":     func(b *Batch) { b.Opened[0].Opened = time.Time{} }, "closed far": func(b *Batch) { b.Opened[0].Closed = far },
		"changed": func(b *Batch) { b.Changed = []Exposure{{ID: 1}} }, "closed never": func(b *Batch) { b.Closed = []Exposure{{ID: 1}} },
		"why": func(b *Batch) { b.Gaps[0].Why += "x" }, "backwards": func(b *Batch) { b.Gaps[0].To = at(0) },
		"endless": func(b *Batch) { b.Gaps[0].To = time.Time{} }, "type": func(b *Batch) { b.Events[0].Type += "x" },
		"body": func(b *Batch) { b.Events[0].Body = append(b.Events[0].Body, 'x') }, "beat": func(b *Batch) { b.Beat = far },
		"key": func(b *Batch) { b.Meta[name+"x"] = "" }, "value": func(b *Batch) { b.Meta["k"] = body + "x" },
	} {
		t.Run(what, func(t *testing.T) {
			b := largest()
			spoil(b)
			b.Events = append([]Event{{At: at(1), Type: what}}, b.Events...)
			before, err := s.LastSeq(ctx)
			if err != nil {
				t.Fatal(err)
			}
			rows := len(b.Patches) + len(b.Learned) + len(b.Opened) + len(b.Changed) + len(b.Closed) + len(b.Gaps) + len(b.Events) + len(b.Meta)
			if err := s.Write(ctx, b); !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v, want ErrInvalid", err)
			} else if len(err.Error()) > 300 {
				t.Errorf("the error carries what it refuses: %d bytes", len(err.Error()))
			}
			if after, err := s.LastSeq(ctx); err != nil || after != before {
				t.Errorf("half of a batch was written (%v)", err)
			}
			refused := b.Sift()
			left := len(b.Patches) + len(b.Learned) + len(b.Opened) + len(b.Changed) + len(b.Closed) + len(b.Gaps) + len(b.Events) + len(b.Meta)
			if what == "beat" {
				left--
			}
			if len(refused) != 1 || !errors.Is(refused[0], ErrInvalid) || left != rows-1 {
				t.Errorf("refused %v, %d of %d rows left", refused, left, rows)
			}
			write(t, s, b)
			events, _, err := s.Events(ctx, before, 1)
			if err != nil || len(events) != 1 || events[0].Type != what {
				t.Errorf("the rest was not written: %v, %v", events, err)
			}
		})
	}
}

// TestSiftKeepsCaller: what the caller's slice shares with others stays.
func TestSiftKeepsCaller(t *testing.T) {
	all := []Event{{At: at(1), Type: "a"}, {Type: "no time"}, {At: at(2), Type: "b"}}
	b := Batch{Events: all}
	b.Sift()
	if all[1].Type != "no time" || len(b.Events) != 2 || b.Events[1].Type != "b" {
		t.Errorf("%+v from %+v", b.Events, all)
	}
}

// TestEventsBounded: a list stops at its bounds, and resuming from its end gets all.
func TestEventsBounded(t *testing.T) {
	ctx := context.Background()
	s := open(t, newPath(t), Options{})
	body := bytes.Repeat([]byte{1}, MaxBody)
	b := &Batch{}
	for i := range 2*maxBodies/MaxBody + 1 {
		b.Events = append(b.Events, Event{At: at(i), Type: "t", Body: body})
	}
	write(t, s, b)
	var after uint64
	var seen, lists int
	for {
		list, _, err := s.Events(ctx, after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		if len(list) > maxBodies/MaxBody {
			t.Errorf("%d MiB in one list", len(list))
		}
		seen, lists, after = seen+len(list), lists+1, list[len(list)-1].Seq
	}
	if seen != len(b.Events) || lists != 3 {
		t.Errorf("%d of %d events in %d lists", seen, len(b.Events), lists)
	}
	if list, _, err := s.Events(ctx, 0, 2); err != nil || len(list) != 2 || list[1].Seq != b.Events[1].Seq {
		t.Errorf("limit: %v, %v", len(list), err)
	}
	if list, _, err := s.Events(ctx, 1<<64-1, 0); err != nil || len(list) != 0 {
		t.Errorf("after the end of all numbers: %v, %v", len(list), err)
	}
}

// TestSeqSurvivesLoss: no number is given twice, also when the store went back in
// time (a power cut) or was discarded.
func TestSeqSurvivesLoss(t *testing.T) {
	ctx, path := context.Background(), newPath(t)
	last := func(s *Store) uint64 {
		t.Helper()
		b := &Batch{}
		for i := range 1000 {
			b.Events = append(b.Events, Event{At: at(i)})
		}
		write(t, s, b)
		if got, err := s.LastSeq(ctx); err != nil || got != b.Events[999].Seq || got >= maxNumber {
			t.Fatalf("last %d, given %d, %v", got, b.Events[999].Seq, err)
		}
		if b.Events[0].Seq+999 != b.Events[999].Seq {
			t.Fatal("numbers out of order")
		}
		return b.Events[999].Seq
	}
	first := func(s *Store) uint64 {
		t.Helper()
		b := &Batch{Events: []Event{{At: at(1)}}}
		write(t, s, b)
		return b.Events[0].Seq
	}
	s := open(t, path, Options{})
	fresh, err := s.LastSeq(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if list, oldest, err := s.Events(ctx, fresh, 0); err != nil || len(list) != 0 || fresh+1 < oldest {
		t.Errorf("a reader of a fresh store has missed something: %d, %d, %v", fresh, oldest, err)
	}
	s.Close()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	lost := last(s)
	s.Close()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	if got := first(s); got <= lost {
		t.Errorf("after a loss %d, before %d", got, lost)
	}
	lost = last(s)
	s.Close()
	if r, err := Discard(path, errors.New("test")); err != nil || r == nil {
		t.Fatal(r, err)
	}
	s = open(t, path, Options{})
	if _, oldest, err := s.Events(ctx, lost, 0); err != nil || lost+1 >= oldest {
		t.Errorf("a reader of the discarded store is not told of its loss: %d, %d, %v", lost, oldest, err)
	}
	if got := first(s); got <= lost {
		t.Errorf("after a discard %d, before %d", got, lost)
	}
}

// TestCancelled: an ended context ends a call, changes nothing and does not harm
// the store.
func TestCancelled(t *testing.T) {
	s := open(t, newPath(t), Options{})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	b := sample()
	calls := map[string]func(context.Context) error{
		"write":   func(ctx context.Context) error { return s.Write(ctx, b) },
		"empty":   func(ctx context.Context) error { return s.Write(ctx, &Batch{}) },
		"patches": func(ctx context.Context) error { _, err := s.Patches(ctx, 0); return err },
		"known":   func(ctx context.Context) error { _, err := s.Known(ctx, []FileKey{{}}); return err },
		"build":   func(ctx context.Context) error { _, err := s.KnownBuildID(ctx, "a"); return err },
		"open":    func(ctx context.Context) error { _, err := s.OpenExposures(ctx); return err },
		"all":     func(ctx context.Context) error { _, err := s.Exposures(ctx, at(0), 0); return err },
		"gaps":    func(ctx context.Context) error { _, err := s.Gaps(ctx, at(0), 0); return err },
		"events":  func(ctx context.Context) error { _, _, err := s.Events(ctx, 0, 0); return err },
		"seq":     func(ctx context.Context) error { _, err := s.LastSeq(ctx); return err },
		"beat":    func(ctx context.Context) error { _, err := s.LastBeat(ctx); return err },
		"meta":    func(ctx context.Context) error { _, _, err := s.Meta(ctx, "k"); return err },
		"prune":   func(ctx context.Context) error { return s.Prune(ctx, at(0)) },
	}
	for name, call := range calls {
		if err := call(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.Patches[0].ID != 0 || b.Events[0].Seq != 0 {
		t.Error("numbers of a batch that was not written")
	}
	// In the middle: the outcome is open, but it is all or nothing.
	for i := range 50 {
		ctx, cancel := context.WithCancel(context.Background())
		b := &Batch{Meta: map[string]string{"round": fmt.Sprint(i)}}
		for range 200 {
			b.Events = append(b.Events, Event{At: at(i), Type: fmt.Sprint(i)})
		}
		before, err := s.LastSeq(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			cancel()
		}()
		err = s.Write(ctx, b)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: %v", i, err)
		}
		cancel()
		list, _, err2 := s.Events(context.Background(), before, 0)
		if want := map[bool]int{true: 200, false: 0}[err == nil]; err2 != nil || len(list) != want {
			t.Fatalf("round %d: %d events after %v (%v)", i, len(list), err, err2)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := call(context.Background()); !errors.Is(err, ErrClosed) && name != "empty" {
			t.Errorf("%s of a closed store: %v", name, err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

// TestSettings: the connection is as open.go says, also a later one.
func TestSettings(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "new", "deep", "odd ?#%41&name.db")
	s := open(t, path, Options{})
	check := func() {
		t.Helper()
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "1", "locking_mode": "exclusive", "auto_vacuum": "2", "foreign_keys": "1",
			"busy_timeout": "2000", "trusted_schema": "0", "temp_store": "2", "journal_size_limit": "4194304", "cell_size_check": "1",
		} {
			var got string
			if err := s.db.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
			}
		}
	}
	check()
	write(t, s, sample())
	conn, err := s.db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	conn.Close()
	check()
	for name, want := range map[string]os.FileMode{"": 0o600, "-wal": 0o600, ".lock": 0o600, "/..": 0o750, "/../..": 0o750} {
		// A umask may take away more.
		if info, err := os.Stat(filepath.Clean(path + name)); err != nil || info.Mode().Perm()&^want != 0 {
			t.Errorf("%q: %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
	if _, err := os.Stat(path + "-shm"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a -shm: %v", err)
	}
	size, err := s.Size()
	var st1, st2 syscall.Stat_t
	if err := errors.Join(err, syscall.Stat(path, &st1), syscall.Stat(path+"-wal", &st2)); err != nil || size != st1.Size+st2.Size || size == 0 {
		t.Errorf("size %d, files %d + %d, %v", size, st1.Size, st2.Size, err)
	}
}

// TestPlaces: what could be tampered with is refused and left alone.
func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	target := in("target")
	must(os.WriteFile(target, []byte("precious"), 0o644), os.Symlink(target, in("link.db")), os.Mkdir(in("dir.db"), 0o755),
		syscall.Mkfifo(in("fifo.db"), 0o600), os.Symlink(target, in("wal.db-wal")), os.Symlink(target, in("lock.db.lock")),
		os.Mkdir(in("open"), 0o755), os.Chmod(in("open"), 0o777), os.WriteFile(in("file"), nil, 0o600))
	places := map[string]error{
		in("link.db"): ErrUnsafe, in("dir.db"): ErrUnsafe, in("fifo.db"): ErrUnsafe, in("wal.db"): ErrUnsafe, in("lock.db"): ErrUnsafe,
		in("open/x.db"): ErrUnsafe, in("file/x.db"): syscall.ENOTDIR,
	}
	if os.Geteuid() == 0 {
		must(os.WriteFile(in("other.db"), nil, 0o600), os.Chown(in("other.db"), 65534, 65534),
			os.Mkdir(in("other"), 0o755), os.Chown(in("other"), 65534, 65534))
		places[in("other.db")], places[in("other/x.db")] = ErrUnsafe, ErrUnsafe
	} else {
		t.Log("SKIPPED, NOT TESTED: files of other users (not root)")
	}
	for path, want := range places {
		s, r, err := Open(context.Background(), path, Options{})
		if s != nil || r != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, %v, %v, want %v", filepath.Base(path), s, r, err, want)
		} else {
			t.Logf("%s: %v", filepath.Base(path), strings.ReplaceAll(err.Error(), dir, "…"))
		}
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "precious" {
		t.Errorf("the link's target holds %q, %v", got, err)
	}
	if _, _, err := Open(context.Background(), in("x.db"), Options{MaxBytes: -1}); err == nil {
		t.Error("a negative bound is accepted")
	}
	// A file that others could read is closed to them.
	must(os.WriteFile(in("wide.db"), nil, 0o644))
	open(t, in("wide.db"), Options{})
	if info, err := os.Stat(in("wide.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestLocked: the second one is refused, clearly, until the first is gone.
func TestLocked(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	_, _, err := Open(context.Background(), path, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second: %v", err)
	}
	if _, err := Discard(path, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("discard: %v", err)
	}
	write(t, s, sample())
	s.Close()
	s = open(t, path, Options{})
	s.Close()
	// A shell that is reading.
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	if _, r, err := Open(context.Background(), path, Options{}); !errors.Is(err, ErrLocked) || r != nil {
		t.Errorf("while a shell holds it: %v, %v", r, err)
	}
	db.Close()
	open(t, path, Options{})
}
