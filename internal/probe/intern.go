package probe

import (
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// recent remembers values by key, the last ones that were asked for: two
// generations of at most limit each.
type recent[K comparable, V any] struct {
	limit      int
	young, old map[K]V
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{limit: limit, young: make(map[K]V)}
}

// put makes key a young one.
func (r *recent[K, V]) put(key K, value V) {
	if len(r.young) >= r.limit {
		r.old, r.young = r.young, make(map[K]V)
	}
	r.young[key] = value
}

// internedFiles and internedNames bound what a flood of distinct files and names
// can take: some 3 MiB and, as names have up to 256 bytes, 2 MiB.
const (
	internedFiles = 8 << 10
	internedNames = 4 << 10
)

// interner gives out one object for all that is equal, as long as it is asked for.
type interner struct {
	files recent[snapshot.File, *snapshot.File]
	names recent[string, string]
}

func newInterner() interner {
	return interner{newRecent[snapshot.File, *snapshot.File](internedFiles), newRecent[string, string](internedNames)}
}

func (i *interner) file(f snapshot.File) *snapshot.File {
	if p := i.files.young[f]; p != nil {
		return p
	}
	p := i.files.old[f]
	if p == nil {
		p = new(snapshot.File)
		*p = f
	}
	i.files.put(f, p)
	return p
}

func (i *interner) name(b []byte) string {
	if s, ok := i.names.young[string(b)]; ok {
		return s
	}
	s, ok := i.names.old[string(b)]
	if !ok {
		s = string(b)
	}
	i.names.put(s, s)
	return s
}
