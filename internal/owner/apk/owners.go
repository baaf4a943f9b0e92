package apk

import (
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

const (
	// maxProviders bounds the answers for one base name.
	maxProviders = 1024
	// maxBase is the longest name that a file can have (NAME_MAX).
	maxBase = 255
)

// Owners returns who shipped each of the paths, which must be absolute and
// free of symbolic links; paths that no package owns are absent, and so are
// directories, which packages of apk share. Directories merged by symbolic
// links are seen through.
//
// Where several packages list a path, the one of which all files were installed
// owns it before one that is broken; then the one that the database names first,
// as apk itself takes it (src/database.c, apk_db_file_get).
func (d *Database) Owners(paths []string) (map[string]owner.Owned, error) {
	out := make(map[string]owner.Owned)
	for _, p := range paths {
		var best *entry
		for _, spelled := range merged.Spellings(p, d.merged) {
			d.lookup(spelled, func(e *entry) {
				if best == nil || d.prefer(e, best) {
					best = e
				}
			})
		}
		if best != nil {
			out[p] = owner.Owned{Package: d.packages[best.pkg].Package, Path: d.pathOf(best)}
		}
	}
	return out, nil
}

// prefer reports whether entry a is better than b.
func (d *Database) prefer(a, b *entry) bool {
	pa, pb := &d.packages[a.pkg], &d.packages[b.pkg]
	if whole := pa.State == owner.StateInstalled; whole != (pb.State == owner.StateInstalled) {
		return whole
	}
	return pa.source == pb.source && a.name < b.name
}

// Providers returns, for each base name (the last element of a path), the
// packages that ship a file or a link of that name, and under which path. It is
// not looked whether the files are there. At most 1,024 are returned for a name,
// more become a Problem.
func (d *Database) Providers(bases []string) (map[string][]owner.Owned, error) {
	out := make(map[string][]owner.Owned)
	wanted := make(map[string]bool, len(bases))
	var lengths [maxBase + 1]bool
	for _, b := range bases {
		if b != "" && len(b) <= maxBase && !strings.ContainsAny(b, "/\n") {
			wanted[b] = true
			lengths[len(b)] = true
		}
	}
	if len(wanted) == 0 {
		return out, nil
	}
	tooMany := false
	for i := range d.files {
		e := &d.files[i]
		name := d.nameOf(e)
		if len(name) > maxBase || !lengths[len(name)] || !wanted[string(name)] {
			continue
		}
		if len(out[string(name)]) == maxProviders {
			tooMany = true
			continue
		}
		out[string(name)] = append(out[string(name)], owner.Owned{Package: d.packages[e.pkg].Package, Path: d.pathOf(e)})
	}
	if tooMany {
		d.defects.Add(owner.Defect(d.packages[0].source.name, -1, errTooMany))
	}
	return out, nil
}
