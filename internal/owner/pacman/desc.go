package pacman

import (
	"bytes"
	"errors"
	"iter"
	"strconv"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxDesc bounds a desc file, in bytes.
	maxDesc = 1 << 20
	// maxWord bounds a name or a version, in bytes.
	maxWord = 255
)

var (
	errEntry    = errors.New("name is not that of an entry: NAME-VERSION-RELEASE")
	errCut      = errors.New("file ends within a section: what came after is lost")
	errSection  = errors.New("line is in no section")
	errMismatch = errors.New("name or version is not that of the entry")
	errArch     = errors.New("package has no valid architecture")
	errLost     = errors.New("sections that each package has are not there: the end of the file may be lost")
)

// splitEntry splits the name of an entry: version and release are what the last
// two dashes divide (lib/libalpm/util.c, _alpm_splitname).
func splitEntry(entry string) (name, version string, ok bool) {
	i := strings.LastIndexByte(entry, '-')
	if i < 0 {
		return "", "", false
	}
	i = strings.LastIndexByte(entry[:i], '-')
	if i <= 0 || !word(entry) {
		return "", "", false
	}
	return entry[:i], entry[i+1:], true
}

// word reports whether s can be a name or a version: printable ASCII without
// blanks and slashes.
func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '/' {
			return false
		}
	}
	return s != "" && len(s) <= maxWord
}

// section is one of a desc or files file: a line %NAME%, and lines up to an empty
// one.
type section struct {
	name  []byte
	lines iter.Seq2[int, []byte] // with their offsets
}

// sections yields the sections of a file, and its defects. A line that the end of
// the file cuts off is not yielded.
func sections(name string, content []byte, report func(*owner.Error)) iter.Seq[section] {
	return func(yield func(section) bool) {
		off := 0
		// next returns the next whole line.
		next := func() ([]byte, bool) {
			end := bytes.IndexByte(content[off:], '\n')
			if end < 0 {
				return nil, false
			}
			line := content[off : off+end]
			off += end + 1
			return line, true
		}
		for off < len(content) {
			start := off
			line, whole := next()
			if !whole {
				report(owner.Defect(name, int64(len(content)), errCut))
				return
			}
			if len(line) == 0 {
				continue
			}
			if len(line) < 3 || line[0] != '%' || line[len(line)-1] != '%' {
				report(owner.Defect(name, int64(start), errSection))
				continue
			}
			open := true
			lines := func(yield func(int, []byte) bool) {
				for open {
					start := off
					line, whole := next()
					if !whole {
						open = false
						report(owner.Defect(name, int64(len(content)), errCut))
						off = len(content)
						return
					}
					if len(line) == 0 {
						open = false
						return
					}
					if !yield(start, line) {
						return
					}
				}
			}
			if !yield(section{line[1 : len(line)-1], lines}) {
				return
			}
			for range lines { // what is left of it
			}
		}
	}
}

// parseDesc takes from a desc file what matters here, and returns its defects.
func parseDesc(name string, content []byte, r *record) []*owner.Error {
	var out []*owner.Error
	report := func(err *owner.Error) { out = append(out, err) }
	cut := false
	var hasName, hasVersion, hasArch bool
	for s := range sections(name, content, func(err *owner.Error) {
		cut = cut || err.Err == errCut
		if len(out) < owner.MaxDefects {
			report(err)
		}
	}) {
		var off int
		var line []byte
		for off, line = range s.lines {
			break // the values that matter have one line
		}
		if line == nil {
			continue
		}
		switch string(s.name) {
		case "NAME":
			hasName = true
			if string(line) != r.Name {
				report(owner.Defect(name, int64(off), errMismatch))
			}
		case "VERSION":
			hasVersion = true
			if string(line) != r.Version {
				report(owner.Defect(name, int64(off), errMismatch))
			}
		case "BASE":
			if value := string(line); word(value) {
				r.Source = value
			}
		case "ARCH":
			hasArch = true
			if value := string(line); word(value) {
				r.Arch = value
			} else {
				report(owner.Defect(name, int64(off), errArch))
			}
		case "INSTALLDATE":
			r.installed, _ = strconv.ParseInt(string(line), 10, 64)
		}
	}
	if !cut && len(out) == 0 && !(hasName && hasVersion && hasArch) {
		report(owner.Defect(name, int64(len(content)), errLost))
	}
	return out
}
