package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestAvoid holds that no way leads to what is avoided, and that everything else
// is found as without.
func TestAvoid(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"usr/lib", "home/fuse/deep"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"usr/lib/a": "a", "home/fuse/deep/b": "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"lib": "usr/lib", "abs": "/usr/lib", "in": "home/fuse", "up": "../../../home/fuse/deep", "loop": "loop", "via": "home/../abs/a",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Avoid([]string{"/home/fuse"})
	for _, name := range []string{"usr/lib/a", "/lib/a", "abs/a", "home/../lib/./a", "via", "/../../lib/a"} {
		if b, err := r.ReadFile(name, 10); err != nil || string(b) != "a" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if c, err := r.Canonical(name); err != nil || c != "/usr/lib/a" {
			t.Errorf("%s: canonical %q, %v", name, c, err)
		}
	}
	for _, name := range []string{"home/fuse", "home/fuse/deep/b", "in/deep/b", "up/b", "/home/../in"} {
		for op, do := range map[string]func() error{
			"stat":    func() error { _, err := r.Stat(name); return err },
			"open":    func() error { _, err := r.Open(name); return err },
			"readdir": func() error { _, err := r.ReadDir(name, 1); return err },
			"fstype":  func() error { _, err := r.FSType(name); return err },
		} {
			if err := do(); !errors.Is(err, ErrAvoided) {
				t.Errorf("%s %s: %v", op, name, err)
			}
		}
	}
	whole, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	whole.Avoid([]string{"/"})
	if _, err := whole.Stat("usr/lib/a"); !errors.Is(err, ErrAvoided) {
		t.Errorf("a root that is to be avoided itself: %v", err)
	}
	if _, err := whole.Canonical("/"); !errors.Is(err, ErrAvoided) {
		t.Errorf("the root itself: %v", err)
	}
	if info, err := r.Lstat("in"); err != nil || !info.Symlink() {
		t.Errorf("a link to what is avoided is not itself avoided: %+v, %v", info, err)
	}
	if _, err := r.Stat("loop"); err == nil || errors.Is(err, ErrAvoided) {
		t.Errorf("loop: %v", err)
	}
	if _, err := r.Stat("usr/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
