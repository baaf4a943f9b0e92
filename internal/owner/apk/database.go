// Package apk reads the package database of Alpine Linux and its relatives
// (Wolfi, postmarketOS, OpenWrt) in any root: which package owns a
// file, what content it recorded, and what was installed when.
//
// The files it reads and what describes them:
//
//	lib/apk/db/installed      packages and their files (apk-tools src/database.c, apk_db_fdb_write and _read)
//	usr/lib/apk/db/installed  the same, where apko and Wolfi keep it
//	etc/apk/world             what is to be installed (apk-world(5))
//	var/log/apk.log           apk(8), since apk-tools 3 (src/print.c, src/commit.c print_change)
//
// Packages of apk bring no changelogs.
package apk

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

// maxInstalled bounds an installed file, in bytes; a large desktop's has some
// 20 MB. It keeps offsets within 32 bits.
const maxInstalled = 128 << 20

// places are where a root may have its database.
var places = [...]string{"lib/apk/db/installed", "usr/lib/apk/db/installed"}

var (
	errEmpty = errors.New("database lists no package")
	errTwo   = errors.New("root has a second database, which says something else: packages of which the first one says nothing are taken from it")
)

// Root is the root directory that a database lies in: a *file.Root, or an image's layers
// put together. Names are relative to it and cannot lead outside; errors are those of
// package fs and of the system calls.
type Root interface {
	Open(name string) (*os.File, error)
	Stat(name string) (file.Info, error)
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string, limit int) ([]string, error)
	Readlink(name string) (string, error)
}

// Database is the apk database of one root as it stood when it was opened; only
// the log is read when it is asked for. It is safe for concurrent use.
type Database struct {
	root     Root
	packages []record // by name
	files    []entry  // by hash
	seed     hasher   // of the hashes
	merged   []merged.Alias
	defects  owner.Defects

	historyOnce sync.Once
	changes     []owner.Change
	historyErr  error
}

// source is one installed file.
type source struct {
	name    string // relative to the root
	content []byte
	ctime   time.Time
	mtime   time.Time
}

// Open reads the database of root, which must stay open for as long as the
// Database is used. The error is owner.ErrNoDatabase if the root has none, and
// an *owner.Error if what it has cannot be read at all; lesser damage is told by
// Problems.
//
// A database that ends within a package is seen to be cut short. One that ends
// between two packages is, too, if a package that is left or etc/apk/world names
// one that is not: apk installs nothing that is not named so, save what it adds
// by install_if, whose loss nothing tells.
func Open(root Root) (*Database, error) {
	d := &Database{root: root, defects: owner.Defects{Database: places[0]}}
	sources, err := d.readSources()
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, owner.ErrNoDatabase
	}
	d.seed = newHasher()
	c := catalogue{seed: d.seed, index: make(map[string]int)}
	for _, s := range sources {
		if len(s.content) == 0 {
			d.defects.Add(owner.Defect(s.name, 0, errEmpty))
		}
		whole := true
		for err := range c.parse(s) {
			d.defects.Add(err)
			whole = false
		}
		if whole && len(sources) == 1 {
			d.checkComplete(s, c.records)
		}
	}
	d.packages, d.files = c.sorted()
	d.merged = merged.Directories(root, mergeable())
	return d, nil
}

// readSources reads the installed files that there are, one if they are alike.
func (d *Database) readSources() ([]*source, error) {
	var out []*source
	for _, name := range places {
		if len(out) > 0 && sameFile(d.root, out[0].name, name) { // merged /usr
			continue
		}
		s, err := readSource(d.root, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil && len(out) == 0:
			return nil, owner.Defect(name, -1, err)
		case err != nil:
			d.defects.Add(owner.Defect(name, -1, err))
		case len(out) == 0:
			out = append(out, s)
		case !bytes.Equal(out[0].content, s.content):
			d.defects.Add(owner.Defect(name, -1, errTwo))
			out = append(out, s)
		}
	}
	return out, nil
}

func sameFile(root Root, a, b string) bool {
	infoA, errA := root.Stat(a)
	infoB, errB := root.Stat(b)
	return errA == nil && errB == nil && infoA.ID == infoB.ID
}

func readSource(root Root, name string) (*source, error) {
	// If the file is replaced between the two, its content is taken to be
	// recorded earlier than it was by no more than that.
	content, err := root.ReadFile(name, maxInstalled)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	return &source{name: name, content: content, ctime: info.Ctime, mtime: info.Mtime}, nil
}

// Packages returns the packages of the root in the order of their names.
func (d *Database) Packages() []owner.Package {
	out := make([]owner.Package, len(d.packages))
	for i := range d.packages {
		out[i] = d.packages[i].Package
	}
	return out
}

// Problems returns the defects that were met so far, each an *owner.Error and
// each once. Everything beside them was read.
func (d *Database) Problems() []error { return d.defects.All() }

// Changelog returns owner.ErrNoChangelog: packages of apk bring none.
func (d *Database) Changelog(owner.Package, string) (owner.Changelog, error) {
	return owner.Changelog{}, owner.ErrNoChangelog
}

// find returns the index of the package of that name, of which a database has
// no more than one.
func (d *Database) find(name string) (int, bool) {
	return slices.BinarySearchFunc(d.packages, name, func(r record, name string) int { return cmp.Compare(r.Name, name) })
}
