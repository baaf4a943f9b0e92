package apk

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	logName = "var/log/apk.log"
	// maxLog bounds how much of the end of the log is read, in bytes: apk
	// never rotates it, and a run of some packages writes a kilobyte.
	maxLog = 64 << 20
)

// History returns what the log tells of packages that changed, oldest first;
// none for a root without a log, as apk writes one since version 3 only.
//
// The log has one time, in UTC, for each run of apk: all that a run changed has
// the same Begin. End is when the next run began or an hour later, and for the
// last run no later than when the database was written; zero for a run that the
// log does not show finished. The log names no architectures: changes have that
// of the installed package of their name, and "" if there is none.
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
	var base int64
	if info, err := f.Stat(); err == nil && info.Size() > maxLog {
		// Reading begins within a run, of which no more than its time is lost.
		base = info.Size() - maxLog
		if _, err := f.Seek(base, io.SeekStart); err != nil {
			return nil, owner.Defect(logName, -1, err)
		}
	}
	changes, err := parseLog(logName, f, base, maxLog)
	if err != nil {
		d.defects.Add(err)
	}
	d.place(changes)
	return changes, nil
}

// place fills in what the database knows of the changes.
func (d *Database) place(changes []owner.Change) {
	var written time.Time
	for i := range d.packages {
		if t := d.packages[i].source.mtime; t.After(written) {
			written = t
		}
	}
	written = written.Truncate(time.Second).Add(time.Second)
	for i := range changes {
		c := &changes[i]
		if at, ok := d.find(c.Name); ok {
			c.Arch = d.packages[at].Arch
		}
		last := c.Begin.Equal(changes[len(changes)-1].Begin)
		if last && !c.End.IsZero() && written.After(c.Begin) && written.Before(c.End) {
			c.End = written
		}
	}
}
