package apk

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// cutRoot is a root in which one file has another content.
type cutRoot struct {
	*file.Root
	place, content string
}

func (r cutRoot) ReadFile(name string, limit int64) ([]byte, error) {
	if name == r.place {
		return []byte(r.content), nil
	}
	return r.Root.ReadFile(name, limit)
}

// TestCut cuts databases of each release at every offset: one problem says so, at
// that offset, and the packages before it are there.
func TestCut(t *testing.T) {
	for _, name := range []string{"alpine-3.10", "alpine-3.23", "apko"} {
		archive, err := txtar.ParseFile("testdata/" + name + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		var place, content, world string
		for _, f := range archive.Files {
			switch {
			case strings.HasSuffix(f.Name, "/installed"):
				place, content = f.Name, string(f.Data)
			case f.Name == worldName:
				world = string(f.Data)
			}
		}
		dir := t.TempDir()
		write(t, dir, worldName, world)
		write(t, dir, place, content)
		root := cutRoot{Root: openRoot(t, dir), place: place}
		for n := range len(content) {
			root.content = content[:n]
			d, err := Open(root)
			if err != nil {
				t.Fatal(err)
			}
			var oe *owner.Error
			if p := d.Problems(); len(p) == 0 || !errors.As(p[0], &oe) || oe.File != "/"+place || oe.Offset != int64(n) || len(p) > 1 && n > 0 {
				t.Fatalf("%s cut at %d: problems %v", name, n, p)
			}
			if n == 0 && len(d.Packages()) > 0 {
				t.Errorf("packages of nothing: %v", d.Packages())
			}
			whole := strings.Count(content[:n], "\n\n")
			if got := len(d.Packages()); got < whole || got > whole+1 {
				t.Fatalf("%s cut at %d: %d packages, of which %d are whole", name, n, got, whole)
			}
			for _, p := range d.Packages() {
				if !strings.Contains(content, "P:"+p.Name+"\nV:"+p.Version+"\n") {
					t.Fatalf("%s cut at %d: package %+v", name, n, p)
				}
			}
			for i := range d.files {
				e := &d.files[i]
				if !strings.Contains(content, "R:"+string(d.nameOf(e))+"\n") {
					t.Fatalf("%s cut at %d: file %s", name, n, d.pathOf(e))
				}
			}
		}
	}
}

func TestDamage(t *testing.T) {
	const sound = "P:sound\nV:1\nA:x86_64\nF:lib\nR:sound.so\n\n"
	tests := []struct {
		name, content string
		offset        int
		want          error
		owned         string // path that has an owner in spite of it
		lost          string // path that has none
	}{
		{"not a field", "P:a\nV:1\nnonsense\nF:lib\nR:a\n\n", 8, errField, "/lib/a", ""},
		{"one letter", "P:a\nV:1\nx\nF:lib\nR:a\n\n", 8, errField, "/lib/a", ""},
		{"no name", "V:1\nF:lib\nR:a\n\n", 0, errName, "", "/lib/a"},
		{"empty name", "P:\nV:1\nF:lib\nR:a\n\n", 0, errName, "", "/lib/a"},
		{"name with a slash", "P:../a\nV:1\nF:lib\nR:a\n\n", 0, errName, "", "/lib/a"},
		{"name with a NUL", "P:a\x00b\nV:1\nF:lib\nR:a\n\n", 0, errName, "", "/lib/a"},
		{"name with an escape", "P:a\x1b[2J\nV:1\nF:lib\nR:a\n\n", 0, errName, "", "/lib/a"},
		{"long name", "P:" + strings.Repeat("a", 256) + "\nV:1\n\n", 0, errName, "", ""},
		{"no version", "P:a\nF:lib\nR:a\n\n", 0, errNoVersion, "", "/lib/a"},
		{"blank version", "P:a\nV:1 2\nF:lib\nR:a\n\n", 0, errNoVersion, "", "/lib/a"},
		{"bad architecture", "P:a\nV:1\nA:x y\nF:lib\nR:a\n\n", 0, errArch, "", "/lib/a"},
		{"twice", "P:sound\nV:2\nF:lib\nR:b\n\n", 0, nil, "/lib/b", ""},
		{"absolute directory", "P:a\nV:1\nF:/lib\nR:a\nF:bin\nR:b\n\n", 8, errDir, "/bin/b", "/lib/a"},
		{"directory outside", "P:a\nV:1\nF:usr/../../lib\nR:a\nR:c\nF:bin\nR:b\n\n", 8, errDir, "/bin/b", "/lib/a"},
		{"directory with a dot", "P:a\nV:1\nF:./lib\nR:a\n\n", 8, errDir, "", "/lib/a"},
		{"doubled slash", "P:a\nV:1\nF:usr//lib\nR:a\n\n", 8, errDir, "", "/usr/lib/a"},
		{"slash at the end", "P:a\nV:1\nF:lib/\nR:a\n\n", 8, errDir, "", "/lib/a"},
		{"directory with a NUL", "P:a\nV:1\nF:li\x00b\nR:a\n\n", 8, errDir, "", "/li\x00b/a"},
		{"file without a directory", "P:a\nV:1\nR:a\n\n", 8, errNoDir, "", "/a"},
		{"file with a slash", "P:a\nV:1\nF:lib\nR:b/a\nR:c\n\n", 14, errFile, "/lib/c", "/lib/b/a"},
		{"file outside", "P:a\nV:1\nF:lib\nR:..\nR:c\n\n", 14, errFile, "/lib/c", "/"},
		{"empty file name", "P:a\nV:1\nF:lib\nR:\nR:c\n\n", 14, errFile, "/lib/c", "/lib/"},
		{"file with a NUL", "P:a\nV:1\nF:lib\nR:a\x00\nR:c\n\n", 14, errFile, "/lib/c", "/lib/a\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, places[0], tt.content+sound)
			d := open(t, dir)
			p := d.Problems()
			if tt.want == nil {
				tt.want, tt.offset = errTwice, len(tt.content)
			} else if owners, _ := d.Owners([]string{"/lib/sound.so"}); len(owners) != 1 {
				t.Error("the sound package is lost")
			}
			var oe *owner.Error
			if len(p) != 1 || !errors.Is(p[0], tt.want) || !errors.As(p[0], &oe) || oe.Offset != int64(tt.offset) || oe.File != "/"+places[0] {
				t.Errorf("problems %v, want %v at %d", p, tt.want, tt.offset)
			}
			got, err := d.Owners([]string{tt.owned, tt.lost})
			if _, ok := got[tt.owned]; err != nil || ok != (tt.owned != "") || len(got) > 1 {
				t.Errorf("owners %v, %v", got, err)
			}
		})
	}
}

