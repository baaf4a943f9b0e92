package pacman

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

// maxProviders bounds the answers for one base name.
const maxProviders = 1024

// Owners returns who shipped each of the paths, which must be absolute and
// free of symbolic links; paths that no package owns are absent, and so are
// directories, which packages share. Directories merged by symbolic links are seen
// through. Where several packages list a path, which pacman allows only if it is
// forced, the one that was installed last owns it.
//
// Lists that cannot be read become Problems; the error says that none could
// be, so that nothing is known.
func (d *Database) Owners(paths []string) (map[string]owner.Owned, error) {
	if err := d.load(); err != nil {
		return nil, err
	}
	out := make(map[string]owner.Owned)
	for _, p := range paths {
		var best *record
		var spelling string
		for _, spelled := range merged.Spellings(p, d.merged) {
			for _, e := range d.index.lookup(spelled) {
				if r := &d.packages[e.pkg]; best == nil || r.installed > best.installed {
					best, spelling = r, spelled
				}
			}
		}
		if best != nil {
			out[p] = owner.Owned{Package: best.Package, Path: spelling}
		}
	}
	return out, nil
}

// lookup returns the entries of a path, which begins with a slash, in the order of
// packages.
func (x *index) lookup(path string) []entry {
	if len(path) < 2 || path[0] != '/' {
		return nil
	}
	hash := maphash.String(x.seed, path[1:])
	from, _ := slices.BinarySearchFunc(x.files, hash, func(e entry, hash uint64) int { return cmp.Compare(e.hash, hash) })
	until := from
	for until < len(x.files) && x.files[until].hash == hash {
		until++
	}
	found := x.files[from:until]
	if len(found) > 1 {
		found = slices.Clone(found)
		slices.SortFunc(found, func(a, b entry) int { return cmp.Compare(a.pkg, b.pkg) })
	}
	return found
}

// Providers returns, for each base name (the last element of a path), the
// packages that ship a file or a link of that name, and under which path. It is
// not looked whether the files are there. At most 1,024 are returned for a name,
// more become a Problem; lists that cannot be read are told as by Owners.
func (d *Database) Providers(bases []string) (map[string][]owner.Owned, error) {
	if err := d.load(); err != nil {
		return nil, err
	}
	out := make(map[string][]owner.Owned)
	wanted := make(map[string]bool, len(bases))
	hashes := make(map[uint32]bool, len(bases))
	for _, b := range bases {
		if b != "" && !strings.Contains(b, "/") {
			wanted[b] = true
			hashes[uint32(maphash.String(d.index.seed, b))] = true
		}
	}
	if len(wanted) == 0 {
		return out, nil
	}
	have := make(map[uint32]bool)
	for _, e := range d.index.files {
		if hashes[e.base] {
			have[e.pkg] = true
		}
	}
	tooMany := false
	for i := range d.packages {
		if !have[uint32(i)] {
			continue
		}
		r := &d.packages[i]
		// The error has become a Problem.
		_, _ = d.readList(r, func(path []byte) bool {
			base := string(path[bytes.LastIndexByte(path, '/')+1:])
			switch {
			case !wanted[base]:
			case len(out[base]) == maxProviders:
				tooMany = true
			default:
				out[base] = append(out[base], owner.Owned{Package: r.Package, Path: "/" + string(path)})
			}
			return true
		})
	}
	if tooMany {
		d.defects.Add(owner.Defect(local, -1, errTooMany))
	}
	return out, nil
}
