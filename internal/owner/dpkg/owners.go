package dpkg

import (
	"bytes"
	"path"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

// maxProviders bounds the answers for one base name.
const maxProviders = 1024

// meaning is one way in which a line of a file list can mean a wanted path.
type meaning struct {
	path     string     // the canonical path that was asked for
	diverted *diversion // of the line's path, nil if it is not diverted
	moved    bool       // the wanted path is where the diversion leads to
}

// holds reports whether the line means the path when pkg is what lists it.
func (m meaning) holds(pkg string) bool {
	if m.diverted == nil {
		return true
	}
	own := m.diverted.by != "" && m.diverted.by == pkg
	return own != m.moved
}

// meanings maps the lines to look for, without leading slash, to what they can
// mean. That is lib/dpkg's namenodetouse, run backwards.
func (d *Database) meanings(paths []string, wanted *tails) map[string][]meaning {
	from := make(map[string]*diversion, len(d.diversions))
	to := make(map[string]*diversion, len(d.diversions))
	for i := range d.diversions {
		v := &d.diversions[i]
		from[v.from], to[v.to] = v, v
	}
	out := make(map[string][]meaning, len(paths))
	add := func(spelled string, m meaning) {
		line := spelled[1:]
		wanted.add(line)
		out[line] = append(out[line], m)
	}
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") || len(p) == 1 {
			continue
		}
		for _, spelled := range merged.Spellings(p, d.merged) {
			add(spelled, meaning{path: p, diverted: from[spelled]})
			if v := to[spelled]; v != nil {
				add(v.from, meaning{path: p, diverted: v, moved: true})
			}
		}
	}
	return out
}

// claim is a package that lists a path.
type claim struct {
	by   *record
	path string // as listed, with its slash
}

// Owners returns who shipped each of the paths, which must be absolute and
// free of symbolic links; paths that no package owns are absent. Directories
// merged by symbolic links and diversions are seen through.
//
// Where several packages list a path (an interrupted Replaces, or the same
// file in two architectures), the one whose files match its version best owns
// it: installed before unpacked or half-configured before half-installed; then
// the one that recorded a checksum for it; then the first by name and
// architecture.
//
// Lists that cannot be read become Problems; the error says that none could
// be, so that nothing is known.
func (d *Database) Owners(paths []string) (map[string]owner.Owned, error) {
	var wanted tails
	mean := d.meanings(paths, &wanted)
	out := make(map[string]owner.Owned)
	if len(mean) == 0 {
		return out, nil
	}
	claims := make(map[string][]claim)
	some, ok := d.candidates(mean)
	if !ok {
		some = nil
	}
	if some == nil {
		d.orphans.Do(d.findOrphans)
	}
	err := d.eachList(some, func(r *record, l list) {
		l.scan(&wanted, func(line []byte) {
			for _, m := range mean[string(line)] {
				if !m.holds(r.Name) {
					continue
				}
				if have := claims[m.path]; len(have) == 0 || have[len(have)-1].by != r {
					claims[m.path] = append(have, claim{r, "/" + string(line)})
				}
			}
		})
	})
	if err != nil && some != nil {
		// The lists changed under the index.
		d.lookup.drop()
		return d.Owners(paths)
	}
	if err != nil {
		return nil, err
	}
	for p, cs := range claims {
		best := cs[0]
		for _, c := range cs[1:] {
			if d.prefer(c, best) {
				best = c
			}
		}
		out[p] = owner.Owned{Package: best.by.Package, Path: best.path}
	}
	return out, nil
}

// prefer reports whether claim a is better than b.
func (d *Database) prefer(a, b claim) bool {
	if ra, rb := rank(a.by.State), rank(b.by.State); ra != rb {
		return ra > rb
	}
	return d.recorded(a) && !d.recorded(b)
}

func rank(state string) int {
	switch state {
	case owner.StateInstalled:
		return 3
	case "unpacked", "half-configured":
		return 2
	case "half-installed":
		return 1
	}
	return 0
}

func (d *Database) recorded(c claim) bool {
	_, ok, err := d.Checksum(owner.Owned{Package: c.by.Package, Path: c.path})
	return ok && err == nil
}

// Providers returns, for each base name (the last element of a path), the
// packages that ship something of that name which is not a directory with
// content, and under which path. Diversions are not applied, and it is not
// looked whether the files are there. At most 1,024 are returned for a name,
// more become a Problem; lists that cannot be read are told as by Owners.
func (d *Database) Providers(bases []string) (map[string][]owner.Owned, error) {
	var wanted tails
	out := make(map[string][]owner.Owned)
	names := make(map[string]bool, len(bases))
	for _, b := range bases {
		if b != "" && !strings.Contains(b, "/") {
			wanted.add(b)
			names[b] = true
		}
	}
	if len(names) == 0 {
		return out, nil
	}
	var found []string
	tooMany := false
	err := d.eachList(nil, func(r *record, l list) {
		found = found[:0]
		l.scan(&wanted, func(line []byte) {
			switch {
			case !names[string(line[bytes.LastIndexByte(line, '/')+1:])]:
			case len(found) == maxProviders:
				tooMany = true
			default:
				found = append(found, "/"+string(line))
			}
		})
		parents := l.parents(found)
		for _, p := range found {
			base := path.Base(p)
			switch {
			case parents[p]:
			case len(out[base]) == maxProviders:
				tooMany = true
			default:
				out[base] = append(out[base], owner.Owned{Package: r.Package, Path: p})
			}
		}
	})
	if tooMany {
		d.defects.Add(owner.Defect(admin+"info", -1, errTooMany))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// parents returns those of the paths that are directories of another line.
func (l list) parents(paths []string) map[string]bool {
	if len(paths) == 0 || l.sums { // md5sums name no directories
		return nil
	}
	candidates := make(map[string]bool, len(paths))
	for _, p := range paths {
		candidates[p] = false
	}
	for line := range bytes.Lines(l.content) {
		if end := bytes.LastIndexByte(line, '/'); end > 0 {
			if _, ok := candidates[string(line[:end])]; ok {
				candidates[string(line[:end])] = true
			}
		}
	}
	return candidates
}
