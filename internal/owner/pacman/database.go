// Package pacman reads the package database of Arch Linux and its relatives in
// any root: which package owns a file, what content it recorded, what was
// installed when, and what a new version changed.
//
// The files it reads and what describes them:
//
//	var/lib/pacman/local/ALPM_DB_VERSION    the format's version (lib/libalpm/be_local.c, local_db_validate)
//	var/lib/pacman/local/*/desc, files      one directory a package (be_local.c, local_db_read and _alpm_local_db_write)
//	var/lib/pacman/local/*/mtree            mtree(5), gzipped: what makepkg(8) recorded of the files
//	var/lib/pacman/local/*/changelog        as the packager wrote it (PKGBUILD(5), changelog)
//	var/lib/pacman/db.lck                   lib/libalpm/handle.c, _alpm_handle_lock
//	var/log/pacman.log                      lib/libalpm/log.c, add.c, remove.c and trans.c
package pacman

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

const (
	local = "var/lib/pacman/local/"
	// maxPackages bounds the entries of the database that are looked at; Arch
	// Linux has some 15,000 packages.
	maxPackages = 1 << 17
	// maxVersionFile bounds ALPM_DB_VERSION, in bytes.
	maxVersionFile = 1 << 10
	// formatVersion is the version of the format since pacman 4.2.
	formatVersion = "9"
)

var (
	errTooMany = errors.New("too many entries: the rest is ignored")
	errFormat  = errors.New("version of the format is not " + formatVersion)
	errEmpty   = errors.New("database has no package")
	errTwice   = errors.New("another entry of the same package was installed later: this one is ignored")
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

// Database is the pacman database of one root as it stood when it was opened;
// file lists are read when a file is first asked for and kept as an index, and
// checksums, log and changelogs are read when asked for. It is safe for concurrent
// use.
type Database struct {
	root     Root
	packages []record // by name
	merged   []merged.Alias
	defects  owner.Defects

	indexOnce sync.Once
	index     index
	indexErr  error

	historyOnce sync.Once
	changes     []owner.Change
	historyErr  error
}

// record is a package and its entry in the database.
type record struct {
	owner.Package
	dir       string // relative to the root, with a slash at the end
	installed int64  // seconds since 1970, 0 if not known
}

// Open reads the database of root, which must stay open for as long as the
// Database is used. The error is owner.ErrNoDatabase if the root has none, and
// an *owner.Error if what it has cannot be read at all; lesser damage is told by
// Problems. A package whose entry has no desc yet is being installed, or was when
// pacman died: nothing is known of its files.
func Open(root Root) (*Database, error) {
	d := &Database{root: root, defects: owner.Defects{Database: local}}
	// A file beside the entries may be there as well.
	names, err := root.ReadDir(local, maxPackages)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, owner.ErrNoDatabase
	}
	if err != nil {
		return nil, owner.Defect(local, -1, err)
	}
	if len(names) == maxPackages {
		d.defects.Add(owner.Defect(local, -1, errTooMany))
	}
	if err := checkFormat(root); err != nil {
		d.defects.Add(err)
	}
	slices.Sort(names)
	for _, n := range names {
		if n == "ALPM_DB_VERSION" {
			continue
		}
		d.readEntry(n)
	}
	d.dropOlder()
	if len(d.packages) == 0 {
		d.defects.Add(owner.Defect(local, -1, errEmpty))
	}
	d.merged = merged.Directories(root, mergeable())
	return d, nil
}

func checkFormat(root Root) error {
	name := local + "ALPM_DB_VERSION"
	content, err := root.ReadFile(name, maxVersionFile)
	if err != nil {
		return owner.Defect(name, -1, err)
	}
	if string(bytes.TrimSpace(content)) != formatVersion {
		return owner.Defect(name, 0, errFormat)
	}
	return nil
}

// readEntry reads one entry of the database.
func (d *Database) readEntry(entry string) {
	dir := local + entry + "/"
	name, version, ok := splitEntry(entry)
	if !ok {
		d.defects.Add(owner.Defect(local+entry, -1, errEntry))
		return
	}
	content, err := d.root.ReadFile(dir+"desc", maxDesc)
	if err != nil {
		d.defects.Add(owner.Defect(dir+"desc", -1, err))
		return
	}
	r := record{
		Package: owner.Package{Manager: "pacman", Name: name, Version: version, Source: name, SourceVersion: version, State: owner.StateInstalled},
		dir:     dir,
	}
	for _, err := range parseDesc(dir+"desc", content, &r) {
		d.defects.Add(err)
	}
	d.packages = append(d.packages, r)
}

// dropOlder sorts the packages by name and keeps, of those with several entries,
// the one that was installed last.
func (d *Database) dropOlder() {
	slices.SortStableFunc(d.packages, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.installed, a.installed))
	})
	d.packages = slices.CompactFunc(d.packages, func(a, b record) bool {
		if a.Name == b.Name {
			d.defects.Add(owner.Defect(b.dir, -1, errTwice))
		}
		return a.Name == b.Name
	})
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

// find returns the record of a package that Packages returned.
func (d *Database) find(p owner.Package) (*record, bool) {
	i, ok := slices.BinarySearchFunc(d.packages, p.Name, func(r record, name string) int { return cmp.Compare(r.Name, name) })
	if !ok || d.packages[i].Arch != p.Arch {
		return nil, false
	}
	return &d.packages[i], true
}
