package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dbDir = "var/lib/dpkg"
	// patience is how long a test waits for what has to come.
	patience = 30 * time.Second
)

// quick are times at which tests are fast. The sweep never comes: what is told
// is told because of events.
var quick = Options{Settle: 40 * time.Millisecond, Poll: 5 * time.Millisecond, Sweep: time.Hour}

// world is a running Watcher and a root with an empty database.
type world struct {
	*Watcher
	t    *testing.T
	root string
}

func newWorld(t *testing.T, opts Options) *world {
	t.Helper()
	w, err := New(opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &world{w, t, t.TempDir()}
	h.write(dbDir+"/status", "")
	return h
}

// start runs the Watcher until the test ends.
func (w *world) start() *world {
	done := make(chan error, 1)
	go func() { done <- w.Run(w.t.Context()) }()
	w.t.Cleanup(func() {
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	return w
}

func (w *world) add(t Target) {
	w.t.Helper()
	if t.Name == "" {
		t.Name = "dpkg"
	}
	if t.Root == "" {
		t.Root = w.root
	}
	if t.Paths == nil {
		t.Paths = []string{dbDir + "/status", dbDir + "/status.d"}
	}
	if err := w.Add(w.t.Context(), t); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.root, name) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(name, content string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(w.path(name)), 0o755))
	w.must(os.WriteFile(w.path(name), []byte(content), 0o644))
}

// rename replaces a file as dpkg does.
func (w *world) rename(name, content string) {
	w.t.Helper()
	w.write(name+"-new", content)
	w.must(os.Rename(w.path(name+"-new"), w.path(name)))
}

// next is the Change that has to come.
func (w *world) next() Change {
	w.t.Helper()
	select {
	case c := <-w.Changes():
		if c.First.IsZero() || c.Last.Before(c.First) {
			w.t.Errorf("change from %v to %v", c.First, c.Last)
		}
		return c
	case <-time.After(patience):
		w.t.Fatalf("no change is told; %+v", w.Stats())
		return Change{}
	}
}

// told does something and holds that it makes a Change.
func (w *world) told(do func()) {
	w.t.Helper()
	before := time.Now()
	do()
	// On a slow machine one deed of before may have made two.
	c := w.next()
	for c.First.Before(before) {
		c = w.next()
	}
	if c.Busy || c.Err != nil {
		w.t.Errorf("told %+v", c)
	}
}

// flood makes events beside the database. Equal ones in a row are merged, so
// these alternate.
func (w *world) flood(events int) {
	w.t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.Create(w.path(fmt.Sprintf("%s/unrelated-%d", dbDir, i)))
		w.must(err)
		defer f.Close()
		files[i] = f
	}
	for i := range events {
		_, err := files[i%2].WriteAt([]byte{'x'}, 0)
		w.must(err)
	}
}

// until waits for a condition that has to come true.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain: %s; %+v", what, w.Stats())
		}
	}
}

