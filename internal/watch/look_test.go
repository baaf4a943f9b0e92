package watch

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newLooker is a looker at a world's root that nothing else uses.
func newLooker(w *world, paths ...string) *looker {
	w.t.Helper()
	w.t.Cleanup(func() { w.must(w.notifier.close()) })
	return &looker{target: Target{Root: w.root, Paths: paths}, notifier: w.notifier, sub: w.notifier.subscribe()}
}

// interests are those of a looker in directories, which are named as in the root.
func (w *world) interests(l *looker, dirs ...string) map[string]interest {
	w.t.Helper()
	out := make(map[string]interest)
	for _, name := range dirs {
		dir, err := os.Open(w.path(name))
		w.must(err)
		wd, err := l.notifier.addWatch(int(dir.Fd()))
		dir.Close()
		w.must(err)
		if d := l.notifier.watches[wd]; d != nil {
			out[name] = d.interests[l.sub]
		}
	}
	return out
}

func TestLookInterests(t *testing.T) {
	w := newWorld(t, quick)
	w.write("data/dpkg/status.d/base", "a")
	w.must(os.Rename(w.path(dbDir), w.path("data/real")))
	w.must(os.Symlink("../../data/./real/", w.path(dbDir)))
	l := newLooker(w, dbDir+"/status", dbDir+"/info/x", "data/dpkg", "data/dpkg/status.d")
	seen, err := l.look(true)
	if err != nil || seen.err != nil {
		t.Fatal(err, seen.err)
	}
	got := w.interests(l, "/", "var", "var/lib", "data", "data/real", "data/dpkg", "data/dpkg/status.d")
	want := map[string]interest{
		"/":                  {"var": false, "data": false},
		"var":                {"lib": false},
		"var/lib":            {"dpkg": false},
		"data":               {"real": false, "dpkg": true},
		"data/real":          {"status": true, "info": false},
		"data/dpkg":          {"status.d": true, anyEntry: true},
		"data/dpkg/status.d": {anyEntry: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("interests %v,\nwant %v", got, want)
	}
}

// TestLookForgets: directories that are not on the way any more are not watched.
func TestLookForgets(t *testing.T) {
	w := newWorld(t, quick)
	l := newLooker(w, dbDir+"/status")
	var before sight
	for i := range 20 {
		dir := fmt.Sprintf("side/%d", i)
		w.write(dir+"/lib/dpkg/status", "")
		w.must(os.RemoveAll(w.path("var")))
		w.must(os.Symlink("/"+dir, w.path("var")))
		seen, err := l.look(true)
		if err != nil || seen.err != nil {
			t.Fatal(err, seen.err)
		}
		if seen.equal(before) {
			t.Errorf("%s looks like the one before", dir)
		}
		before = seen
		if again, err := l.look(true); err != nil || !again.equal(seen) {
			t.Errorf("a second look at %s sees a change, %v", dir, err)
		}
		// The root, side, side/N, lib, dpkg.
		if n := len(l.notifier.watches); n != 5 {
			t.Fatalf("%d directories are watched", n)
		}
	}
	if seen, err := l.look(false); err != nil || !seen.equal(before) || len(l.notifier.watches) != 5 {
		t.Errorf("a look without listening: %v, %d watches", err, len(l.notifier.watches))
	}
	w.must(os.Rename(w.root, w.root+".away"))
	defer os.Rename(w.root+".away", w.root)
	if _, err := l.look(true); !errors.Is(err, os.ErrNotExist) || len(l.notifier.watches) != 0 {
		t.Errorf("a root that is gone: %v, %d watches", err, len(l.notifier.watches))
	}
}

// TestLookBounds: a hostile root cannot have it watch as many directories as it
// likes, nor follow links for ever.
func TestLookBounds(t *testing.T) {
	w := newWorld(t, quick)
	deep := strings.Repeat("d/", maxSteps)
	w.must(os.MkdirAll(w.path(deep), 0o755))
	w.must(os.Symlink("/"+deep, w.path(dbDir+"/deep")))
	w.must(os.Symlink("loop", w.path(dbDir+"/loop")))
	for i := range 3 * maxEntries {
		w.write(fmt.Sprintf("many/%d", i), "")
	}
	for name, want := range map[string]error{"deep/status": unix.ELOOP, "loop": unix.ELOOP, "status": nil, "missing": nil, "status/x": nil, "../../../../../etc": nil} {
		l := &looker{target: Target{Root: w.root, Paths: []string{dbDir + "/" + name}}, notifier: w.notifier, sub: w.notifier.subscribe()}
		seen, err := l.look(true)
		if err != nil || !errors.Is(seen.err, want) || want == nil && seen.err != nil {
			t.Errorf("%s: %v, %v", name, err, seen.err)
		}
		if len(l.sub.dirs) > maxSteps {
			t.Errorf("%s: %d directories are watched", name, len(l.sub.dirs))
		}
	}
	l := newLooker(w, "many")
	if seen, err := l.look(true); err != nil || len(seen.stamps) != 1+maxEntries {
		t.Errorf("%d entries looked at, %v", len(seen.stamps), err)
	}
}
