package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	// \012 cannot be told from one that holds a newline.
	Path string
}

// MapsError is a line that is not of the format.
type MapsError struct {
	Offset int64
	Err    error
}

func (e *MapsError) Error() string { return fmt.Sprintf("maps: offset %d: %v", e.Offset, e.Err) }
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

// maxMapsLine bounds a line: a path is at most PATH_MAX bytes, each of which may
// be escaped to four.
const maxMapsLine = 4*4096 + 256

// ParseMaps calls f for every executable area that has a file.
func ParseMaps(r io.Reader, f func(Area)) error {
	br := bufio.NewReaderSize(r, maxMapsLine)
	var offset int64
	for {
		line, err := br.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			return nil
		}
		if err != nil && err != io.EOF {
			return &MapsError{offset, err}
		}
		a, ok, perr := parseArea(line)
		if perr != nil {
			return &MapsError{offset, perr}
		}
		if ok {
			f(a)
		}
		offset += int64(len(line))
	}
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
	if perm[2] != 'x' || string(inode) == "0" {
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
	a.Major, a.Minor = uint32(maj), uint32(min)
	// The path column is padded; a path itself begins with a slash, and names
	// such as "[heap]" or "anon_inode:…" hold no code that a package shipped.
	path = bytes.TrimLeft(path, " ")
	if len(path) == 0 || path[0] != '/' {
		return Area{}, false, nil
	}
	a.Path = string(bytes.ReplaceAll(path, []byte(`\012`), []byte{'\n'}))
	return a, true, nil
}
