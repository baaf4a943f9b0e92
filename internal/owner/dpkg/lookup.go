package dpkg

import (
	"hash/maphash"
	"slices"
	"sort"
	"sync"

	"github.com/patchsensor/patchsensor/internal/file"
)

// lookup says which packages may list a path, so that only their lists are read. It is
// made at the second question: who asks once is answered by one pass over all lists.
type lookup struct {
	mu    sync.Mutex
	asked bool
	seed  maphash.Seed
	// entries are the hashes of all listed paths with the number of the package below,
	// 32 bits each, sorted; nil until made.
	entries []uint64
	// stamps are of the directories of the lists when entries were made: dpkg puts lists
	// there by renaming.
	stamps [2]stamp
	// off says that not all lists could be read, or that there are too many.
	off bool
}

type stamp struct {
	id    file.ID
	ctime int64
}

// maxLookup bounds the entries, of 8 bytes each.
const maxLookup = 4 << 20

// candidates returns the packages that may list one of the paths, which have no leading
// slash; false if all may.
func (d *Database) candidates(paths map[string][]meaning) (map[*record]bool, bool) {
	x := &d.lookup
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.asked || x.off {
		x.asked = true
		return nil, false
	}
	if stamps := d.stamps(); x.entries == nil || stamps != x.stamps {
		if x.stamps = stamps; !d.makeLookup() {
			x.entries, x.off = nil, true
			return nil, false
		}
	}
	some := make(map[*record]bool)
	for p := range paths {
		hash := maphash.String(x.seed, p) >> 32
		i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i]>>32 >= hash })
		for ; i < len(x.entries) && x.entries[i]>>32 == hash; i++ {
			some[&d.packages[uint32(x.entries[i])]] = true
		}
	}
	return some, true
}

// drop gives the index up.
func (x *lookup) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries, x.off = nil, true
}

func (d *Database) stamps() (s [2]stamp) {
	for i, dir := range [...]string{admin + "info", admin + "status.d"} {
		if info, err := d.root.Stat(dir); err == nil {
			s[i] = stamp{info.ID, info.Ctime.UnixNano()}
		}
	}
	return s
}

// makeLookup reads all lists, and reports whether that can be relied on.
func (d *Database) makeLookup() bool {
	x := &d.lookup
	x.seed, x.entries = maphash.MakeSeed(), make([]uint64, 0, 64<<10)
	numbers := make(map[*record]uint64, len(d.packages))
	for i := range d.packages {
		numbers[&d.packages[i]] = uint64(i)
	}
	defects := len(d.defects.All())
	err := d.eachList(nil, func(r *record, l list) {
		number := numbers[r]
		l.scan(nil, func(path []byte) {
			if len(x.entries) < maxLookup {
				x.entries = append(x.entries, maphash.Bytes(x.seed, path)&^(1<<32-1)|number)
			}
		})
	})
	if err != nil || len(x.entries) == maxLookup || len(d.defects.All()) != defects {
		return false
	}
	slices.Sort(x.entries)
	x.entries = slices.Clip(x.entries)
	// What changed meanwhile may be seen in part.
	return d.stamps() == x.stamps
}
