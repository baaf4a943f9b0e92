package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// RelocatedBytes says how much of a file's read-only private mappings a process
// holds as its own copies (Anonymous and Swap of proc_pid_smaps(5)), given the
// address of one mapping of that file. The dynamic loader makes such copies when
// it relocates an object with RELRO, and nothing makes them again: truncating
// the file throws them away (unmap_mapping_range with even_cows, mm/truncate.c),
// so zero means that the file was truncated after it was loaded. ok is false if
// the file has no read-only mapping or addr is in no area.
func (p *Process) RelocatedBytes(addr uint64) (n int64, ok bool, err error) {
	f, err := p.open("smaps")
	if err != nil {
		return 0, false, gone(err)
	}
	defer f.Close()
	return parseRelocated(f, addr)
}

// maxSmaps bounds the areas that are looked at (vm.max_map_count is 65,530 by
// default, and each has some 25 lines of 30 bytes).
const maxSmaps = 64 << 20

func parseRelocated(r io.Reader, addr uint64) (int64, bool, error) {
	type area struct {
		dev, inode string
		bytes      int64
	}
	var (
		areas  []area
		inside = -1
		own    *area
		sc     = bufio.NewScanner(io.LimitReader(r, maxSmaps))
	)
	sc.Buffer(make([]byte, 0, maxMapsLine), maxMapsLine)
	for sc.Scan() {
		line := sc.Bytes()
		key, value, _ := bytes.Cut(line, []byte{' '})
		if start, end, ok := bytes.Cut(key, []byte{'-'}); ok {
			own = nil
			fields := bytes.Fields(line)
			lo, err1 := strconv.ParseUint(string(start), 16, 64)
			hi, err2 := strconv.ParseUint(string(end), 16, 64)
			if err1 != nil || err2 != nil || len(fields) < 5 {
				return 0, false, fmt.Errorf("smaps: %w", errArea)
			}
			here := addr >= lo && addr < hi
			if !here && string(fields[1]) != "r--p" {
				continue
			}
			areas = append(areas, area{string(fields[3]), string(fields[4]), 0})
			if here {
				inside = len(areas) - 1
			} else {
				own = &areas[len(areas)-1]
			}
			continue
		}
		if own == nil || (string(key) != "Anonymous:" && string(key) != "Swap:") {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) == 0 {
			return 0, false, fmt.Errorf("smaps: %w", errArea)
		}
		kib, err := strconv.ParseInt(string(fields[0]), 10, 40)
		if err != nil {
			return 0, false, fmt.Errorf("smaps: %w", err)
		}
		own.bytes += kib << 10
	}
	if err := sc.Err(); err != nil {
		return 0, false, fmt.Errorf("smaps: %w", err)
	}
	if inside < 0 {
		return 0, false, nil
	}
	var n int64
	found := false
	for i, a := range areas {
		if i != inside && a.dev == areas[inside].dev && a.inode == areas[inside].inode {
			n += a.bytes
			found = true
		}
	}
	return n, found, nil
}
