package sensor

import (
	"fmt"
	"slices"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// databases are package databases of different kinds in one root, as one: a Debian with
// rpm packages beside its own, or an image that was put together of two distributions.
type databases struct {
	kinds  []string // names of managers, same order as list
	list   []database
	failed []error // why others could not be opened
}

// openAll opens the databases of a root. It fails only if none can be opened.
func openAll(root tree, managers []manager) (database, error) {
	d := new(databases)
	for _, m := range managers {
		db, err := m.open(root)
		switch {
		case noDatabase(err):
		case err != nil:
			d.failed = append(d.failed, err)
		default:
			d.kinds, d.list = append(d.kinds, m.name), append(d.list, db)
		}
	}
	d.leaveOutEmpty()
	switch {
	case len(d.list) > 0:
		return d, nil
	case len(d.failed) > 0:
		return nil, d.failed[0]
	}
	return nil, owner.ErrNoDatabase
}

// leaveOutEmpty leaves out databases without a package where another one has some: the
// tools of another distribution bring theirs. That it is empty is all that is wrong with
// such a one.
func (d *databases) leaveOutEmpty() {
	full := func(db database) bool { return len(db.Packages()) > 0 || len(db.Problems()) > 1 }
	if !slices.ContainsFunc(d.list, full) {
		return
	}
	var kinds []string
	var list []database
	for i, db := range d.list {
		if full(db) {
			kinds, list = append(kinds, d.kinds[i]), append(list, db)
		}
	}
	d.kinds, d.list = kinds, list
}

// of is the database that a package is from.
func (d *databases) of(p owner.Package) (database, error) {
	for i, kind := range d.kinds {
		if kind == p.Manager {
			return d.list[i], nil
		}
	}
	return nil, fmt.Errorf("%w of %s", owner.ErrNoDatabase, p.Manager)
}

// Owners answers for the first database that has one.
func (d *databases) Owners(paths []string) (map[string]owner.Owned, error) {
	all := make(map[string]owner.Owned)
	for _, db := range d.list {
		found, err := db.Owners(paths)
		if err != nil {
			return nil, err
		}
		for path, o := range found {
			if _, ok := all[path]; !ok {
				all[path] = o
			}
		}
	}
	return all, nil
}

func (d *databases) Providers(bases []string) (map[string][]owner.Owned, error) {
	all := make(map[string][]owner.Owned)
	for _, db := range d.list {
		found, err := db.Providers(bases)
		if err != nil {
			return nil, err
		}
		for base, list := range found {
			all[base] = append(all[base], list...)
		}
	}
	return all, nil
}

func (d *databases) Checksum(o owner.Owned) (owner.Checksum, bool, error) {
	db, err := d.of(o.Package)
	if err != nil {
		return owner.Checksum{}, false, err
	}
	return db.Checksum(o)
}

// History is that of one database after the other: no package is in two.
func (d *databases) History() ([]owner.Change, error) {
	var all []owner.Change
	for _, db := range d.list {
		list, err := db.History()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (d *databases) Changelog(p owner.Package, after string) (owner.Changelog, error) {
	db, err := d.of(p)
	if err != nil {
		return owner.Changelog{}, err
	}
	return db.Changelog(p, after)
}

func (d *databases) Packages() []owner.Package {
	var all []owner.Package
	for _, db := range d.list {
		all = append(all, db.Packages()...)
	}
	return all
}

func (d *databases) Problems() []error {
	all := append([]error{}, d.failed...)
	for _, db := range d.list {
		all = append(all, db.Problems()...)
	}
	return all
}
