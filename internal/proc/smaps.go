package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Relocated says how much of the read-only private mappings of each file a
// process holds as its own copies (Anonymous and Swap of proc_pid_smaps(5)), and
// where it has them mapped.
type Relocated struct {
	areas []smapsArea // of files
	bytes map[smapsFile]int64
}

// Relocated reads the process's own copies of all its files.
func (p *Process) Relocated() (Relocated, error) {
	f, err := p.open("smaps")
	if err != nil {
		return Relocated{}, gone(err)
	}
	defer f.Close()
	r, err := parseSmaps(f)
	if err != nil {
		return Relocated{}, gone(p.error("read", "smaps", err))
	}
	return r, nil
}

// Bytes is the size of the copies of the file that is mapped at addr. The dynamic
// loader makes them when it relocates an object with RELRO, and nothing makes them
// again: truncating the file throws them away (unmap_mapping_range with even_cows,
// mm/truncate.c), so zero means that the file was truncated after it was loaded. ok
// is false if the file has no read-only mapping, or addr is in one or in no file.
func (r Relocated) Bytes(addr uint64) (n int64, ok bool) {
	a, ok := r.at(addr)
	if !ok || a.readOnly {
		return 0, false
	}
	n, ok = r.bytes[a.file]
	return n, ok
}

// Offset is the offset in its file of what is mapped at addr. ok is false unless that
// is the same file as is mapped at other.
func (r Relocated) Offset(addr, other uint64) (offset uint64, ok bool) {
	a, ok1 := r.at(addr)
	b, ok2 := r.at(other)
	if !ok1 || !ok2 || a.file != b.file {
		return 0, false
	}
	return a.offset + addr - a.start, true
}

func (r Relocated) at(addr uint64) (smapsArea, bool) {
	for i := range r.areas {
		if a := &r.areas[i]; addr >= a.start && addr < a.end {
			return *a, true
		}
	}
	return smapsArea{}, false
}

// maxSmaps bounds what is read: vm.max_map_count is 65,530 by default, and each
// area has some 25 lines of 30 bytes.
const maxSmaps = 64 << 20

var errSmapsSize = fmt.Errorf("more than %d bytes", maxSmaps)

type smapsFile struct{ dev, inode string }

type smapsArea struct {
	start, end, offset uint64
	file               smapsFile
	readOnly           bool // and private
}

// parseSmaps is Relocated for the text of smaps. Malformed text gives a MapsError.
func parseSmaps(r io.Reader) (Relocated, error) {
	out := Relocated{bytes: make(map[smapsFile]int64)}
	limit := &io.LimitedReader{R: r, N: maxSmaps + 1}
	lines := newMapsLines(limit)
	var own *smapsFile // of the read-only area whose lines follow
	for {
		line, err := lines.next()
		if err == io.EOF {
			return out, nil
		}
		if limit.N == 0 {
			err = errSmapsSize
		}
		if err != nil {
			return Relocated{}, &MapsError{lines.offset, err}
		}
		key, value, _ := bytes.Cut(line, []byte{' '})
		if bytes.IndexByte(key, '-') >= 0 {
			a, err := parseSmapsArea(key, value)
			if err != nil {
				return Relocated{}, &MapsError{lines.offset, err}
			}
			own = nil
			if a.file.inode == "0" {
				continue // no file
			}
			if a.readOnly {
				own = &a.file
				out.bytes[a.file] += 0
			}
			out.areas = append(out.areas, a)
		} else if own != nil && (string(key) == "Anonymous:" || string(key) == "Swap:") {
			number, _, _ := bytes.Cut(bytes.TrimLeft(value, " "), []byte{' '})
			kib, err := strconv.ParseUint(string(number), 10, 40)
			if err != nil {
				return Relocated{}, &MapsError{lines.offset, fmt.Errorf("%s %w", key, err)}
			}
			out.bytes[*own] += int64(kib) << 10
		}
	}
}

// parseSmapsArea parses "START-END" and "PERM OFFSET MAJ:MIN INODE      PATH".
func parseSmapsArea(addr, rest []byte) (smapsArea, error) {
	start, end, _ := bytes.Cut(addr, []byte{'-'})
	mode, rest, _ := bytes.Cut(rest, []byte{' '})
	offset, rest, _ := bytes.Cut(rest, []byte{' '})
	dev, rest, ok := bytes.Cut(rest, []byte{' '})
	inode, _, _ := bytes.Cut(rest, []byte{' '})
	inode = bytes.TrimRight(inode, "\n")
	lo, err1 := strconv.ParseUint(string(start), 16, 64)
	hi, err2 := strconv.ParseUint(string(end), 16, 64)
	at, err3 := strconv.ParseUint(string(offset), 16, 64)
	if errors.Join(err1, err2, err3) != nil || !ok || len(inode) == 0 {
		return smapsArea{}, errArea
	}
	return smapsArea{lo, hi, at, smapsFile{string(dev), string(inode)}, string(mode) == "r--p"}, nil
}
