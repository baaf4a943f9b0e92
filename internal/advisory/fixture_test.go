package advisory

import (
	"os"
	"path/filepath"
	"testing"
)

// files writes files into a directory of their own.
func files(t testing.TB, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range contents {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// imported returns the index of a directory, or of files.
func imported(t testing.TB, from ...string) (*Index, Stats) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "advisories.db")
	stats, err := Import(t.Context(), from, path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x, stats
}

func ids(list []Vulnerability) []string {
	all := []string{}
	for _, v := range list {
		all = append(all, v.ID)
	}
	return all
}