func TestBadChecksum(t *testing.T) {
	for _, sum := range []string{"", "Q", "Q1", "Q1AAAA", "Q3" + digest("")[2:], "Z1" + digest("")[2:], digest("")[:20] + "!" + digest("")[21:], "X1zz", digest("") + "AAAA"} {
		dir := t.TempDir()
		write(t, dir, places[0], "P:a\nV:1\nF:lib\nR:a\nZ:"+sum+"\n\n")
		d := open(t, dir)
		if got, ok, err := d.Checksum(owner.Owned{Package: d.Packages()[0], Path: "/lib/a"}); ok || err != nil {
			t.Errorf("%q: %+v, %v", sum, got, err)
		}
		if p := d.Problems(); len(p) != 1 && sum != "" {
			t.Errorf("%q: problems %v", sum, p)
		}
	}
}

// TestMany: a database with very many defects, a long line and very many packages
// of one name of file costs no more than its size.
func TestMany(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("P:long\nV:1\nT:" + strings.Repeat("x", 4<<20) + "\nF:" + strings.Repeat("d/", 1<<20) + "\nR:a\n\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "P:p%d\nV:1\nF:lib/%d\nR:same.so\nR:../x\n\n", i, i)
	}
	write(t, dir, places[0], b.String())
	d := open(t, dir)
	if n := len(d.Packages()); n != 2001 {
		t.Errorf("%d packages", n)
	}
	got, err := d.Providers([]string{"same.so"})
	if err != nil || len(got["same.so"]) != maxProviders {
		t.Errorf("%d providers, %v", len(got["same.so"]), err)
	}
	if n := len(d.Problems()); n != owner.MaxDefects+1 {
		t.Errorf("%d problems", n)
	}
}

// TestTwoDatabases: the one of the two that apk reads wins, and that they differ
// is told.
func TestTwoDatabases(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, places[0], "P:a\nV:1\nF:lib\nR:a\n\n")
	write(t, dir, places[1], "P:a\nV:1\nF:lib\nR:a\n\n")
	noProblems(t, open(t, dir))
	write(t, dir, places[1], "P:a\nV:2\nF:lib\nR:a\nR:c\n\nP:b\nV:3\nF:lib\nR:b\n\n")
	d := open(t, dir)
	if p := d.Problems(); len(p) != 1 || !errors.Is(p[0], errTwo) {
		t.Errorf("problems %v", p)
	}
	got, err := d.Owners([]string{"/lib/a", "/lib/b", "/lib/c"})
	if err != nil || len(got) != 2 || got["/lib/a"].Package.Version != "1" || got["/lib/b"].Package.Version != "3" {
		t.Errorf("owners %v, %v", got, err)
	}
}
