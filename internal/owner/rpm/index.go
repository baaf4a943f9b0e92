package rpm

import (
	"hash/maphash"
	"math/bits"
)

const (
	entryDirectory = 1 << iota
	entryGhost
)

// entry is one file of one package.
type entry struct {
	name   uint32 // where the last element of its path begins, in the names
	dir    uint32 // the directory
	pkg    uint32 // the package
	length uint8  // of the last element
	flags  uint8
}

// fileIndex finds the package of a path. It holds half a million files in 30 MB. Once
// made it does not change.
type fileIndex struct {
	names    []byte   // last elements of all paths, one after the other
	dirs     []string // directories, each with its slash at the end
	dirBytes int
	entries  []entry
	// table is a hash table with open addressing of the entries that own their paths:
	// in the upper half of each slot what is left of the hash, in the lower one more
	// than the number of the entry. The seed is random, so nobody can prepare paths
	// that collide.
	table []uint64
	seed  maphash.Seed
}

func (x *fileIndex) base(e *entry) []byte { return x.names[e.name : e.name+uint32(e.length)] }

// path is the whole path of an entry.
func (x *fileIndex) path(e *entry) string { return x.dirs[e.dir] + string(x.base(e)) }

// hash fills the table. Of the entries of one path the one of the latest package is in
// it.
func (x *fileIndex) hash(later func(a, b uint32) bool) {
	size := 16
	for size*3/4 < len(x.entries) {
		size *= 2
	}
	x.table, x.seed = make([]uint64, size), maphash.MakeSeed()
	dirs := make([]uint64, len(x.dirs))
	for i, dir := range x.dirs {
		dirs[i] = maphash.String(x.seed, dir)
	}
	for i := range x.entries {
		e := &x.entries[i]
		h := join(dirs[e.dir], maphash.Bytes(x.seed, x.base(e)))
		slot := x.slot(h, x.dirs[e.dir], x.base(e))
		have := x.table[slot]
		if have == 0 || later(e.pkg, x.entries[uint32(have)-1].pkg) {
			x.table[slot] = h>>32<<32 | uint64(i+1)
		}
	}
}

// join makes one hash of those of a directory and of a name in it.
func join(dir, base uint64) uint64 {
	h := (dir ^ bits.RotateLeft64(base, 32)) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// slot returns the place in the table where the path with the hash h is, or else
// belongs.
func (x *fileIndex) slot(h uint64, dir string, base []byte) uint64 {
	mask := uint64(len(x.table) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		n := x.table[at]
		if n == 0 {
			return at
		}
		if n>>32 != h>>32 {
			continue
		}
		if e := &x.entries[uint32(n)-1]; x.dirs[e.dir] == dir && string(x.base(e)) == string(base) {
			return at
		}
	}
}

// find returns the entry that owns the path made of dir, which ends in a slash, and
// base.
func (x *fileIndex) find(dir, base string) (*entry, bool) {
	if len(x.table) == 0 {
		return nil, false
	}
	h := join(maphash.String(x.seed, dir), maphash.String(x.seed, base))
	n := x.table[x.slot(h, dir, []byte(base))]
	if n == 0 {
		return nil, false
	}
	return &x.entries[uint32(n)-1], true
}
