package pacman

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

const (
	// maxOperation bounds how long one package is taken to need.
	maxOperation = time.Hour
	// maxChanges bounds the changes that are kept of a log.
	maxChanges = 1 << 20
)

// The stamps of a log: the first since pacman 5.2, the second, in local time,
// before.
const (
	stampZoned = "2006-01-02T15:04:05-0700"
	stampLocal = "2006-01-02 15:04"
)

var (
	errStamp = errors.New("line has no valid time")
	errMany  = errors.New("more changes than are kept: the rest is ignored")
)

// moment is what a stamp can mean.
type moment struct{ earliest, latest time.Time }

// parseLog parses a log of at most limit bytes and returns what it tells of files
// being changed, in the order of the log:
//
//	[STAMP] [ALPM] transaction started
//	[STAMP] [ALPM] upgraded NAME (FROM -> TO)
//	[STAMP] [ALPM] installed NAME (VERSION)
//
// and downgraded, reinstalled, removed; [PACMAN] stands in the place of [ALPM] in
// logs of pacman 4.1, and nothing in those of older ones. A line is written when all
// files of the package were changed, and before those of the next one are. Lines of
// packages without a valid time are told by the error, an *owner.Error with the
// name and the first such offset, to which base is added; others that are not
// understood are what scripts printed.
func parseLog(name string, r io.Reader, c clock.Clock, base, limit int64) (changes []owner.Change, first error) {
	in := lines.New(r, limit)
	keep := func(err error) {
		if first == nil {
			first = owner.Defect(name, base+in.Start, err)
		}
	}
	var since time.Time // when the files of the next package can begin to change
	for {
		line, err := in.Read()
		if err == io.EOF {
			break
		}
		if err == lines.ErrLong {
			continue
		}
		if err != nil {
			keep(err)
			break
		}
		if !in.Terminated {
			break // being written
		}
		stamp, text, ok := splitLine(line)
		if !ok {
			continue
		}
		change, isChange := parseChange(text)
		if !isChange && !isMilestone(text) {
			continue
		}
		at, ok := momentOf(c, string(stamp))
		if !ok {
			if isChange {
				keep(errStamp)
			}
			continue
		}
		if isChange {
			if len(changes) == maxChanges {
				keep(errMany)
				break
			}
			change.Begin, change.End = at.earliest, at.latest
			if earliest := at.earliest.Add(-maxOperation); since.IsZero() || since.Before(earliest) {
				change.Begin = earliest
			} else if since.Before(at.earliest) {
				change.Begin = since
			}
			changes = append(changes, change)
		}
		since = at.earliest
	}
	return changes, first
}

// splitLine splits "[STAMP] [TAG] TEXT" if the tag, which may be missing, is one of
// those that tell of packages.
func splitLine(line []byte) (stamp, text []byte, ok bool) {
	if len(line) == 0 || line[0] != '[' {
		return nil, nil, false
	}
	stamp, text, ok = bytes.Cut(line[1:], []byte("] "))
	if !ok || len(text) == 0 {
		return nil, nil, false
	}
	for _, tag := range [...]string{"[ALPM] ", "[PACMAN] "} {
		if rest, found := bytes.CutPrefix(text, []byte(tag)); found {
			return stamp, rest, true
		}
	}
	return stamp, text, text[0] != '['
}

// isMilestone reports whether a line says that no file of the next package has
// been changed yet.
func isMilestone(text []byte) bool {
	return string(text) == "transaction started" || bytes.HasPrefix(text, []byte("Running '")) ||
		bytes.HasPrefix(text, []byte("starting full system upgrade")) || string(text) == "synchronizing package lists"
}

// parseChange parses "WHAT NAME (VERSION)" or with two versions.
func parseChange(text []byte) (owner.Change, bool) {
	var c owner.Change
	what, rest, _ := bytes.Cut(text, []byte(" "))
	name, rest, _ := bytes.Cut(rest, []byte(" "))
	if len(rest) < 3 || rest[0] != '(' || rest[len(rest)-1] != ')' || !word(string(name)) {
		return c, false
	}
	from, to, two := bytes.Cut(rest[1:len(rest)-1], []byte(" -> "))
	if !word(string(from)) || two && !word(string(to)) {
		return c, false
	}
	c.Name = string(name)
	switch string(what) {
	case "installed":
		c.To = string(from)
	case "removed":
		c.From = string(from)
	case "reinstalled":
		c.From, c.To = string(from), string(from)
	case "upgraded", "downgraded":
		c.From, c.To = string(from), string(to)
		return c, two
	default:
		return c, false
	}
	return c, !two
}

// momentOf returns what a stamp can mean: stamps are rounded down.
func momentOf(c clock.Clock, stamp string) (moment, bool) {
	// Nothing was installed before there was a pacman.
	const firstYear = 2002
	if t, err := time.Parse(stampZoned, stamp); err == nil {
		return moment{t.UTC(), t.UTC().Add(time.Second)}, t.Year() >= firstYear
	}
	t, err := time.Parse(stampLocal, stamp)
	if err != nil || t.Year() < firstYear {
		return moment{}, false
	}
	earliest, latest := c.Bounds(t)
	return moment{earliest, latest.Add(time.Minute)}, true
}
