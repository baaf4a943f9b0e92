package rpm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

const (
	// maxZypp bounds zypper's history, in bytes, and maxZyppLine a line of it.
	maxZypp     = 64 << 20
	maxZyppLine = 64 << 10
	// maxStep bounds how long the installation of one package may take: it began
	// after the line before, if that is not older.
	maxStep = time.Hour
)

var errZyppLine = errors.New("not a line of zypper's history")

// readZypp reads zypper's history. The error wraps fs.ErrNotExist if there is none.
func (d *Database) readZypp(name string) ([]step, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, owner.Defect(name, -1, err)
	}
	defer f.Close()
	zone, err := clock.Read(d.root)
	if err != nil {
		d.defects.Add(err)
	}
	return parseZypp(name, f, zone)
}

// parseZypp parses zypper's history (libzypp's zypp/HistoryLog.cc), lines of
//
//	STAMP|install|NAME|VERSION|ARCH|USER|REPO|CHECKSUM|
//	STAMP|remove |NAME|VERSION|ARCH|USER|
//
// and of other actions, with comments between. A line is written when the package is
// done. What an installation replaced is not said: it is what the line before of the same
// package left, and not known if there is none. Lines that are malformed are skipped; the
// first one is the error, an *owner.Error.
func parseZypp(name string, r io.Reader, c clock.Clock) (out []step, first error) {
	in := bufio.NewReaderSize(io.LimitReader(r, maxZypp+1), maxZyppLine)
	var (
		offset int64
		before time.Time               // the line before
		have   = map[nameArch]string{} // what the lines so far left
	)
	fail := func(err error) {
		if first == nil {
			first = owner.Defect(name, offset, err)
		}
	}
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			fail(errZyppLine)
			for err == bufio.ErrBufferFull {
				offset += int64(len(line))
				line, err = in.ReadSlice('\n')
			}
			offset += int64(len(line))
			continue
		case err == io.EOF:
			return out, first // what has no end yet is being written
		case err != nil:
			fail(err)
			return out, first
		}
		if offset+int64(len(line)) > maxZypp {
			fail(file.ErrTooLarge)
			return out, first
		}
		s, at, ok := zyppLine(bytes.TrimSuffix(line, []byte("\n")), c)
		switch {
		case !ok:
			fail(errZyppLine)
		case s.Name != "":
			s.Begin = at
			if !before.IsZero() && !before.After(at) && at.Sub(before) < maxStep {
				s.Begin = before
			}
			key := nameArch{s.Name, s.Arch}
			from, known := have[key]
			if s.To == "" {
				known = true
			} else {
				s.From = from
			}
			s.fromKnown = known
			have[key] = s.To
			out = append(out, s)
		}
		if ok && !at.IsZero() {
			before = at
		}
		offset += int64(len(line))
	}
}

// zyppLine parses one line. The step has no name if the line tells of no package.
func zyppLine(line []byte, c clock.Clock) (s step, at time.Time, ok bool) {
	if len(line) == 0 || line[0] == '#' {
		return s, at, true
	}
	fields := bytes.Split(line, []byte("|"))
	if len(fields) < 2 {
		return s, at, false
	}
	begin, end, ok := c.Stamp(fields[0])
	if !ok {
		return s, at, false
	}
	action := string(bytes.TrimSpace(fields[1]))
	if action != "install" && action != "remove" {
		return s, begin, true
	}
	if len(fields) < 5 {
		return s, at, false
	}
	name, version, arch := string(fields[2]), string(fields[3]), string(fields[4])
	if !validWord(name) || !validWord(version) || !validWord(arch) {
		return s, at, false
	}
	s.Change = owner.Change{Name: name, Arch: arch, To: version, End: end.Add(time.Second)}
	if action == "remove" {
		s.From, s.To = version, ""
	}
	return s, begin, true
}
