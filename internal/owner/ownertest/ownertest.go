// Package ownertest is the contract of package databases: the tests that every
// implementation of one passes, whatever its format.
package ownertest

import (
	_ "crypto/md5" // kinds of checksums that databases record
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// Database is what the program needs of every package database.
type Database interface {
	Packages() []owner.Package
	Owners(paths []string) (map[string]owner.Owned, error)
	Providers(bases []string) (map[string][]owner.Owned, error)
	Checksum(o owner.Owned) (owner.Checksum, bool, error)
	Problems() []error
}

// Package is a package to build a root with. Files maps absolute paths to
// content.
type Package struct {
	Name, Arch, Version string
	Files               map[string]string
}

// Builder makes roots for one kind of database and opens them.
type Builder struct {
	Manager string
	// Write records the packages as installed in a database below the
	// directory root. The files themselves are there already.
	Write func(t *testing.T, root string, packages []Package)
	Open  func(root *file.Root) (Database, error)
	// Central are the files, relative to the root, without which the
	// database is none. Private are those that hold only the named package's
	// files or checksums; a format that keeps all in one file has none.
	Central []string
	Private func(pkg string) []string
}

func packages() []Package {
	return []Package{
		{Name: "alpha", Arch: "amd64", Version: "1.2-3", Files: map[string]string{
			"/usr/lib/libalpha.so.1": "alpha library",
			"/usr/bin/alpha":         "alpha program",
		}},
		{Name: "beta", Arch: "amd64", Version: "2:4.0~rc1-1", Files: map[string]string{
			"/usr/lib/beta/libalpha.so.1":       "another library of that name",
			"/usr/share/beta/odd \xff(deleted)": "odd name",
		}},
	}
}

// Run holds an implementation to the contract.
func Run(t *testing.T, b Builder) {
	t.Run("no database", func(t *testing.T) {
		if _, err := b.Open(openRoot(t, t.TempDir())); !errors.Is(err, owner.ErrNoDatabase) {
			t.Fatalf("Open of an empty root: %v, want ErrNoDatabase", err)
		}
	})
	t.Run("packages", b.testPackages)
	t.Run("owners", b.testOwners)
	t.Run("providers", b.testProviders)
	t.Run("checksums", b.testChecksums)
	t.Run("hostile", b.testHostile)
}

func (b Builder) build(t *testing.T) string {
	dir := t.TempDir()
	for _, p := range packages() {
		for name, content := range p.Files {
			write(t, filepath.Join(dir, name), content)
		}
	}
	b.Write(t, dir, packages())
	return dir
}

func (b Builder) open(t *testing.T) Database {
	db, err := b.Open(openRoot(t, b.build(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p := db.Problems(); len(p) > 0 {
			t.Errorf("problems with a sound database: %v", p)
		}
	})
	return db
}

func (b Builder) testPackages(t *testing.T) {
	have := make(map[string]owner.Package)
	for _, p := range b.open(t).Packages() {
		have[p.Name] = p
	}
	for _, p := range packages() {
		b.check(t, have[p.Name], p)
	}
	if len(have) != len(packages()) {
		t.Errorf("packages %v", have)
	}
}

func (b Builder) check(t *testing.T, got owner.Package, want Package) {
	t.Helper()
	if got.Manager != b.Manager || got.Name != want.Name || got.Arch != want.Arch ||
		got.Version != want.Version || got.State != owner.StateInstalled {
		t.Errorf("package %+v, want %s %s %s, installed", got, want.Name, want.Arch, want.Version)
	}
}

func (b Builder) testOwners(t *testing.T) {
	paths := []string{"/usr/lib/libalpha.so.1.2", "/usr/lib/libalpha.so", "/libalpha.so.1", "/", "", "relative",
		"/usr/bin/alpha\n", "/usr/bin/alpha\n/usr/bin/alpha"}
	for _, p := range packages() {
		for name := range p.Files {
			paths = append(paths, name)
		}
	}
	got, err := b.open(t).Owners(paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages() {
		for name := range p.Files {
			b.check(t, got[name].Package, p)
			if got[name].Path != name {
				t.Errorf("%q is listed as %q", name, got[name].Path)
			}
			delete(got, name)
		}
	}
	if len(got) > 0 {
		t.Errorf("owners of files of no package: %v", got)
	}
}

func (b Builder) testProviders(t *testing.T) {
	got, err := b.open(t).Providers([]string{"libalpha.so.1", "lib", "so.1", ""})
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]string)
	for _, o := range got["libalpha.so.1"] {
		have[o.Path] = o.Package.Name
	}
	if len(have) != 2 || have["/usr/lib/libalpha.so.1"] != "alpha" || have["/usr/lib/beta/libalpha.so.1"] != "beta" {
		t.Errorf("providers %v", have)
	}
	delete(got, "libalpha.so.1")
	if len(got) > 0 {
		t.Errorf("providers of directories and of parts of names: %v", got)
	}
}

func (b Builder) testChecksums(t *testing.T) {
	db := b.open(t)
	for _, p := range packages() {
		for name, content := range p.Files {
			o := owner.Owned{Package: owner.Package{Manager: b.Manager, Name: p.Name, Arch: p.Arch, Version: p.Version}, Path: name}
			got, ok, err := db.Checksum(o)
			if err != nil || !ok || !got.Hash.Available() {
				t.Errorf("checksum of %q: %+v, %v, %v", name, got, ok, err)
				continue
			}
			h := got.Hash.New()
			h.Write([]byte(content))
			if got.Sum != hex.EncodeToString(h.Sum(nil)) || got.RecordedAt.IsZero() {
				t.Errorf("checksum of %q: %+v, %v, %v", name, got, ok, err)
			}
			o.Path += ".not"
			if got, ok, err := db.Checksum(o); ok || err != nil {
				t.Errorf("checksum of %q, which is not in the package: %+v, %v", o.Path, got, err)
			}
		}
	}
}

// testHostile puts something else in the place of each file of the database.
// Nothing may hang (the test's own timeout sees to it), the damage must be
// told, and what another package's files say must still be there.
func (b Builder) testHostile(t *testing.T) {
	kinds := map[string]func(t *testing.T, name string){
		"fifo":      func(t *testing.T, name string) { check(t, unix.Mkfifo(name, 0o600)) },
		"directory": func(t *testing.T, name string) { check(t, os.Mkdir(name, 0o700)) },
		"sparse": func(t *testing.T, name string) {
			write(t, name, "")
			check(t, os.Truncate(name, 1<<40))
		},
		// The text of the link is right outside the root and leads nowhere
		// inside it.
		"symlink out": func(t *testing.T, name string) {
			outside := filepath.Join(t.TempDir(), "outside")
			check(t, os.Rename(name+".old", outside))
			check(t, os.Symlink(outside, name))
		},
	}
	for kind, put := range kinds {
		replace := func(t *testing.T, dir, name string) {
			name = filepath.Join(dir, name)
			check(t, os.Rename(name, name+".old"))
			put(t, name)
		}
		for _, name := range b.Central {
			t.Run(kind+" "+filepath.Base(name), func(t *testing.T) {
				dir := b.build(t)
				replace(t, dir, name)
				db, err := b.Open(openRoot(t, dir))
				if err == nil && len(db.Problems()) == 0 {
					t.Error("nothing is told of the damage")
				}
			})
		}
		if b.Private == nil {
			continue
		}
		for _, name := range b.Private("beta") {
			t.Run(kind+" "+filepath.Base(name), func(t *testing.T) {
				dir := b.build(t)
				replace(t, dir, name)
				// A link that leads nowhere is a file that is not there,
				// and some formats need not have them all.
				b.checkDamaged(t, openRoot(t, dir), kind == "symlink out")
			})
		}
	}
}

// checkDamaged holds that of a database in which a file of package beta is
// damaged all of alpha is there, and that beta's loss is told unless told says
// that it need not be.
func (b Builder) checkDamaged(t *testing.T, root *file.Root, told bool) {
	db, err := b.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	alpha, beta := "/usr/lib/libalpha.so.1", "/usr/lib/beta/libalpha.so.1"
	owners, err := db.Owners([]string{alpha, beta})
	if err != nil {
		t.Fatal(err)
	}
	b.check(t, owners[alpha].Package, packages()[0])
	if _, err := db.Providers([]string{"libalpha.so.1"}); err != nil {
		t.Error(err)
	}
	if _, ok, err := db.Checksum(owners[alpha]); !ok || err != nil {
		t.Errorf("checksum of %s: %v, %v", alpha, ok, err)
	}
	if o, ok := owners[beta]; ok {
		_, known, err := db.Checksum(o)
		if known {
			t.Errorf("the checksum of %s was read in spite of the damage", beta)
		}
		told = told || err != nil
	}
	if !told && len(db.Problems()) == 0 {
		t.Error("nothing is told of the damage")
	}
}

func openRoot(t *testing.T, dir string) *file.Root {
	t.Helper()
	root, err := file.OpenRoot(dir)
	check(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}

func write(t *testing.T, name, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(name), 0o755))
	check(t, os.WriteFile(name, []byte(content), 0o644))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
