package apk

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

// maxRun bounds how long after its start a run of apk is taken to change files:
// the log says when it began, and not when it ended.
const maxRun = time.Hour

// maxChanges bounds the changes that are kept of a log.
const maxChanges = 1 << 20

var (
	errRun   = errors.New("a run of apk has no valid time")
	errChang = errors.New("more changes than are kept: the rest is ignored")
)

// run is one run of apk. Its changes lie side by side in the parser's list.
type run struct {
	begin       time.Time // zero if it is not known
	from, until int       // changes[from:until]
	done        bool      // it came to its end
}

// logParser is the state of parsing a log.
type logParser struct {
	runs    []run
	changes []owner.Change
	opening bool // within the command line of a run, which may have newlines
}

// parseLog parses a log of at most limit bytes:
//
//	Running `COMMAND` at 2006-01-02 15:04:05        (src/print.c, apk_out_log_argv; UTC)
//	(1/3) Installing NAME (VERSION)                 (src/commit.c, print_change)
//	(2/3) Upgrading NAME (VERSION -> VERSION)
//	ERROR: NAME-VERSION: why it was not changed     (src/database.c, apk_db_install_pkg)
//	OK: 8 MiB in 15 packages, or 2 errors; 8 MiB in 15 packages
//
// and more that does not matter; what scripts print is indented. Malformed times
// are told by the error, an *owner.Error with the name and the first such
// offset, to which base is added; their runs tell nothing.
func parseLog(name string, r io.Reader, base, limit int64) (changes []owner.Change, first error) {
	var p logParser
	in := lines.New(r, limit)
	keep := func(err error) {
		if first == nil {
			first = owner.Defect(name, base+in.Start, err)
		}
	}
	for {
		line, err := in.Read()
		if err == io.EOF {
			break
		}
		if err == lines.ErrLong {
			continue // a command of many packages, or what a script printed
		}
		if err != nil {
			keep(err)
			break
		}
		if !in.Terminated {
			break // being written
		}
		if err := p.line(line); err != nil {
			keep(err)
			if err == errChang {
				break
			}
		}
	}
	return p.finish(), first
}

var (
	runPrefix = []byte("Running `")
	runInfix  = []byte("` at ")
)

func (p *logParser) line(line []byte) error {
	switch {
	case bytes.HasPrefix(line, runPrefix):
		p.end()
		p.runs = append(p.runs, run{from: len(p.changes), until: len(p.changes)})
		p.opening = true
		return p.open(line)
	case p.opening:
		return p.open(line)
	case len(p.runs) == 0:
		return nil // the end of a run whose beginning is lost
	case bytes.HasPrefix(line, []byte("OK: ")) || isErrorCount(line):
		p.runs[len(p.runs)-1].done = true
	case bytes.HasPrefix(line, []byte("ERROR: ")):
		p.undo(line[len("ERROR: "):])
	default:
		if c, ok := parseChange(line); ok {
			if len(p.changes) == maxChanges {
				return errChang
			}
			p.changes = append(p.changes, c)
			p.runs[len(p.runs)-1].done = false
		}
	}
	return nil
}

// open looks for the end of a run's command line.
func (p *logParser) open(line []byte) error {
	i := bytes.LastIndex(line, runInfix)
	if i < 0 {
		return nil
	}
	p.opening = false
	t, err := time.Parse(time.DateTime, string(line[i+len(runInfix):]))
	// Nothing was installed before there was an apk.
	if err != nil || t.Year() < 2005 {
		return errRun
	}
	p.runs[len(p.runs)-1].begin = t
	return nil
}

func (p *logParser) end() {
	if n := len(p.runs); n > 0 {
		p.runs[n-1].until = len(p.changes)
	}
}

// undo drops the last change if an error says that it failed: apk puts the new
// files in place only when it has them all.
func (p *logParser) undo(message []byte) {
	last := len(p.changes) - 1
	if last < p.runs[len(p.runs)-1].from {
		return
	}
	c := p.changes[last]
	version := c.To
	if version == "" {
		version = c.From
	}
	if bytes.HasPrefix(message, []byte(c.Name+"-"+version+": ")) {
		p.changes = p.changes[:last]
	}
}

// finish gives the changes their times, and drops those of runs without one.
func (p *logParser) finish() []owner.Change {
	p.end()
	var out []owner.Change
	for i, r := range p.runs {
		if r.begin.IsZero() {
			continue
		}
		var end time.Time
		if r.done {
			end = r.begin.Add(maxRun)
			if i+1 < len(p.runs) && p.runs[i+1].begin.After(r.begin) && p.runs[i+1].begin.Before(end) {
				end = p.runs[i+1].begin.Add(time.Second) // times are whole seconds, rounded down
			}
		}
		for _, c := range p.changes[r.from:r.until] {
			c.Begin, c.End = r.begin, end
			out = append(out, c)
		}
	}
	return out
}

// isErrorCount reports whether a line begins "N errors; " or "1 error; ".
func isErrorCount(line []byte) bool {
	n := 0
	for n < len(line) && line[n] >= '0' && line[n] <= '9' {
		n++
	}
	return n > 0 && (bytes.HasPrefix(line[n:], []byte(" errors; ")) || bytes.HasPrefix(line[n:], []byte(" error; ")))
}

// parseChange parses "(N/M) WHAT NAME[@TAG] (VERSION)" or with two versions. The
// words of What that change no files, such as "Updating pinning" and
// "Downloading", are none.
func parseChange(line []byte) (owner.Change, bool) {
	var c owner.Change
	count, rest, found := bytes.Cut(line, []byte(") "))
	if !found || len(count) < 2 || count[0] != '(' || len(bytes.Trim(count[1:], " 0123456789/")) > 0 {
		return c, false
	}
	what, rest, _ := bytes.Cut(rest, []byte(" "))
	name, rest, _ := bytes.Cut(rest, []byte(" "))
	name, _, _ = bytes.Cut(name, []byte("@"))
	if len(rest) < 3 || rest[0] != '(' || rest[len(rest)-1] != ')' || !word(name) {
		return c, false
	}
	from, to, two := bytes.Cut(rest[1:len(rest)-1], []byte(" -> "))
	if !word(from) || two && !word(to) {
		return c, false
	}
	c.Name = string(name)
	switch string(what) {
	case "Installing":
		c.To = string(from)
	case "Purging":
		c.From = string(from)
	case "Reinstalling":
		c.From, c.To = string(from), string(from)
	case "Upgrading", "Downgrading", "Replacing":
		c.From, c.To = string(from), string(to)
		two = !two
	default:
		return c, false
	}
	return c, !two
}
