package track

import (
	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// identity is what stays equal while a file is mapped.
type identity struct {
	key uint64
	id  file.ID
}

func identityOf(f *snapshot.File) identity { return identity{f.Key, f.ID} }

// same says that two values mean one file. An event's source may not know keys.
func same(a, b *snapshot.File) bool {
	switch {
	case a == b:
		return true
	case a.ID != b.ID:
		return false
	case a.ID == file.ID{}:
		return a.Path != "" && a.Path == b.Path
	}
	return a.Key == b.Key || a.Key == 0 || b.Key == 0
}

// files holds one value for each file that is mapped: the newest, as change times
// and sizes move on while a file is mapped.
type files struct {
	known map[identity]known
	// limit is the number of files at which those not used are looked for.
	limit int
	// names is how many bytes of names may still be kept.
	names, budget int
}

type known struct {
	file *snapshot.File
	name string // of the last event that told one
}

const (
	// minFiles is how many files are known before those not used are looked for.
	minFiles = 1024
	// nameShare is how many bytes of names are kept for each load that may be:
	// names repeat with files.
	nameShare = 8
)

func newFiles(loads int) files {
	return files{known: make(map[identity]known), limit: minFiles, names: loads * nameShare, budget: loads * nameShare}
}

// intern returns the one pointer for a file, and notes what the kernel called it,
// if that is told.
func (t *files) intern(f *snapshot.File, name string) *snapshot.File {
	id := identityOf(f)
	k := t.known[id]
	// It may tell less than is known, not something else.
	less := k.file != nil && f.Ctime == 0 && f.Size == 0 && (f.Path == "" || f.Path == k.file.Path)
	if k.file != nil && (less || *k.file == *f) && (name == "" || name == k.name) {
		return k.file
	}
	if !less && (k.file == nil || *k.file != *f) {
		k.file = f
	}
	if name != "" && name != k.name {
		t.names += len(k.name)
		if k.name = name; len(name) > t.names {
			k.name = ""
		}
		t.names -= len(k.name)
	}
	t.known[id] = k
	return k.file
}

func (t *files) crowded() bool { return len(t.known) > t.limit }

// sweep forgets the files that no process has mapped.
func (t *files) sweep(processes map[int]*process) {
	kept := make(map[identity]known)
	t.names = t.budget
	for _, p := range processes {
		for i := range p.Mappings {
			id := identityOf(p.Mappings[i].File)
			if _, ok := kept[id]; ok {
				continue
			}
			k, ok := t.known[id]
			if !ok {
				k.file = p.Mappings[i].File
			}
			t.names -= len(k.name)
			kept[id] = k
		}
	}
	t.known = kept
	t.limit = 2*len(kept) + minFiles
}
