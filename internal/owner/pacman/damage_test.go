package pacman

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// ask has a database read all that it can.
func ask(t *testing.T, root Root) (*Database, []string) {
	t.Helper()
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Owners([]string{"/x"}); err != nil {
		t.Fatal(err)
	}
	var owned []string
	for _, name := range []string{"bash", "sh", "libssl.so.1.0.0"} {
		got, err := d.Providers([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range got[name] {
			owned = append(owned, o.Package.Name+" "+o.Path)
		}
	}
	slices.Sort(owned)
	return d, owned
}

// TestCut cuts each file of a database at every offset: one problem says so, at
// that offset, unless nothing that matters was lost, and all else is there.
func TestCut(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/pacman-4.2.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := fixture(t, "pacman-4.2").root.(*file.Root)
	_, whole := ask(t, root)
	for _, f := range archive.Files {
		base := filepath.Base(f.Name)
		if !strings.HasPrefix(f.Name, local) || base == "mtree" {
			continue
		}
		content := string(f.Data)
		for n := range len(content) {
			d, owned := ask(t, cutRoot{root, f.Name, content[:n]})
			p := d.Problems()
			var oe *owner.Error
			// What remains of a version is none, and of a desc what matters may
			// all be there, if it ends with a section.
			silent := base == "ALPM_DB_VERSION" && n > 0 ||
				base == "desc" && strings.HasSuffix(content[:n], "\n\n") && strings.Contains(content[:n], "%ARCH%") ||
				base == "desc" && strings.HasSuffix(content[:n], "\n") && strings.HasPrefix(content[n:], "%") && strings.Contains(content[:n], "%ARCH%")
			if silent {
				if len(p) > 0 {
					t.Errorf("%s cut at %d: %v", f.Name, n, p)
				}
				continue
			}
			if len(p) != 1 || !errors.As(p[0], &oe) || oe.File != "/"+f.Name || oe.Offset != int64(n) {
				t.Fatalf("%s cut at %d: problems %v", f.Name, n, p)
			}
			for _, o := range owned {
				if !slices.Contains(whole, o) {
					t.Fatalf("%s cut at %d: owner %s", f.Name, n, o)
				}
			}
			lost := len(whole) - len(owned)
			if base == "files" && lost > 2 || base != "files" && lost > 0 {
				t.Fatalf("%s cut at %d: owners %q", f.Name, n, owned)
			}
		}
	}
}

// TestCutMtree cuts the compressed file: no checksum is told that is not whole, and
// that there is none is told as an error.
func TestCutMtree(t *testing.T) {
	d := fixture(t, "pacman-7.0")
	i := slices.IndexFunc(d.packages, func(r record) bool { return r.Name == "zlib" })
	o := owner.Owned{Package: d.packages[i].Package, Path: "/usr/lib/libz.so.1.3.1"}
	want, ok, err := d.Checksum(o)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	name := d.packages[i].dir + "mtree"
	dir := d.root.(*file.Root).Name()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(content) {
		write(t, dir, name, string(content[:n]))
		d := open(t, dir)
		got, ok, err := d.Checksum(o)
		if ok && got.Sum != want.Sum || !ok && err == nil {
			t.Fatalf("cut at %d: %+v, %v, %v", n, got, ok, err)
		}
		var oe *owner.Error
		if p := d.Problems(); !ok && (len(p) != 1 || !errors.As(p[0], &oe) || oe.File != "/"+name) {
			t.Fatalf("cut at %d: problems %v", n, p)
		}
	}
}

func TestDamage(t *testing.T) {
	const desc = "%NAME%\na\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n\n"
	tests := []struct {
		name, file, content string // of the entry a-1-1
		offset              int64
		want                error
		owned               bool // /usr/a is
	}{
		{"no desc", "", "", -1, os.ErrNotExist, false},
		{"another name", "desc", strings.Replace(desc, "a\n", "b\n", 1), 7, errMismatch, true},
		{"another version", "desc", strings.Replace(desc, "1-1", "1-2", 1), 20, errMismatch, true},
		{"bad architecture", "desc", strings.Replace(desc, "any", "a y", 1), 32, errArch, true},
		{"no architecture", "desc", strings.Replace(desc, "%ARCH%\nany\n\n", "", 1), 25, errLost, true},
		{"no section", "desc", "x\n" + desc, 0, errSection, true},
		{"NULs", "desc", strings.Repeat("\x00", 100), 100, errCut, true},
		{"huge desc", "desc", strings.Repeat("x", maxDesc+1), -1, file.ErrTooLarge, false},
		{"absolute path", "files", "%FILES%\nusr/a\n/usr/b\n\n", 14, errPath, true},
		{"path outside", "files", "%FILES%\nusr/../../b\nusr/a\n\n", 8, errPath, true},
		{"path with a dot", "files", "%FILES%\n./usr/b\nusr/a\n\n", 8, errPath, true},
		{"doubled slash", "files", "%FILES%\nusr//b\nusr/a\n\n", 8, errPath, true},
		{"only a slash", "files", "%FILES%\n/\nusr/a\n\n", 8, errPath, true},
		{"path with a NUL", "files", "%FILES%\nusr/\x00\nusr/a\n\n", 8, errPath, true},
		{"long path", "files", "%FILES%\n" + strings.Repeat("d/", maxPath) + "b\nusr/a\n\n", 8, errPath, true},
		{"path in no section", "files", "usr/b\n%FILES%\nusr/a\n\n", 0, errSection, true},
		{"no list", "files", "", -1, os.ErrNotExist, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, local+"ALPM_DB_VERSION", "9\n")
			writeEntry(t, dir, "sound-1-1", "usr/sound\n")
			place := local + "a-1-1/"
			write(t, dir, place+"install", "")
			files := "%FILES%\nusr/a\n\n"
			switch {
			case tt.name == "no desc":
				tt.file = "desc"
			case tt.name == "no list":
				write(t, dir, place+"desc", desc)
			case tt.file == "desc":
				write(t, dir, place+"desc", tt.content)
				write(t, dir, place+"files", files)
			default:
				write(t, dir, place+"desc", desc)
				write(t, dir, place+"files", tt.content)
			}
			d := open(t, dir)
			got, err := d.Owners([]string{"/usr/a", "/usr/b", "/b", "/usr/sound"})
			if err != nil || got["/usr/sound"].Package.Name != "sound" {
				t.Fatalf("the sound package is lost: %v, %v", got, err)
			}
			if o, ok := got["/usr/a"]; ok != tt.owned || ok && (o.Package.Name != "a" || o.Package.Version != "1-1") || len(got) > 2 {
				t.Errorf("owners %v", got)
			}
			var oe *owner.Error
			p := d.Problems()
			if len(p) != 1 || !errors.Is(p[0], tt.want) || !errors.As(p[0], &oe) || oe.Offset != tt.offset || oe.File != "/"+place+tt.file {
				t.Errorf("problems %v, want %v at %d of %s", p, tt.want, tt.offset, place+tt.file)
			}
		})
	}
}

