package pacman

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

const (
	logName = "var/log/pacman.log"
	// maxLog bounds how much of the end of the log is read, in bytes. pacman
	// never rotates it; a machine of ten years has some 20 MB.
	maxLog = 64 << 20
)

// History returns what the log tells of packages that changed, oldest first; none
// for a root without a log.
//
// Stamps of pacman before 5.2 are local time of whole minutes. They are taken to be
// in the root's present time zone (etc/localtime), so they are wrong where TZ was
// set otherwise or the zone has been changed since. Begin is when the package before
// was done or the transaction began, and no more than an hour before End. The log
// names no architectures: changes have that of the installed package of their
// name, and "" if there is none.
//
// Damage is told by Problems and costs only what it hit; the error says that
// there is a log that could not be read.
func (d *Database) History() ([]owner.Change, error) {
	d.historyOnce.Do(func() { d.changes, d.historyErr = d.readLog() })
	return slices.Clone(d.changes), d.historyErr
}

func (d *Database) readLog() ([]owner.Change, error) {
	f, err := d.root.Open(logName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, owner.Defect(logName, -1, err)
	}
	defer f.Close()
	zone, err := clock.Read(d.root)
	if err != nil {
		d.defects.Add(err)
	}
	var base int64
	if info, err := f.Stat(); err == nil && info.Size() > maxLog {
		base = info.Size() - maxLog // what is left of the first line is ignored
		if _, err := f.Seek(base, io.SeekStart); err != nil {
			return nil, owner.Defect(logName, -1, err)
		}
	}
	changes, err := parseLog(logName, f, zone, base, maxLog)
	if err != nil {
		d.defects.Add(err)
	}
	arch := make(map[string]string, len(d.packages))
	for i := range d.packages {
		arch[d.packages[i].Name] = d.packages[i].Arch
	}
	for i := range changes {
		changes[i].Arch = arch[changes[i].Name]
	}
	return changes, nil
}

// Changelog returns owner.ErrNoChangelog, with the reason. A package may bring a
// changelog (PKGBUILD(5)), of which few do, but it is free text: nothing says which
// of its lines belong to which version.
func (d *Database) Changelog(p owner.Package, _ string) (owner.Changelog, error) {
	r, ok := d.find(p)
	if !ok {
		return owner.Changelog{}, fmt.Errorf("%w: %w", owner.ErrNoChangelog, errUnknown)
	}
	if _, err := d.root.Stat(r.dir + "changelog"); err != nil {
		return owner.Changelog{}, fmt.Errorf("%w in /%s", owner.ErrNoChangelog, r.dir)
	}
	return owner.Changelog{}, fmt.Errorf("%w that can be read: /%schangelog is free text", owner.ErrNoChangelog, r.dir)
}
