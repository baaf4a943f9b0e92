package kernel

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Limits of the entries of the Boot Loader Specification.
const (
	maxBLSEntry = 64 << 10
	maxBLSCount = 1024
)

// BLSEntry is an entry of the menu as the Boot Loader Specification (UAPI.1)
// describes them: a file of loader/entries, or a unified kernel image.
type BLSEntry struct {
	File      string // inside the root
	ID        string // name of the file without its suffix and the counter of tries
	Title     string
	Version   string
	MachineID string
	SortKey   string
	Linux     string // the kernel, from the root of the entry's file system
	Other     string // an EFI program instead
	// TriesLeft is how often the entry is tried before it counts as bad; -1 if it
	// is not counted.
	TriesLeft int
}

// ParseBLS reads an entry: a key, white space and a value a line, '#' before
// comments. Keys that do not matter here are skipped; of a key that stands there
// twice the later counts, as in systemd-boot.
func ParseBLS(r io.Reader) (BLSEntry, error) {
	e := BLSEntry{TriesLeft: -1}
	data, err := readAll(r, maxBLSEntry)
	if err != nil {
		return e, err
	}
	for line := range bytes.Lines(data) {
		key, value := cutSpace(string(line))
		switch key {
		case "title":
			e.Title = value
		case "version":
			e.Version = value
		case "machine-id":
			e.MachineID = value
		case "sort-key":
			e.SortKey = value
		case "linux":
			e.Linux = value
		case "efi", "uki", "uki-url", "loader":
			e.Other = value
		}
	}
	if e.Linux == "" && e.Other == "" {
		return e, errorAt(int64(len(data)), "entry names no kernel and no program")
	}
	return e, nil
}

// cutSpace cuts the first word of a line from the rest.
func cutSpace(line string) (word, rest string) {
	line = strings.TrimSpace(line)
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return line[:i], strings.TrimLeft(line[i:], " \t")
	}
	return line, ""
}

// setName reads the name of an entry's file: "NAME+LEFT-DONE.conf", where the
// counters may be missing.
func (e *BLSEntry) setName(name, suffix string) {
	e.ID = strings.TrimSuffix(name, suffix)
	e.TriesLeft = -1
	i := strings.LastIndexByte(e.ID, '+')
	if i < 0 {
		return
	}
	left, done, counted := strings.Cut(e.ID[i+1:], "-")
	if n, err := strconv.Atoi(left); err == nil && isDigits(left) && (!counted || isDigits(done)) {
		e.ID, e.TriesLeft = e.ID[:i], n
	}
}

// CompareBLS orders entries as the specification wants the menu, the default
// first: those that have failed come last, those with a sort key first, by that,
// the machine's ID and the newest version; the others by the name of the file, the
// newest first.
func CompareBLS(a, b BLSEntry) int {
	bad := func(e BLSEntry) int {
		if e.TriesLeft == 0 {
			return 1
		}
		return 0
	}
	keyless := func(e BLSEntry) int {
		if e.SortKey == "" {
			return 1
		}
		return 0
	}
	c := cmp.Or(cmp.Compare(bad(a), bad(b)), cmp.Compare(keyless(a), keyless(b)))
	if c == 0 && a.SortKey != "" {
		c = cmp.Or(strings.Compare(a.SortKey, b.SortKey), strings.Compare(a.MachineID, b.MachineID), -compareVersions(a.Version, b.Version))
	}
	return cmp.Or(c, -compareVersions(a.ID, b.ID), strings.Compare(b.ID, a.ID))
}

// readBLS reads the entries of a directory. One that cannot be read may be the
// one that counts, so it is an error.
func readBLS(root Root, dir string) ([]BLSEntry, error) {
	names, err := readDir(root, dir)
	if err != nil {
		return nil, err
	}
	var entries []BLSEntry
	for _, name := range names {
		if !strings.HasSuffix(name, ".conf") || strings.HasPrefix(name, ".") {
			continue
		}
		if len(entries) == maxBLSCount {
			return nil, &Error{File: "/" + dir, Offset: -1, Err: errors.New("too many entries")}
		}
		f, err := root.Open(dir + "/" + name)
		if err != nil {
			return nil, err
		}
		e, err := ParseBLS(f)
		f.Close()
		if err != nil {
			return nil, inFile("/"+dir+"/"+name, err)
		}
		e.File = "/" + dir + "/" + name
		e.setName(name, ".conf")
		entries = append(entries, e)
	}
	return entries, nil
}

// compareVersions orders versions as the Version Format Specification (UAPI.10)
// does: "~" before everything, then the end, then "-", "^", ".", letters before
// digits, numbers as numbers; other characters do not count.
func compareVersions(a, b string) int {
	significant := func(s string) string {
		return strings.TrimLeftFunc(s, func(r rune) bool {
			return r > 127 || !isDigit(byte(r)) && !isLetter(byte(r)) && !strings.ContainsRune("~-^.", r)
		})
	}
	for {
		a, b = significant(a), significant(b)
		for _, sign := range []byte("~") {
			if x, y := startsWith(a, sign), startsWith(b, sign); x != y {
				return order(x)
			}
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, sign := range []byte("-^.") {
			if x, y := startsWith(a, sign), startsWith(b, sign); x != y {
				return order(x)
			}
		}
		if !isDigit(a[0]) && !isLetter(a[0]) { // the same sign
			a, b = a[1:], b[1:]
			continue
		}
		x, restA := a, ""
		y, restB := b, ""
		if isDigit(a[0]) || isDigit(b[0]) {
			x, restA = cutRun(a, isDigit)
			y, restB = cutRun(b, isDigit)
			if x == "" || y == "" {
				return cmp.Compare(len(x), len(y)) // letters come before digits
			}
			if c := compareNumbers(x, y); c != 0 {
				return c
			}
		} else {
			x, restA = cutRun(a, isLetter)
			y, restB = cutRun(b, isLetter)
			if c := strings.Compare(x, y); c != 0 {
				return c
			}
		}
		a, b = restA, restB
	}
}

// order is that of two texts of which one begins with a sign that comes first.
func order(first bool) int {
	if first {
		return -1
	}
	return 1
}

func startsWith(s string, c byte) bool { return s != "" && s[0] == c }

func cutRun(s string, kind func(byte) bool) (run, rest string) {
	n := 0
	for n < len(s) && kind(s[n]) {
		n++
	}
	return s[:n], s[n:]
}