func TestChanges(t *testing.T) {
	status := dbDir + "/status"
	replaceDir := func(w *world, dir string) {
		w.must(os.Rename(w.path(dir), w.path(dir+".old")))
		w.write(status, "new")
	}
	tests := []struct {
		name    string
		prepare func(*world)
		change  func(*world)
	}{
		{"renamed over", nil, func(w *world) { w.rename(status, "a") }},
		{"written in place", nil, func(w *world) { w.write(status, "a") }},
		{"removed", nil, func(w *world) { w.must(os.Remove(w.path(status))) }},
		{"appears", func(w *world) { w.must(os.Remove(w.path(status))) }, func(w *world) { w.rename(status, "a") }},
		{"directory appears", func(w *world) { w.must(os.RemoveAll(w.path(dbDir))) }, func(w *world) { w.write(status, "a") }},
		{"all appears", func(w *world) { w.must(os.RemoveAll(w.path("var"))) }, func(w *world) { w.write(status, "a") }},
		{"directory is renamed and made anew", nil, func(w *world) { replaceDir(w, dbDir) }},
		{"its parent is renamed and made anew", nil, func(w *world) { replaceDir(w, "var/lib") }},
		{"directory is removed", nil, func(w *world) { w.must(os.RemoveAll(w.path(dbDir))) }},
		{"directory of marks appears", nil, func(w *world) { w.write(dbDir+"/status.d/base", "a") }},
		{"mark appears", func(w *world) { w.write(dbDir+"/status.d/base", "a") }, func(w *world) { w.write(dbDir+"/status.d/tzdata", "a") }},
		{"mark is written", func(w *world) { w.write(dbDir+"/status.d/base", "a") }, func(w *world) { w.write(dbDir+"/status.d/base", "b") }},
		{"mark goes", func(w *world) { w.write(dbDir+"/status.d/base", "a") }, func(w *world) { w.must(os.Remove(w.path(dbDir + "/status.d/base"))) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, quick)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			w.add(Target{})
			w.start()
			w.told(func() { tt.change(w) })
			// Whatever it was, what comes after is noticed as well.
			w.told(func() { w.write(status, "after") })
			w.told(func() { w.rename(status, "after that") })
			w.told(func() { w.write(dbDir+"/status.d/more", "") })
			if s := w.Stats(); s.Failures+s.Overflows+s.Muted != 0 || s.Targets != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestLinks: links are followed inside the root only, and noticed when they come
// to lead elsewhere.
func TestLinks(t *testing.T) {
	w := newWorld(t, quick)
	outside := t.TempDir()
	w.must(os.MkdirAll(filepath.Join(w.root, outside, "lib/dpkg"), 0o755))
	w.must(os.MkdirAll(filepath.Join(outside, "lib/dpkg"), 0o755))
	w.must(os.RemoveAll(w.path("var")))
	w.must(os.Symlink(outside, w.path("var"))) // absolute: means the one inside
	w.add(Target{})
	w.start()

	w.must(os.WriteFile(filepath.Join(outside, "lib/dpkg/status"), nil, 0o644))
	w.told(func() { w.write(filepath.Join(outside, "lib/dpkg/status"), "a") })

	w.write("srv/lib/dpkg/status", "b")
	w.told(func() {
		w.must(os.Symlink("../../srv", w.path("var-new")))
		w.must(os.Rename(w.path("var-new"), w.path("var")))
	})
	w.told(func() { w.rename("srv/lib/dpkg/status", "c") })

	// The last name may be a link, too, and both its ends count.
	w.write("srv/real", "d")
	w.told(func() {
		w.must(os.Symlink("/srv/real", w.path("srv/lib/dpkg/link")))
		w.must(os.Rename(w.path("srv/lib/dpkg/link"), w.path("srv/lib/dpkg/status")))
	})
	w.told(func() { w.rename("srv/real", "e") })

	// A circle is an error that is told, and so is its end.
	w.must(os.Symlink("circle", w.path("srv/circle")))
	w.must(os.Rename(w.path("srv/circle"), w.path("circle")))
	w.must(os.Rename(w.path("circle"), w.path("srv/lib/circle")))
	w.must(os.Symlink("/srv/lib/circle", w.path("srv/lib/to-circle")))
	w.must(os.Rename(w.path("srv/lib/to-circle"), w.path("srv/lib/dpkg/status")))
	if c := w.next(); !errors.Is(c.Err, unix.ELOOP) {
		t.Errorf("%+v", c)
	}
	w.told(func() { w.rename("srv/lib/dpkg/status", "f") })
}

// TestUnrelated: locks and what lies beside the database do not count, however
// often they change.
func TestUnrelated(t *testing.T) {
	w := newWorld(t, quick)
	w.write(dbDir+"/info/a.list", "")
	w.add(Target{})
	w.start()
	for range 50 {
		for _, n := range []string{"lock", "lock-frontend", "status-new", "status-old", "updates/0001", "info/a.list", "info/b.list", "../other"} {
			w.write(dbDir+"/"+n, "x")
		}
	}
	w.until("events on what is unrelated", func() bool { return w.Stats().Events >= 50*2*5 })
	before := time.Now()
	w.rename(dbDir+"/status", "a")
	if c := w.next(); c.First.Before(before) {
		t.Errorf("told of what is unrelated: %+v", c)
	}
}

// TestBusy: while a package manager is at work nothing is told, and soon after
// it is.
func TestBusy(t *testing.T) {
	w := newWorld(t, quick)
	var asked atomic.Int64
	var locked, released atomic.Bool
	locked.Store(true)
	w.add(Target{Busy: func() (bool, error) { asked.Add(1); return locked.Load(), nil }})
	w.start()
	for i := range 5 {
		w.rename(dbDir+"/status", strconv.Itoa(i))
		// Long enough for it to settle, if it were not locked.
		seen := asked.Load()
		w.until("Busy is asked", func() bool { return asked.Load() > seen+3*int64(quick.Settle/quick.Poll) })
	}
	released.Store(true)
	locked.Store(false)
	if c := w.next(); !released.Load() || c.Busy || c.Err != nil {
		t.Errorf("%+v", c)
	}
	w.told(func() { w.rename(dbDir+"/status", "x") })
	w.until("2 changes are told", func() bool { return w.Stats().Told == 2 })
}

// TestHung: a package manager that never ends, and one of which it cannot be
// told, hide nothing.
func TestHung(t *testing.T) {
	opts := quick
	opts.MaxWait = 200 * time.Millisecond
	w := newWorld(t, opts)
	w.add(Target{Busy: func() (bool, error) { return true, nil }})
	w.start()
	for i := range 2 {
		w.rename(dbDir+"/status", strconv.Itoa(i))
		if c := w.next(); !c.Busy {
			t.Errorf("%+v", c)
		}
	}
	w.Remove("dpkg")
	failure := errors.New("lock cannot be asked")
	w.add(Target{Busy: func() (bool, error) { return false, failure }})
	w.rename(dbDir+"/status", "x")
	if c := w.next(); c.Busy || !errors.Is(c.Err, failure) {
		t.Errorf("%+v", c)
	}
}

// TestManyEvents: a burst is one change, and a target that never rests is told
// by the bound without hiding another.
func TestManyEvents(t *testing.T) {
	opts := quick
	opts.MaxWait = 300 * time.Millisecond
	w := newWorld(t, opts)
	restless := t.TempDir()
	name := filepath.Join(restless, "status")
	w.must(os.WriteFile(name, nil, 0o644))
	w.add(Target{})
	w.add(Target{Name: "restless", Root: restless, Paths: []string{"status"}})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				// Fails when the directory is gone, at the end of a failed test.
				_ = os.WriteFile(name+strconv.Itoa(i%7), nil, 0o644)
				_ = os.Rename(name+strconv.Itoa(i%7), name)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	w.start()
	var last Change
	for range 3 {
		c := w.next()
		if c.Target != "restless" {
			t.Fatalf("told of %q", c.Target)
		}
		if !last.First.IsZero() && c.First.Before(last.Last) {
			t.Errorf("told twice: %+v and %+v", last, c)
		}
		last = c
	}
	w.rename(dbDir+"/status", "x")
	for w.next().Target != "dpkg" {
	}
}

// TestOverflow: when the kernel had to drop events, everything may have changed.
func TestOverflow(t *testing.T) {
	content, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, quick)
	quiet := t.TempDir()
	w.add(Target{})
	w.add(Target{Name: "quiet", Root: quiet, Paths: []string{"status"}})
	// Nobody reads yet.
	w.flood(limit + 1)
	w.start()
	told := make(map[string]bool)
	for len(told) < 2 {
		told[w.next().Target] = true
	}
	if s := w.Stats(); s.Overflows == 0 || !told["quiet"] {
		t.Errorf("%+v, told %v", s, told)
	}
}

// TestFlood: a directory in which too much happens is left alone for a while,
// and what changes meanwhile is still told.
func TestFlood(t *testing.T) {
	w := newWorld(t, quick)
	w.add(Target{})
	w.start()
	begin := time.Now()
	w.flood(20 * loud)
	muted, most := w.Stats().Muted, 1+uint64(time.Since(begin)/deaf)
	if muted < 1 || muted > most {
		t.Errorf("muted %d times, want at most %d: once in %v", muted, most, deaf)
	}
	w.told(func() { w.rename(dbDir+"/status", "a") })
	w.until("the directory is watched again", func() bool {
		events := w.Stats().Events
		w.write(dbDir+"/lock", "x")
		return w.Stats().Events > events
	})
	w.told(func() { w.rename(dbDir+"/status", "b") })
}

// TestRootGoes: that a root cannot be entered any more is told once, and that it
// is there again as well.
func TestRootGoes(t *testing.T) {
	opts := quick
	opts.Sweep = 20 * time.Millisecond
	w := newWorld(t, opts)
	w.add(Target{})
	w.start()
	w.must(os.Rename(w.root, w.root+".away"))
	if c := w.next(); !errors.Is(c.Err, os.ErrNotExist) {
		t.Errorf("%+v", c)
	}
	w.told(func() { w.must(os.Rename(w.root+".away", w.root)) })
	w.told(func() { w.rename(dbDir+"/status", "a") })
	w.until("3 changes are told", func() bool { return w.Stats().Told == 3 })
}

// TestSweep: changes of which no event tells are found by looking.
func TestSweep(t *testing.T) {
	opts := quick
	opts.Sweep = 20 * time.Millisecond
	w := newWorld(t, opts)
	w.write(dbDir+"/status.d/base", "a")
	w.must(w.notifier.close())
	w.notifier.file = nil
	w.add(Target{})
	w.start()
	w.told(func() { w.rename(dbDir+"/status", "a") })
	w.told(func() { w.write(dbDir+"/status.d/tzdata", "a") })
	w.told(func() { w.write(dbDir+"/status.d/base", "ab") })
	w.told(func() { w.must(os.RemoveAll(w.path("var"))) })
	w.told(func() { w.write(dbDir+"/status", "a") })
	if s := w.Stats(); s.Unannounced < 5 || s.Events != 0 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}
