package apk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/patchsensor/patchsensor/internal/file"
)

// fixture makes a root from testdata/NAME.txtar and opens its database. A file
// named "a -> b" is a symbolic link.
func fixture(t *testing.T, name string) *Database {
	t.Helper()
	dir := t.TempDir()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if from, to, ok := strings.Cut(f.Name, " -> "); ok {
			link(t, dir, from, to)
			continue
		}
		write(t, dir, f.Name, string(f.Data))
	}
	return open(t, dir)
}

func open(t testing.TB, dir string) *Database {
	t.Helper()
	d, err := Open(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openRoot(t testing.TB, dir string) *file.Root {
	t.Helper()
	root, err := file.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// noProblems fails the test if the database has met a defect.
func noProblems(t *testing.T, d *Database) {
	t.Helper()
	if p := d.Problems(); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
}

func link(t testing.TB, dir, name, to string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}
