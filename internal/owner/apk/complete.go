package apk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// maxWorld bounds etc/apk/world, in bytes.
const maxWorld = 1 << 20

const worldName = "etc/apk/world"

var errLost = errors.New("a package that has to be there is not: the end of the file may be lost")

// checkComplete looks whether a database that ends as it should has all that its
// packages and the world ask for; the first thing that is missing is told.
func (d *Database) checkComplete(s *source, records []record) {
	world, err := d.root.ReadFile(worldName, maxWorld)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.defects.Add(owner.Defect(worldName, -1, err))
	}
	if by, name := missing(records, world); name != "" {
		d.defects.Add(owner.Defect(s.name, int64(len(s.content)), fmt.Errorf("%w: %.64q, for %s", errLost, name, by)))
	}
}

// missing returns what no package is or provides, and what asks for it, the
// world or a package; "" if there is nothing. Versions are not looked at.
func missing(records []record, world []byte) (by, name string) {
	have := make(map[string]bool, 4*len(records))
	for i := range records {
		r := &records[i]
		have[r.Name] = true
		for word := range bytes.FieldsSeq(r.fieldAt(r.provides)) {
			have[string(dependencyName(word))] = true
		}
	}
	lost := func(words []byte) string {
		for word := range bytes.FieldsSeq(words) {
			// What begins with "!" must not be there.
			if n := dependencyName(word); len(n) > 0 && n[0] != '!' && !have[string(n)] {
				return string(n)
			}
		}
		return ""
	}
	if n := lost(world); n != "" {
		return "/" + worldName, n
	}
	for i := range records {
		r := &records[i]
		if n := lost(r.fieldAt(r.depends)); n != "" {
			return r.Name, n
		}
	}
	return "", ""
}

// fieldAt returns the value of a field, empty for offset 0.
func (r *record) fieldAt(off uint32) []byte {
	if off == 0 {
		return nil
	}
	return lineAt(r.source.content, int(off))
}

// dependencyName returns the name in a dependency: NAME, NAME@TAG or NAME with a
// comparison (<, =, >, ~ and pairs of them) and a version (apk-world(5)).
func dependencyName(word []byte) []byte {
	if i := bytes.IndexAny(word, "<>=~@"); i > 0 {
		return word[:i]
	}
	return word
}
