package pacman

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxList bounds one file list, in bytes; the largest of Arch Linux have
	// some 3 MB.
	maxList = 64 << 20
	// maxFiles bounds the files of one root, 16 bytes of memory each.
	maxFiles = 1 << 23
	// maxPath bounds a path, in bytes (PATH_MAX).
	maxPath = 4096
)

var (
	errPath    = errors.New("line is not a clean path relative to the root")
	errNoLists = errors.New("not one file list could be read")
	errUnnamed = errors.New("list names no file, and mtree does: the list is lost")
)

// index finds the packages of a path by its hash. The seed of the hashes is not
// known to who makes a database, so that of 64 bits no two paths of a root share
// all.
type index struct {
	seed  maphash.Seed
	files []entry // by hash
}

// entry is one file of a package; directories, which packages share, have none.
type entry struct {
	hash uint64 // of the path relative to the root
	base uint32 // some of the hash of its last element
	pkg  uint32
}

// load reads all file lists, once.
func (d *Database) load() error {
	d.indexOnce.Do(func() { d.indexErr = d.readLists() })
	return d.indexErr
}

func (d *Database) readLists() error {
	d.index.seed = maphash.MakeSeed()
	var last error
	read := 0
	for i := range d.packages {
		r := &d.packages[i]
		size, err := d.readList(r, func(path []byte) bool {
			if len(d.index.files) == maxFiles {
				return false
			}
			d.index.add(path, uint32(i))
			return true
		})
		if err != nil {
			last = err
			continue
		}
		read++
		if len(d.index.files) == maxFiles {
			d.defects.Add(owner.Defect(r.dir+"files", -1, errTooMany))
			break
		}
		if size == 0 {
			d.checkUnnamed(r)
		}
	}
	slices.SortFunc(d.index.files, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	if read == 0 && last != nil {
		return fmt.Errorf("%w: %w", errNoLists, last)
	}
	return nil
}

func (x *index) add(path []byte, pkg uint32) {
	base := path[bytes.LastIndexByte(path, '/')+1:]
	x.files = append(x.files, entry{
		hash: maphash.Bytes(x.seed, path),
		base: uint32(maphash.Bytes(x.seed, base)),
		pkg:  pkg,
	})
}

// readList calls visit with the files of a package, relative to the root, until it
// returns false, and returns the size of the list. Defects are told; the error says
// that there is no list.
func (d *Database) readList(r *record, visit func(path []byte) bool) (size int, err error) {
	name := r.dir + "files"
	content, err := d.root.ReadFile(name, maxList)
	if err != nil {
		err := owner.Defect(name, -1, err)
		d.defects.Add(err)
		return 0, err
	}
	parseFiles(name, content, func(err *owner.Error) { d.defects.Add(err) }, visit)
	return len(content), nil
}

// parseFiles calls visit with each path of a files file that is not a directory,
// which ends in a slash there.
func parseFiles(name string, content []byte, report func(*owner.Error), visit func(path []byte) bool) {
	for s := range sections(name, content, report) {
		if string(s.name) != "FILES" {
			continue
		}
		for off, line := range s.lines {
			switch {
			case !cleanRelative(bytes.TrimSuffix(line, []byte("/"))):
				report(owner.Defect(name, int64(off), errPath))
			case line[len(line)-1] == '/':
			case !visit(line):
				return
			}
		}
	}
}

// checkUnnamed tells of a package with an empty list of which mtree lists files:
// that is what is left of a list that was cut off at its beginning. A package
// without files has an empty list, too.
func (d *Database) checkUnnamed(r *record) {
	m, err := d.openMtree(r)
	if err != nil {
		return // not even that is known
	}
	defer m.Close()
	for {
		e, err := m.next()
		if err != nil {
			return
		}
		if e.kind != "dir" && !strings.HasPrefix(e.path, ".") {
			d.defects.Add(owner.Defect(r.dir+"files", 0, errUnnamed))
			return
		}
	}
}

// cleanRelative reports whether a path is names joined by single slashes, none of
// them "." or "..".
func cleanRelative(path []byte) bool {
	if len(path) > maxPath || bytes.IndexByte(path, 0) >= 0 {
		return false
	}
	for len(path) > 0 {
		name := path
		end := bytes.IndexByte(path, '/')
		if end >= 0 {
			name = path[:end]
		}
		if len(name) == 0 || string(name) == "." || string(name) == ".." {
			return false
		}
		if end < 0 {
			return true
		}
		path = path[end+1:]
	}
	return false
}
