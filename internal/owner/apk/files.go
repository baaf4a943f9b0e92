package apk

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
)

// entry is one file of a package: 24 bytes for each, as the names stay in the
// content of the database.
type entry struct {
	hash uint64 // of its path
	dir  uint32 // offset of its directory in the source of its package
	name uint32 // offset of its name there
	pkg  uint32 // its package
}

// hasher hashes paths with a seed that who makes a database cannot know.
type hasher struct{ seed maphash.Seed }

func newHasher() hasher { return hasher{maphash.MakeSeed()} }

func (h hasher) dir(dir []byte) uint64 { return maphash.Bytes(h.seed, dir) }

func (h hasher) file(dir uint64, name []byte) uint64 {
	return dir*0x9e3779b97f4a7c15 ^ maphash.Bytes(h.seed, name)
}

// dirOf and nameOf return the two parts of a file's path.
func (d *Database) dirOf(e *entry) []byte {
	return lineAt(d.packages[e.pkg].source.content, int(e.dir))
}

func (d *Database) nameOf(e *entry) []byte {
	return lineAt(d.packages[e.pkg].source.content, int(e.name))
}

// pathOf returns the path of a file.
func (d *Database) pathOf(e *entry) string {
	dir := d.dirOf(e)
	if len(dir) == 0 {
		return "/" + string(d.nameOf(e))
	}
	return "/" + string(dir) + "/" + string(d.nameOf(e))
}

// lookup calls visit with every file of the path, which begins with a slash.
func (d *Database) lookup(path string, visit func(*entry)) {
	if len(path) < 2 || path[0] != '/' {
		return
	}
	i := strings.LastIndexByte(path, '/')
	dir, name := []byte(path[min(1, i):i]), []byte(path[i+1:])
	hash := d.seed.file(d.seed.dir(dir), name)
	at, _ := slices.BinarySearchFunc(d.files, hash, func(e entry, hash uint64) int { return cmp.Compare(e.hash, hash) })
	for ; at < len(d.files) && d.files[at].hash == hash; at++ {
		if e := &d.files[at]; bytes.Equal(d.dirOf(e), dir) && bytes.Equal(d.nameOf(e), name) {
			visit(e)
		}
	}
}
