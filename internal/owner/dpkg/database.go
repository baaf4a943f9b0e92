// Package dpkg reads the package database of Debian and its derivatives in any
// root: which package owns a file, what content it recorded, what was
// installed when, and what a new version changed.
//
// The files it reads and what describes them:
//
//	var/lib/dpkg/status, updates/*   deb-control(5) stanzas, dpkg(1)
//	var/lib/dpkg/status.d/*          one stanza a file, as distroless images have it
//	var/lib/dpkg/info/*.list         paths of a package, one a line (lib/dpkg/db-fsys-files.c)
//	var/lib/dpkg/info/*.md5sums      deb-md5sums(5)
//	var/lib/dpkg/diversions          dpkg-divert(1) (lib/dpkg/db-fsys-divert.c)
//	var/log/dpkg.log*                dpkg(1), section "FILES"
//	usr/share/doc/*/changelog*       deb-changelog(5), Debian Policy 4.4 and 12.7
package dpkg

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

const (
	admin = "var/lib/dpkg/"
	// maxStatus bounds a status file; a machine with every package of Debian
	// installed stays below it.
	maxStatus = 64 << 20
	// maxStanza bounds a file of status.d or updates, each one stanza long.
	maxStanza = 1 << 20
	// maxPackages bounds the packages of one root; Debian has some 70,000.
	maxPackages = 1 << 17
	// maxNames bounds the entries of a directory that are looked at.
	maxNames = 1 << 17
)

// errEmpty says that nothing is installed, which where a file is of a package at all is
// what is left of a database that was lost.
var errEmpty = errors.New("there is no package in it")

// errOrphan says that a package has files and no stanza.
var errOrphan = errors.New("file list of a package that has no stanza: the database is not whole")

// errTooMany says that a root has more of something than is looked at.
var errTooMany = errors.New("too many entries: the rest is ignored")

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

// Database is the dpkg database of one root as it stood when it was opened;
// file lists, checksums, logs and changelogs are read when asked for. It is
// safe for concurrent use.
type Database struct {
	root       Root
	packages   []record // those that may own files
	diversions []diversion
	merged     []merged.Alias
	defects    owner.Defects
	lookup     lookup
	named      map[string]bool // packages that have a stanza, in whatever state
	orphans    sync.Once

	historyOnce sync.Once
	changes     []owner.Change
	historyErr  error
}

// Open reads the database of root, which must stay open for as long as the
// Database is used. The error is owner.ErrNoDatabase if the root has neither a
// status file nor a status.d directory, and an *owner.Error if what it has
// cannot be read at all; lesser damage is told by Problems.
func Open(root Root) (*Database, error) {
	d := &Database{root: root, defects: owner.Defects{Database: admin}}
	var s stanzas
	found, err := d.readStatus(&s)
	if err != nil {
		return nil, err
	}
	foundDir, err := d.readStatusDir(&s)
	if err != nil {
		if !found {
			return nil, err
		}
		d.defects.Add(err)
	}
	if !found && !foundDir {
		return nil, owner.ErrNoDatabase
	}
	d.named = make(map[string]bool, len(s.records))
	for _, r := range s.records {
		d.named[r.Name] = true
	}
	if d.packages = s.owning(); len(d.packages) == 0 {
		d.defects.Add(owner.Defect(admin+"status", 0, errEmpty))
	}
	if err := d.readDiversions(); err != nil {
		d.defects.Add(err)
	}
	d.merged = merged.Directories(root, mergeable())
	return d, nil
}

// Packages returns the packages that may have files in the root, in the order
// of name and architecture. Those in state config-files or not-installed are
// not among them.
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

// readStatus reads the status file and then, as dpkg itself does, the stanzas
// in updates, which a dpkg that runs or died has not merged yet
// (lib/dpkg/dbmodify.c, cleanupdates).
func (d *Database) readStatus(s *stanzas) (found bool, err error) {
	name := admin + "status"
	content, err := d.root.ReadFile(name, maxStatus)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, owner.Defect(name, -1, err)
	}
	d.parseStanzas(s, content, source{file: name})

	names, err := d.list(admin + "updates")
	if err != nil {
		d.defects.Add(err)
		return true, nil
	}
	for _, n := range names {
		if strings.Trim(n, "0123456789") != "" {
			continue
		}
		name := admin + "updates/" + n
		content, err := d.root.ReadFile(name, maxStanza)
		if errors.Is(err, fs.ErrNotExist) {
			continue // merged meanwhile
		}
		if err != nil {
			d.defects.Add(owner.Defect(name, -1, err))
			continue
		}
		d.parseStanzas(s, content, source{file: name, override: true})
	}
	return true, nil
}

// readStatusDir reads status.d, where distroless images keep a control file
// for each package, without a Status field.
func (d *Database) readStatusDir(s *stanzas) (found bool, err error) {
	dir := admin + "status.d"
	if _, err := d.root.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	names, err := d.list(dir)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".md5sums") {
			continue
		}
		name := dir + "/" + n
		content, err := d.root.ReadFile(name, maxStanza)
		if err != nil {
			d.defects.Add(owner.Defect(name, -1, err))
			continue
		}
		d.parseStanzas(s, content, source{file: name, control: true})
	}
	return true, nil
}

func (d *Database) parseStanzas(s *stanzas, content []byte, src source) {
	for err := range s.parse(content, src) {
		d.defects.Add(err)
	}
}

func (d *Database) readDiversions() error {
	name := admin + "diversions"
	content, err := d.root.ReadFile(name, maxStatus)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return owner.Defect(name, -1, err)
	}
	d.diversions, err = parseDiversions(name, bytes.NewReader(content))
	return err
}

// list returns the sorted names in a directory, none if there is no such one.
func (d *Database) list(dir string) ([]string, error) {
	names, err := d.root.ReadDir(dir, maxNames)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, owner.Defect(dir, -1, err)
	}
	if len(names) == maxNames {
		d.defects.Add(owner.Defect(dir, -1, errTooMany))
	}
	slices.Sort(names)
	return names, nil
}

// findOrphans looks for file lists without a stanza, and tells of the first: status was
// cut short, or put back from a time before.
func (d *Database) findOrphans() {
	names, err := d.list(admin + "info")
	if err != nil {
		d.defects.Add(err)
		return
	}
	for _, n := range names {
		stem, ok := strings.CutSuffix(n, ".list")
		if !ok {
			continue
		}
		if name, _, _ := strings.Cut(stem, ":"); !d.named[name] {
			d.defects.Add(owner.Defect(admin+"info/"+n, -1, errOrphan))
			return
		}
	}
}

// find returns the record of a package that Packages returned.
func (d *Database) find(name, arch string) (*record, bool) {
	i, ok := slices.BinarySearchFunc(d.packages, name, func(r record, name string) int {
		return cmp.Or(cmp.Compare(r.Name, name), cmp.Compare(r.Arch, arch))
	})
	if !ok {
		return nil, false
	}
	return &d.packages[i], true
}
