package sensor

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A container's package database is read only where a verdict needs it. One that cannot
// be what it should be is told of all the same: then what is not found in it says nothing.

// databaseTrouble says why the package database that a view shows cannot be read, nil if
// it may be.
func (sc *scan) databaseTrouble(v *view) error {
	if v.root == nil {
		return nil
	}
	if v.dbOpened && v.db.err != nil && !noDatabase(v.db.err) {
		return v.db.err
	}
	for _, m := range managers() {
		for _, mark := range m.marks {
			info, err := v.root.Stat(mark)
			switch {
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
				continue
			case err != nil:
				return fmt.Errorf("%s: %w", mark, err)
			case slices.Contains(m.directories, mark):
				if info.Mode&unix.S_IFMT == unix.S_IFDIR {
					continue
				}
				return fmt.Errorf("%s is no directory", mark)
			case info.Regular() && info.Size <= m.largest:
				continue
			case info.Regular():
				return fmt.Errorf("%s has %d bytes", mark, info.Size)
			}
			return fmt.Errorf("%s is no regular file", mark)
		}
	}
	return nil
}

// unreadable tells of containers of which nothing is stale, but whose package database
// cannot be read.
func (sc *scan) unreadable(groups, inside map[string]*group, notices []notice) []Finding {
	var list []Finding
	for key, all := range inside {
		if groups[key] != nil || slices.ContainsFunc(notices, func(n notice) bool { return n.group == all }) {
			continue
		}
		seen := make(map[*view]bool)
		for _, m := range all.members {
			if seen[m.p.view] {
				continue
			}
			seen[m.p.view] = true
			err := sc.databaseTrouble(m.p.view)
			if err == nil || sc.ended(m.p) {
				continue
			}
			list = append(list, sc.noticeFinding(notice{all, Unknown, "its package database cannot be read: " + err.Error()}))
			break
		}
	}
	return list
}
