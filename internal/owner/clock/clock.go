// Package clock turns the wall-clock times of a root's logs into moments.
package clock

import (
	"errors"
	"io/fs"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// maxZone bounds a TZif file (RFC 9636), in bytes.
const maxZone = 64 << 10

// Clock is the one by which a root's package manager stamps its log.
type Clock struct{ Zone *time.Location }

// Root is the root directory whose clock is read.
type Root interface {
	ReadFile(name string, limit int64) ([]byte, error)
}

// Read reads the time zone of a root from etc/localtime (localtime(5)). A root without
// one is in UTC. On error, an *owner.Error, the clock is in UTC, too.
func Read(root Root) (Clock, error) {
	name := "etc/localtime"
	data, err := root.ReadFile(name, maxZone)
	if errors.Is(err, fs.ErrNotExist) {
		return Clock{time.UTC}, nil
	}
	if err != nil {
		return Clock{time.UTC}, owner.Defect(name, -1, err)
	}
	zone, err := time.LoadLocationFromTZData("root", data)
	if err != nil {
		return Clock{time.UTC}, owner.Defect(name, -1, err)
	}
	return Clock{zone}, nil
}

// Stamp returns the earliest and the latest moment that "2006-01-02 15:04:05" can mean.
func (c Clock) Stamp(stamp []byte) (earliest, latest time.Time, ok bool) {
	wall, err := time.Parse(time.DateTime, string(stamp))
	// Nothing was installed before there were package managers, and the zero time means
	// no time at all.
	if err != nil || wall.Year() < 1994 {
		return time.Time{}, time.Time{}, false
	}
	earliest, latest = c.Bounds(wall)
	return earliest, latest, true
}

// Bounds returns the earliest and the latest moment that a wall-clock time can mean.
// They differ in the hour that is repeated when daylight saving ends, and by
// the hour that is skipped when it begins, whose stamps should not exist.
func (c Clock) Bounds(wall time.Time) (earliest, latest time.Time) {
	// Offsets from UTC are below 15 hours, so the offset in force at the
	// moment is the one 15 hours before or 15 hours after, unless the zone
	// changed twice in that time.
	at := func(away time.Duration) (time.Time, bool) {
		_, offset := wall.Add(away).In(c.Zone).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second)
		_, there := t.In(c.Zone).Zone()
		return t.UTC(), there == offset
	}
	before, okBefore := at(-15 * time.Hour)
	after, okAfter := at(15 * time.Hour)
	switch {
	case okBefore && !okAfter:
		after = before
	case okAfter && !okBefore:
		before = after
	}
	if after.Before(before) {
		before, after = after, before
	}
	return before, after
}
