package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keptAside is how many databases that were moved aside stay on the disk: enough
// to look into, and bounded however often it happens.
const keptAside = 3

const asideSuffix = ".corrupt-"

// Recovery says that a database could not be used and was moved aside, and that
// the store started anew.
type Recovery struct {
	// MovedTo is where the database is now, or its log if that was all there was; its
	// siblings (-wal …) lie beside it.
	MovedTo string
	// Cause is what was wrong: [ErrNewer], [ErrCorrupt] or an error of SQLite.
	Cause error
}

// Discard moves the database at path aside, after [ErrCorrupt] and Close, so that
// the next Open starts anew. The result is nil if there is none.
func Discard(path string, why error) (*Recovery, error) {
	p, err := occupy(path)
	if err != nil {
		return nil, err
	}
	defer p.leave()
	return p.moveAside(why)
}

// moveAside renames the database and its siblings. The database goes first: a
// kill in between leaves siblings alone, which leftOver finds. A newer database
// that went without its log could never be read again.
func (p *place) moveAside(why error) (*Recovery, error) {
	to := p.freeName()
	var first string
	for _, suffix := range append([]string{""}, siblings()...) {
		err := os.Rename(p.path+suffix, to+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("move the store aside: %w", full(err))
		}
		if err == nil && first == "" {
			first = to + suffix
		}
	}
	if first == "" {
		return nil, nil
	}
	if err := syncDir(filepath.Dir(p.path)); err != nil {
		return nil, fmt.Errorf("move the store aside: %w", err)
	}
	if err := p.forgetOld(to); err != nil {
		return nil, err
	}
	return &Recovery{MovedTo: first, Cause: why}, nil
}

// leftOver tells why files that are there cannot be a store, where SQLite would
// take them for a new database and silently write over them.
func (p *place) leftOver() error {
	size := func(suffix string) int64 {
		info, err := os.Lstat(p.path + suffix)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	const smallestPage = 512
	if n := size(""); n > 0 {
		if n < smallestPage {
			return fmt.Errorf("%w: %d bytes are no database", ErrCorrupt, n)
		}
		return nil
	}
	// A rollback journal says nothing: it is what a kill leaves that comes while the
	// database is made.
	if size("-wal") > 0 {
		return fmt.Errorf("%w: %s is there, the database is empty or gone", ErrCorrupt, filepath.Base(p.path)+"-wal")
	}
	return nil
}

// freeName returns a name that is not taken. All are of one length, so that they
// sort by time.
func (p *place) freeName() string {
	for {
		name := p.path + asideSuffix + time.Now().UTC().Format("20060102T150405.000000000Z")
		taken := false
		for _, suffix := range append([]string{""}, siblings()...) {
			_, err := os.Lstat(name + suffix)
			taken = taken || err == nil
		}
		if !taken {
			return name
		}
	}
}

// forgetOld removes all but the newest databases that were moved aside. The last
// one stays in any case: the clock may have been set back.
func (p *place) forgetOld(last string) error {
	dir, prefix := filepath.Dir(p.path), filepath.Base(p.path)+asideSuffix
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	groups := make(map[string][]string)
	for _, e := range entries {
		stamp, ok := strings.CutPrefix(e.Name(), prefix)
		stamp, _, _ = strings.Cut(stamp, "-")
		if ok && e.Type().IsRegular() && filepath.Join(dir, prefix+stamp) != last {
			groups[stamp] = append(groups[stamp], e.Name())
		}
	}
	stamps := make([]string, 0, len(groups))
	for stamp := range groups {
		stamps = append(stamps, stamp)
	}
	slices.Sort(stamps)
	for _, stamp := range stamps[:max(0, len(stamps)-(keptAside-1))] {
		for _, name := range groups[stamp] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
