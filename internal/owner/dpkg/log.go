package dpkg

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

// settle bounds how long after "status unpacked" dpkg may still be removing
// the replaced files (src/main/unpack.c, pkg_remove_backup_files): the next
// line of the log says when it had done, if it is not from a later run.
const settle = time.Minute

var errLogLine = errors.New("not a line of a dpkg log")

// change is a Change in the making.
type change struct {
	owner.Change
	// prelude says that the old version was deconfigured: the next "status
	// unpacked" of the same version is the old one's.
	prelude bool
}

// stampLen is the length of a log line's time: "2006-01-02 15:04:05".
const stampLen = len(time.DateTime)

// logParser is the state of parsing one log. A run of dpkg writes to one file
// even when that is rotated meanwhile, so no change spans two.
type logParser struct {
	clock   clock.Clock
	changes []*change
	open    map[string]*change // by NAME:ARCH; not finished yet
	settled *change            // finished by the line before
}

// parseLog parses a dpkg log of at most limit bytes (dpkg(1), src/main/help.c
// log_action, lib/dpkg/dbmodify.c modstatdb_note) and returns what it tells of
// files being changed, in the order of the log:
//
//	STAMP upgrade NAME:ARCH FROM TO
//	STAMP install NAME:ARCH FROM|<none> TO
//	STAMP remove|disappear NAME:ARCH FROM <none>
//	STAMP status STATE NAME:ARCH VERSION|<none>
//
// dpkg prints the version whose configuration files remained as an
// installation's FROM: it had no other files, so From is empty then. A change
// of which the log says that it was undone is dropped. Lines that are
// malformed are skipped; the first one is the error, an *owner.Error with the
// name. size is how much was read.
func parseLog(name string, r io.Reader, c clock.Clock, limit int64) (out []owner.Change, size int64, first error) {
	h := logParser{clock: c, open: make(map[string]*change)}
	in := lines.New(r, limit)
	for {
		line, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil && err != lines.ErrLong {
			first = keepFirst(first, owner.Defect(name, in.Start, err))
			break
		}
		if err == nil && !in.Terminated {
			break // being written
		}
		if err == lines.ErrLong || !h.line(line) {
			first = keepFirst(first, owner.Defect(name, in.Start, errLogLine))
		}
	}
	for _, ch := range h.changes {
		if ch.Name != "" {
			out = append(out, ch.Change)
		}
	}
	return out, in.Next, first
}

// line takes one line and reports whether it is one of a dpkg log.
func (h *logParser) line(line []byte) bool {
	if len(line) <= stampLen || line[stampLen] != ' ' {
		return false
	}
	stamp := line[:stampLen]
	action, rest, _ := bytes.Cut(line[stampLen+1:], []byte(" "))
	if ch := h.settled; ch != nil {
		h.settled = nil
		if _, latest, ok := h.clock.Stamp(stamp); ok && latest.Sub(ch.End) < settle {
			ch.End = later(ch.End, latest.Add(time.Second))
		}
	}
	switch string(action) {
	case "install", "upgrade", "remove", "disappear":
		return h.begin(stamp, string(action), rest)
	case "status":
		return h.status(stamp, rest)
	}
	// startup, configure, trigproc, purge, conffile and what later versions
	// may add change no files of a package.
	return len(action) > 0 && isDigit(stamp[0])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (h *logParser) begin(stamp []byte, action string, rest []byte) bool {
	pkg, from, to, ok := threeWords(rest)
	if !ok {
		return false
	}
	begin, _, ok := h.clock.Stamp(stamp)
	if !ok {
		return false
	}
	ch := &change{Change: owner.Change{From: version(from), To: version(to), Begin: begin}}
	name, arch, _ := bytes.Cut(pkg, []byte(":"))
	ch.Name, ch.Arch = string(name), string(arch)
	switch action {
	case "install":
		ch.From = ""
	case "remove", "disappear":
		ch.To = ""
	}
	if prev := h.open[string(pkg)]; prev != nil && prev.From == ch.From && prev.To == ch.To {
		// A second try of a change that failed: files may have changed
		// since the first.
		ch.Begin = prev.Begin
		prev.Name = ""
	}
	h.changes = append(h.changes, ch)
	h.open[string(pkg)] = ch
	return true
}

func (h *logParser) status(stamp, rest []byte) bool {
	state, pkg, ver, ok := threeWords(rest)
	if !ok {
		return false
	}
	ch := h.open[string(pkg)]
	if ch == nil {
		return true
	}
	done := false
	switch string(state) {
	case "half-configured":
		ch.prelude = true
	case "half-installed":
		ch.prelude = false
	case "unpacked":
		done = string(ver) == ch.To && (!ch.prelude || ch.From != ch.To)
	case "installed":
		if ch.From != ch.To && string(ver) == ch.From {
			// Undone: dpkg put the old files back.
			ch.Name = ""
			delete(h.open, string(pkg))
			return true
		}
		done = string(ver) == ch.To
	case stateConfigFiles, stateNotInstalled:
		if ch.From == "" && ch.To != "" {
			ch.Name = ""
			delete(h.open, string(pkg))
			return true
		}
		done = ch.To == ""
	}
	if !done {
		return true
	}
	_, end, ok := h.clock.Stamp(stamp)
	if !ok {
		return false
	}
	ch.End = end.Add(time.Second) // stamps are whole seconds, rounded down
	h.settled = ch
	delete(h.open, string(pkg))
	return true
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func threeWords(b []byte) (x, y, z []byte, ok bool) {
	x, b, _ = bytes.Cut(b, []byte(" "))
	y, z, _ = bytes.Cut(b, []byte(" "))
	ok = len(x) > 0 && len(y) > 0 && len(z) > 0 && bytes.IndexByte(z, ' ') < 0
	return x, y, z, ok
}

// version is a version of the log; dpkg prints "<none>" for none.
func version(word []byte) string {
	if string(word) == "<none>" {
		return ""
	}
	return string(word)
}
