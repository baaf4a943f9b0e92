package rpm

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// maxFiles bounds the files of all packages and maxNames their names, in bytes.
	// A desktop has half a million files with names of 10 MB.
	maxFiles = 1 << 21
	maxNames = 64 << 20
	// maxName and maxPath bound a name of a file and of a directory, as the kernel
	// does (NAME_MAX, PATH_MAX).
	maxName = 255
	maxPath = 4096
)

// States of a file (rpm's include/rpm/rpmfiles.h, rpmfileState_e) in which it is not the
// package's that lists it.
const (
	stateReplaced     = 1
	stateNotInstalled = 2
	stateWrongColor   = 4
)

// flagGhost marks a file that the package does not bring (rpmfiles.h, RPMFILE_GHOST).
const flagGhost = 1 << 6

var (
	errLists = errors.New("lists of files do not agree with one another: the files of the package are not all known")
	errFiles = errors.New("files of packages are more than allowed in all: the rest is not known")
)

// listed is one file in the header of its package.
type listed struct {
	place     int    // in the lists of the header
	dir, base []byte // the path is both, one after the other; they lie in the header
	dirIndex  int    // which of the directories dir is
	owned     bool   // false if another package has it, or none was installed
	directory bool
	ghost     bool
}

// listed yields the files that a header lists. The error is that of lists which do not
// agree; what can be told is yielded all the same.
func (h header) listed(yield func(listed) bool) error {
	states, err := h.numbers(tagFileStates)
	if err != nil {
		return err
	}
	modes, err := h.numbers(tagFileModes)
	if err != nil {
		return err
	}
	flags, err := h.numbers(tagFileFlags)
	if err != nil {
		return err
	}
	fill := func(f *listed) {
		switch states.at(f.place) {
		case stateReplaced, stateNotInstalled, stateWrongColor:
		default:
			f.owned = true
		}
		f.directory = modes.at(f.place)&unix.S_IFMT == unix.S_IFDIR
		f.ghost = flags.at(f.place)&flagGhost != 0
	}
	bases, err := h.array(tagBaseNames)
	if err != nil {
		return err
	}
	if bases.count == 0 {
		return h.listedOld(fill, yield)
	}
	dirs, err := h.directories()
	if err != nil {
		return err
	}
	indexes, err := h.numbers(tagDirIndexes)
	if err != nil {
		return err
	}
	if indexes.count != bases.count || indexes.size != 4 {
		return errLists
	}
	n := 0
	for i, base := range bases.all() {
		n++
		at := indexes.at(i)
		if at >= uint64(len(dirs)) {
			err = errLists
			continue
		}
		f := listed{place: i, dir: dirs[at], base: base, dirIndex: int(at)}
		fill(&f)
		if !yield(f) {
			return err
		}
	}
	if n != bases.count {
		err = errLists
	}
	return err
}

// directories returns the directories that a header's files lie in.
func (h header) directories() ([][]byte, error) {
	names, err := h.array(tagDirNames)
	if err != nil {
		return nil, err
	}
	if names.count > maxFiles {
		return nil, errFiles
	}
	out := make([][]byte, 0, min(names.count, 1024))
	for _, dir := range names.all() {
		out = append(out, dir)
	}
	if len(out) != names.count {
		return nil, errLists
	}
	return out, nil
}

// listedOld is listed for packages that list whole paths, as those made before rpm 4
// do.
func (h header) listedOld(fill func(*listed), yield func(listed) bool) error {
	paths, err := h.array(tagOldFileNames)
	if err != nil {
		return err
	}
	n := 0
	for i, p := range paths.all() {
		n++
		cut := bytes.LastIndexByte(p, '/') + 1
		f := listed{place: i, dir: p[:cut], base: p[cut:], dirIndex: -1}
		fill(&f)
		if !yield(f) {
			return nil
		}
	}
	if n != paths.count {
		return errLists
	}
	return nil
}

// indexBuilder gathers the files of all packages.
type indexBuilder struct {
	fileIndex
	number map[string]uint32 // of each directory
	err    error             // why no more are taken
}

func newIndexBuilder() *indexBuilder { return &indexBuilder{number: make(map[string]uint32)} }

// add takes the files that a package owns. The error says which of them it did not.
func (b *indexBuilder) add(pkg uint32, h header) error {
	if b.err != nil {
		return nil // it was told already
	}
	var (
		odd   int               // files with names that no file can have
		known map[int]uint32    // directories of this header
		last  = [2]int64{-1, 0} // the one before, as files of a directory follow one another
	)
	err := h.listed(func(f listed) bool {
		if !f.owned {
			return true
		}
		if len(f.base) > maxName || len(f.dir) > maxPath || len(f.dir) == 0 || f.dir[0] != '/' || f.dir[len(f.dir)-1] != '/' {
			odd++
			return true
		}
		var dir uint32
		switch n, ok := known[f.dirIndex]; {
		case f.dirIndex >= 0 && last[0] == int64(f.dirIndex):
			dir = uint32(last[1])
		case ok:
			dir = n
		default:
			dir = b.directory(f.dir)
			if f.dirIndex >= 0 {
				if known == nil {
					known = make(map[int]uint32)
				}
				known[f.dirIndex] = dir
			}
		}
		last = [2]int64{int64(f.dirIndex), int64(dir)}
		if len(b.entries) == maxFiles || len(b.names)+b.dirBytes+len(f.base) > maxNames {
			b.err = errFiles
			return false
		}
		e := entry{name: uint32(len(b.names)), length: uint8(len(f.base)), dir: dir, pkg: pkg}
		if f.directory {
			e.flags |= entryDirectory
		}
		if f.ghost {
			e.flags |= entryGhost
		}
		b.names = append(b.names, f.base...)
		b.entries = append(b.entries, e)
		return true
	})
	switch {
	case b.err != nil:
		return b.err
	case err != nil:
		return err
	case odd > 0:
		return fmt.Errorf("%w: %d of them", errLists, odd)
	}
	return nil
}

func (b *indexBuilder) directory(dir []byte) uint32 {
	if n, ok := b.number[string(dir)]; ok {
		return n
	}
	n := uint32(len(b.dirs))
	s := string(dir)
	b.number[s] = n
	b.dirs = append(b.dirs, s)
	b.dirBytes += len(s)
	return n
}

// finish makes the index. order is the final number of each package, and later reports
// which of two packages, by final numbers, owns what both list.
func (b *indexBuilder) finish(order []uint32, later func(a, b uint32) bool) fileIndex {
	x := b.fileIndex
	for i := range x.entries {
		x.entries[i].pkg = order[x.entries[i].pkg]
	}
	x.hash(later)
	return x
}
