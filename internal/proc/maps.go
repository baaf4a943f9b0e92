package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// Area is one file-backed executable area of /proc/PID/maps
// (proc_pid_maps(5)).
type Area struct {
	Start, End   uint64
	Major, Minor uint32
	Inode        uint64
	// Path is the kernel's name with the escaping undone: the kernel writes a
	// newline as \012 and nothing else (fs/proc/task_mmu.c, show_map_vma).
	// A backslash is not escaped, so a name that holds the four characters
	// \012 cannot be told from one that holds a newline. Empty if it is too
	// long for any system call.
	Path string
}

// MapsError is a line of maps or smaps that is not of the format, or the end of
// what could be read.
type MapsError struct {
	Offset int64
	Err    error
}

func (e *MapsError) Error() string { return fmt.Sprintf("offset %d: %v", e.Offset, e.Err) }
func (e *MapsError) Unwrap() error { return e.Err }

var errArea = errors.New("malformed line")

// TextMaps calls f for every executable area that has a file, by the text of
// /proc/PID/maps.
func (p *Process) TextMaps(f func(Area)) error {
	m, err := p.open("maps")
	if err != nil {
		return gone(err)
	}
	defer m.Close()
	if err := ParseMaps(m, f); err != nil {
		return gone(p.error("read", "maps", err))
	}
	return nil
}

// maxMapsLine bounds what is looked at of a line: a path is at most PATH_MAX
// bytes, each of which may be escaped to four. A path built of relative steps may
// be longer (path_resolution(7)) and is then left out.
const maxMapsLine = 4*unix.PathMax + 256

// ParseMaps calls f for every executable area that has a file. It stops at the
// first malformed line with a MapsError.
func ParseMaps(r io.Reader, f func(Area)) error {
	lines := newMapsLines(r)
	for {
		line, err := lines.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &MapsError{lines.offset, err}
		}
		a, ok, err := parseArea(line)
		if err != nil {
			return &MapsError{lines.offset, err}
		}
		if ok {
			f(a)
		}
	}
}

// mapsLines reads lines and shows at most maxMapsLine bytes of each.
type mapsLines struct {
	br     *bufio.Reader
	offset int64 // of the line that was returned last
	after  int64
	long   bool // that line goes on
}

func newMapsLines(r io.Reader) *mapsLines {
	return &mapsLines{br: bufio.NewReaderSize(r, maxMapsLine)}
}

// next returns the next line, valid until the next call, or io.EOF.
func (l *mapsLines) next() ([]byte, error) {
	for l.long {
		if _, err := l.slice(); err != nil {
			return nil, err
		}
	}
	l.offset = l.after
	return l.slice()
}

func (l *mapsLines) slice() ([]byte, error) {
	b, err := l.br.ReadSlice('\n')
	l.after += int64(len(b))
	l.long = err == bufio.ErrBufferFull
	if l.long || (err == io.EOF && len(b) > 0) {
		err = nil
	}
	return b, err
}

// parseArea parses "START-END PERM OFFSET MAJ:MIN INODE      PATH".
func parseArea(line []byte) (Area, bool, error) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	addr, rest, ok1 := bytes.Cut(line, []byte{' '})
	perm, rest, ok2 := bytes.Cut(rest, []byte{' '})
	_, rest, ok3 := bytes.Cut(rest, []byte{' '}) // offset
	dev, rest, ok4 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 || !ok4 || len(perm) != 4 {
		return Area{}, false, errArea
	}
	inode, path, _ := bytes.Cut(rest, []byte{' '})
	// The path column is padded; a path itself begins with a slash, and names
	// such as "[heap]" or "anon_inode:…" hold no code that a package shipped.
	path = bytes.TrimLeft(path, " ")
	if perm[2] != 'x' || len(path) == 0 || path[0] != '/' {
		return Area{}, false, nil
	}
	var a Area
	start, end, ok := bytes.Cut(addr, []byte{'-'})
	major, minor, ok2 := bytes.Cut(dev, []byte{':'})
	if !ok || !ok2 {
		return Area{}, false, errArea
	}
	var errs [5]error
	var maj, min uint64
	a.Start, errs[0] = strconv.ParseUint(string(start), 16, 64)
	a.End, errs[1] = strconv.ParseUint(string(end), 16, 64)
	maj, errs[2] = strconv.ParseUint(string(major), 16, 32)
	min, errs[3] = strconv.ParseUint(string(minor), 16, 32)
	a.Inode, errs[4] = strconv.ParseUint(string(inode), 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return Area{}, false, fmt.Errorf("%w: %w", errArea, err)
	}
	if a.Start >= a.End {
		return Area{}, false, errArea
	}
	a.Major, a.Minor = uint32(maj), uint32(min)
	if bytes.IndexByte(path, '\\') >= 0 {
		path = bytes.ReplaceAll(path, []byte(`\012`), []byte{'\n'})
	}
	if len(path) < unix.PathMax {
		a.Path = string(path)
	}
	return a, true, nil
}
