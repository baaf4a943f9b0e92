package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// compareStats holds that both ways to follow a name say the same.
func compareStats(t *testing.T, d *Dirs, r *Root, name string) {
	t.Helper()
	want, wantErr := r.Stat(name)
	for i := range 3 { // the first time nothing is held open
		got, err := d.Stat(name)
		if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%q, time %d: %+v, %v; want %+v, %v", name, i, got, err, want, wantErr)
		}
	}
}

func oddTree(t testing.TB, dir string) {
	for _, sub := range []string{"usr/lib/deep", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"usr/lib/a.so", "usr/lib/b.so", "top", "etc/secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"lib": "usr/lib", "abs": "/usr/lib", "out": "../../..", "usr/lib/c.so": "a.so", "usr/lib/d.so": "/top",
		"usr/lib/e.so": "../../../../etc/passwd", "usr/lib/f.so": "nowhere", "loop": "loop", "magic": "/proc/self/root", "usr/lib/g": "deep",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

var oddNames = []string{
	"/usr/lib/a.so", "/usr/lib/b.so", "/lib/a.so", "/abs/b.so", "//usr//lib/./a.so", "/usr/lib/deep/../a.so", "/usr/lib/c.so",
	"/usr/lib/d.so", "/usr/lib/e.so", "/usr/lib/f.so", "/usr/lib/g", "/usr/lib/deep", "/usr/lib/gone", "/gone/a.so", "/loop/x", "/top/x", "/top",
	"/out/top", "/out/etc/passwd", "/magic/etc/passwd", "/usr/lib/", "/usr/lib/.", "/usr/lib/..", "/", "", "top", "usr/lib/a.so", "/usr/lib/a\x00",
}

// TestDirs holds that names are followed as a root follows them, whatever is on the way.
// many is more than a test holds open.
const many = 1000

// However many roots there are, they hold no more directories open than they share.
func TestDirsShare(t *testing.T) {
	dir := t.TempDir()
	left := 3
	var all []*Dirs
	for i := range 10 {
		sub := filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(filepath.Join(sub, "lib"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, "lib/a"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := OpenRoot(sub)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		d := NewDirs(r, &left)
		for range 3 {
			if _, err := d.Stat("/lib/a"); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, d)
	}
	if left != 0 {
		t.Errorf("%d left", left)
	}
	for _, d := range all {
		d.Close()
	}
	if left != 3 {
		t.Errorf("%d left of 3 when all are closed", left)
	}
}

func TestDirs(t *testing.T) {
	dir := t.TempDir()
	oddTree(t, dir)
	r := openRoot(t, dir)
	d := NewDirs(r, new(many))
	defer d.Close()
	for range 2 {
		for _, name := range oddNames {
			compareStats(t, d, r, name)
		}
	}
	if d.open == 0 {
		t.Error("no directory is held open")
	}
	// What stands in a directory that is held open is looked at each time.
	name := filepath.Join(dir, "usr/lib/a.so")
	for _, change := range []func() error{
		func() error { return os.WriteFile(name, []byte("longer than before"), 0o600) },
		func() error { return os.Rename(filepath.Join(dir, "usr/lib/b.so"), name) },
		func() error { return os.Remove(name) },
		func() error { return os.Symlink("/top", name) },
		func() error { return os.RemoveAll(filepath.Join(dir, "usr/lib")) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		compareStats(t, d, r, "/usr/lib/a.so")
	}
}

// Descriptors are few, and a name that is asked for once costs none.
func TestDirsBounds(t *testing.T) {
	dir := t.TempDir()
	r := openRoot(t, dir)
	d := NewDirs(r, new(many))
	defer d.Close()
	for i := range 3 * maxOpenDirs {
		sub := fmt.Sprintf("/d%d", i)
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Stat(sub + "/x"); err == nil || d.open != 0 {
			t.Fatalf("%d directories are open: %v", d.open, err)
		}
	}
	for range 2 {
		for i := range 3 * maxOpenDirs {
			compareStats(t, d, r, fmt.Sprintf("/d%d/x", i))
		}
	}
	if d.open != maxOpenDirs {
		t.Errorf("%d directories are open", d.open)
	}
	for i := range 2 * maxDirs {
		_, _ = d.Stat(fmt.Sprintf("/n%d/x", i))
	}
	if len(d.fds) > maxDirs {
		t.Errorf("%d directories are remembered", len(d.fds))
	}
	d.Close()
	if d.open != 0 || len(d.fds) != 0 {
		t.Error("something is left open")
	}
}

// A root that keeps away from something does so here too.
func TestDirsAvoid(t *testing.T) {
	dir := t.TempDir()
	oddTree(t, dir)
	r := openRoot(t, dir)
	r.Avoid([]string{"/usr/lib"})
	d := NewDirs(r, new(many))
	defer d.Close()
	for _, name := range oddNames {
		compareStats(t, d, r, name)
	}
}

func FuzzDirs(f *testing.F) {
	dir := f.TempDir()
	oddTree(f, dir)
	r, err := OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	for _, name := range oddNames {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		d := NewDirs(r, new(many))
		defer d.Close()
		compareStats(t, d, r, name)
	})
}
