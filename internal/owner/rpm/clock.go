package rpm

import (
	"errors"
	"io/fs"
	"time"
)

// maxZone bounds a TZif file (RFC 9636), in bytes.
const maxZone = 64 << 10

// clock turns wall-clock times of a root into moments.
type clock struct{ zone *time.Location }

// readClock reads the time zone of a root from etc/localtime (localtime(5)):
// zypper stamps its log in local time. A root without one is in UTC. On error
// the clock is in UTC, too.
func readClock(root Root) (clock, error) {
	name := "etc/localtime"
	data, err := root.ReadFile(name, maxZone)
	if errors.Is(err, fs.ErrNotExist) {
		return clock{time.UTC}, nil
	}
	if err != nil {
		return clock{time.UTC}, defect(name, -1, err)
	}
	zone, err := time.LoadLocationFromTZData("root", data)
	if err != nil {
		return clock{time.UTC}, defect(name, -1, err)
	}
	return clock{zone}, nil
}

// bounds returns the earliest and the latest moment that a stamp can mean.
// They differ in the hour that is repeated when daylight saving ends, and by
// the hour that is skipped when it begins, whose stamps should not exist.
func (c clock) bounds(stamp []byte) (earliest, latest time.Time, ok bool) {
	wall, err := time.Parse(time.DateTime, string(stamp))
	// Nothing was installed before there was an rpm, and the zero time means no
	// time at all.
	if err != nil || wall.Year() < 1994 {
		return time.Time{}, time.Time{}, false
	}
	// Offsets from UTC are below 15 hours, so the offset in force at the
	// moment is the one 15 hours before or 15 hours after, unless the zone
	// changed twice in that time.
	at := func(away time.Duration) (time.Time, bool) {
		_, offset := wall.Add(away).In(c.zone).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second)
		_, there := t.In(c.zone).Zone()
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
	return before, after, true
}
