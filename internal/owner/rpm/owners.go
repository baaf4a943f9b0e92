package rpm

import (
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

// maxProviders bounds the answers for one base name.
const maxProviders = 1024

// Owners returns who shipped each of the paths, which must be absolute and free of
// symbolic links; paths that no package owns are absent. Directories merged by symbolic
// links are seen through. Files that rpm did not install, or that another package has
// replaced, are not the package's that lists them.
//
// Several packages may share a file, and all directories: the one that was installed
// last has it. What rpm calls a ghost, a file that the package names but does not
// bring, is owned too.
//
// Packages whose files are not known are Problems; the error is always nil.
func (d *Database) Owners(paths []string) (map[string]owner.Owned, error) {
	out := make(map[string]owner.Owned)
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") {
			continue
		}
		var best *entry
		for _, spelled := range merged.Spellings(p, d.merged) {
			cut := strings.LastIndexByte(spelled, '/') + 1
			e, ok := d.files.find(spelled[:cut], spelled[cut:])
			if !ok || best != nil && !d.packages[e.pkg].later(&d.packages[best.pkg]) {
				continue
			}
			best = e
			out[p] = owner.Owned{Package: d.packages[e.pkg].Package, Path: spelled}
		}
	}
	return out, nil
}

// Providers returns, for each base name (the last element of a path), the packages that
// ship something of that name which is not a directory, and under which path. It is not
// looked whether the files are there. At most 1,024 are returned for a name, more become
// a Problem; the error is always nil.
func (d *Database) Providers(bases []string) (map[string][]owner.Owned, error) {
	out := make(map[string][]owner.Owned)
	wanted := make(map[string]bool, len(bases))
	for _, b := range bases {
		if b != "" && !strings.Contains(b, "/") {
			wanted[b] = true
		}
	}
	if len(wanted) == 0 {
		return out, nil
	}
	for i := range d.files.entries {
		e := &d.files.entries[i]
		if e.flags != 0 || !wanted[string(d.files.base(e))] {
			continue
		}
		base := string(d.files.base(e))
		if len(out[base]) == maxProviders {
			d.defects.Add(owner.Defect(d.name, -1, errTooMany))
			continue
		}
		out[base] = append(out[base], owner.Owned{Package: d.packages[e.pkg].Package, Path: d.files.path(e)})
	}
	return out, nil
}