// TestEntries: names of entries that are none, and several of one package.
func TestEntries(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, local+"ALPM_DB_VERSION", "9\n")
	writeEntry(t, dir, "a-b-1-1", "usr/old\n")
	write(t, dir, local+"a-b-2-1/desc", "%NAME%\na-b\n\n%VERSION%\n2-1\n\n%ARCH%\nany\n\n%INSTALLDATE%\n1700000000\n\n")
	write(t, dir, local+"a-b-2-1/files", "%FILES%\nusr/new\n\n")
	for _, bad := range []string{"nothing", "one-dash", "-1-1", "a b-1-1", "n\x1b[2J-1-1", "n\n-1-1"} {
		write(t, dir, local+bad+"/desc", "")
	}
	d := open(t, dir)
	if p := d.Packages(); len(p) != 1 || p[0].Name != "a-b" || p[0].Version != "2-1" {
		t.Errorf("packages %v", p)
	}
	twice, bad := 0, 0
	for _, err := range d.Problems() {
		switch {
		case errors.Is(err, errTwice):
			twice++
		case errors.Is(err, errEntry):
			bad++
		}
	}
	if twice != 1 || bad != 6 || len(d.Problems()) != 7 {
		t.Errorf("problems %v", d.Problems())
	}
	if got, err := d.Owners([]string{"/usr/old", "/usr/new"}); err != nil || len(got) != 1 {
		t.Errorf("owners %v, %v", got, err)
	}
}

// TestBomb: an mtree that is much larger than its file is read no further than
// allowed.
func TestBomb(t *testing.T) {
	const part = 1 << 20 // a member of the file, which may have many
	for name, text := range map[string]string{
		"lines":  strings.Repeat("./"+strings.Repeat("a", 1021)+"\n", part>>10),
		"a line": strings.Repeat("a", part),
	} {
		dir := t.TempDir()
		write(t, dir, local+"ALPM_DB_VERSION", "9\n")
		writeEntry(t, dir, "a-1-1", "usr/a\n")
		write(t, dir, local+"a-1-1/mtree", strings.Repeat(gzipped(text), maxMtree/part+1))
		d := open(t, dir)
		if got, ok, err := d.Checksum(owner.Owned{Package: d.Packages()[0], Path: "/usr/a"}); ok || !errors.Is(err, file.ErrTooLarge) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestMany: very many entries are looked at up to the bound, and very many
// providers are told up to another.
func TestMany(t *testing.T) {
	d := &Database{root: manyRoot{}}
	if got, err := Open(d.root); err != nil || !errors.Is(got.Problems()[0], errTooMany) || len(got.Problems()) > owner.MaxDefects+1 {
		t.Errorf("%v, %v", got, err)
	}
	dir := t.TempDir()
	write(t, dir, local+"ALPM_DB_VERSION", "9\n")
	var b strings.Builder
	for i := range maxProviders + 1 {
		fmt.Fprintf(&b, "usr/%d/same\n", i)
	}
	writeEntry(t, dir, "a-1-1", b.String())
	small := open(t, dir)
	if got, err := small.Providers([]string{"same"}); err != nil || len(got["same"]) != maxProviders || len(small.Problems()) != 1 {
		t.Errorf("%d providers, %v, %v", len(got["same"]), err, small.Problems())
	}
}

// manyRoot has more entries than are looked at.
type manyRoot struct{}

func (manyRoot) Open(string) (*os.File, error)          { return nil, os.ErrNotExist }
func (manyRoot) Stat(string) (file.Info, error)         { return file.Info{}, os.ErrNotExist }
func (manyRoot) ReadFile(string, int64) ([]byte, error) { return nil, os.ErrNotExist }
func (manyRoot) Readlink(string) (string, error)        { return "", os.ErrNotExist }
func (manyRoot) ReadDir(_ string, limit int) ([]string, error) {
	out := make([]string, limit)
	for i := range out {
		out[i] = fmt.Sprintf("package-%d-1", i)
	}
	return out, nil
}
