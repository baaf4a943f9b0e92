package sensor

import (
	"os"
	"path/filepath"
	"testing"
)

// Only a directory that root made for a user, below nothing that anybody else can
// change, makes that user's socket one to believe.
func TestPlaced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: giving directories to users needs root")
	}
	// Not below the directory for temporary files, where anybody can make names.
	root, err := os.MkdirTemp("/opt", "sensor-placed.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	const user, other = 4711, 4712
	for _, c := range []struct {
		name        string
		uid         int
		mode        os.FileMode
		parent      int
		parentsMode os.FileMode
		want        bool
	}{
		{"given", user, 0o755, 0, 0o755, true},
		{"root's own", 0, 0o755, 0, 0o755, false},
		{"another user's", other, 0o755, 0, 0o755, false},
		{"for the group to write", user, 0o775, 0, 0o755, false},
		{"for all to write", user, 0o757, 0, 0o755, false},
		{"below another user's", user, 0o755, other, 0o755, false},
		{"below the user's own", user, 0o755, user, 0o755, false},
		{"below one that all may write", user, 0o755, 0, 0o777, false},
		{"below a sticky one", user, 0o755, 0, 0o777 | os.ModeSticky, false},
	} {
		parent := filepath.Join(root, c.name)
		dir := filepath.Join(parent, "sensor")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, d := range []struct {
			path string
			uid  int
			mode os.FileMode
		}{{parent, c.parent, c.parentsMode}, {dir, c.uid, c.mode}} {
			if err := os.Chown(d.path, d.uid, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(d.path, d.mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		if got := placed(filepath.Join(dir, "s.sock"), user); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(filepath.Join(root, "given", "sensor"), link); err != nil {
		t.Fatal(err)
	}
	if placed(filepath.Join(link, "s.sock"), user) {
		t.Error("through a symbolic link")
	}
	if placed("given/sensor/s.sock", user) {
		t.Error("a relative name")
	}
}
