package apk

import (
	"bytes"
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxPackages bounds the packages and maxFiles the files of one root.
	maxPackages = 1 << 17
	maxFiles    = 1 << 22
	// maxWord bounds a name or a version, in bytes.
	maxWord = 255
)

// stateBroken is the state of a package not all of whose files could be
// installed (flag "f" of field f, broken_files).
const stateBroken = "broken-files"

var (
	errCut       = errors.New("file ends within a package: what came after is lost")
	errField     = errors.New("line is not a field: a letter and a colon")
	errName      = errors.New("package has no valid name (field P)")
	errNoVersion = errors.New("package has no valid version (field V)")
	errArch      = errors.New("package has no valid architecture (field A)")
	errTwice     = errors.New("package is listed a second time")
	errDir       = errors.New("directory (field F) is not a clean path relative to the root")
	errNoDir     = errors.New("file (field R) is in no directory (field F)")
	errFile      = errors.New("file (field R) has a name that no file can have")
	errTooMany   = errors.New("too many entries: the rest is ignored")
)

// record is a package and where the database describes it.
type record struct {
	owner.Package
	source *source
	// depends and provides are the offsets of the fields D and p, 0 if there
	// is none.
	depends, provides uint32
	// truncated says that checksums are SHA-256 cut to the length of SHA-1
	// (flag "S", sha256_160), which are nobody's checksum.
	truncated bool
}

// catalogue collects the packages and files of databases.
type catalogue struct {
	records []record
	files   []entry
	index   map[string]int // name to records
	seed    hasher
}

// stanza is the package that is being read.
type stanza struct {
	start         int // offset, -1 outside a package
	name, version []byte
	arch, origin  []byte
	flags         []byte
	depends       int
	provides      int
	dir           int    // offset of the directory, or noDir or badDir
	dirHash       uint64 // of the directory
	files         int    // of the catalogue when the package began
}

const (
	noDir  = -1
	badDir = -2 // told already
)

func newStanza() stanza { return stanza{start: -1, dir: noDir} }

// parse adds the packages of an installed file and yields its defects. A
// package without a name or version is skipped; so is a line that is not
// understood, and a file whose name cannot be one. A line that the end of the
// file cuts off is not looked at.
func (c *catalogue) parse(src *source) iter.Seq[*owner.Error] {
	return func(yield func(*owner.Error) bool) {
		var (
			content = src.content
			s       = newStanza()
			ok      = true
		)
		report := func(off int, err error) { ok = ok && yield(owner.Defect(src.name, int64(off), err)) }
		off := 0
		for off < len(content) && ok {
			end := bytes.IndexByte(content[off:], '\n')
			if end < 0 {
				break
			}
			line := content[off : off+end]
			switch {
			case len(line) == 0:
				c.close(&s, src, report)
			case len(line) < 2 || line[1] != ':':
				report(off, errField)
			default:
				if s.start < 0 {
					s.start, s.files = off, len(c.files)
				}
				c.field(&s, src, off, report)
			}
			off += end + 1
		}
		if !ok || off == len(content) && s.start < 0 {
			return
		}
		report(len(content), errCut)
		// Files come last, so a package with some has all else.
		if ok && s.start >= 0 && len(c.files) > s.files {
			c.close(&s, src, func(int, error) {})
		}
	}
}

// field takes the field whose line begins at off.
func (c *catalogue) field(s *stanza, src *source, off int, report func(int, error)) {
	at := off + 2
	value := lineAt(src.content, at)
	switch src.content[off] {
	case 'P':
		s.name = value
	case 'V':
		s.version = value
	case 'A':
		s.arch = value
	case 'o':
		s.origin = value
	case 'f':
		s.flags = value
	case 'D':
		s.depends = at
	case 'p':
		s.provides = at
	case 'F':
		s.dir, s.dirHash = at, c.seed.dir(value)
		if !cleanRelative(value) {
			s.dir = badDir
			report(off, errDir)
		}
	case 'R':
		switch {
		case !fileName(value):
			report(off, errFile)
		case s.dir == noDir:
			report(off, errNoDir)
		case s.dir == badDir:
		case len(c.files) == maxFiles:
			report(off, errTooMany)
		default:
			c.files = append(c.files, entry{
				hash: c.seed.file(s.dirHash, value),
				dir:  uint32(s.dir), name: uint32(at), pkg: uint32(len(c.records)),
			})
		}
	}
}

// close ends the package that is being read and adds it.
func (c *catalogue) close(s *stanza, src *source, report func(int, error)) {
	if s.start < 0 {
		return
	}
	r, err := s.record(src)
	if err == nil {
		if _, dup := c.index[r.Name]; dup {
			err = errTwice
			if c.records[c.index[r.Name]].source != src {
				err = errOther
			}
		} else if len(c.records) == maxPackages {
			err = errTooMany
		}
	}
	if err == nil {
		c.index[r.Name] = len(c.records)
		c.records = append(c.records, r)
	} else {
		c.files = c.files[:s.files]
		if err != errOther {
			report(s.start, err)
		}
	}
	*s = newStanza()
}

// errOther says that the package is in the database that was read before, of
// which errTwo tells.
var errOther = errors.New("package is in the other database")

func (s *stanza) record(src *source) (record, error) {
	switch {
	case !word(s.name) || bytes.IndexByte(s.name, '/') >= 0:
		return record{}, errName
	case !word(s.version):
		return record{}, errNoVersion
	case len(s.arch) > 0 && !word(s.arch):
		return record{}, errArch
	}
	p := owner.Package{
		Manager: "apk", Name: string(s.name), Arch: string(s.arch), Version: string(s.version),
		State: owner.StateInstalled,
	}
	// An origin is built as a whole: its packages have its version.
	p.Source, p.SourceVersion = p.Name, p.Version
	if word(s.origin) {
		p.Source = string(s.origin)
	}
	if bytes.IndexByte(s.flags, 'f') >= 0 {
		p.State = stateBroken
	}
	return record{
		Package: p, source: src, depends: uint32(s.depends), provides: uint32(s.provides),
		truncated: bytes.IndexByte(s.flags, 'S') >= 0,
	}, nil
}

// sorted returns the packages by name and the files by hash.
func (c *catalogue) sorted() ([]record, []entry) {
	order := make([]uint32, len(c.records))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(c.records[a].Name, c.records[b].Name) })
	packages := make([]record, len(order))
	place := make([]uint32, len(order))
	for i, from := range order {
		packages[i] = c.records[from]
		place[from] = uint32(i)
	}
	for i := range c.files {
		c.files[i].pkg = place[c.files[i].pkg]
	}
	slices.SortFunc(c.files, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	return packages, c.files
}

// lineAt returns the line from an offset on, without its newline.
func lineAt(content []byte, off int) []byte {
	rest := content[off:]
	if end := bytes.IndexByte(rest, '\n'); end >= 0 {
		return rest[:end]
	}
	return rest
}

// word reports whether b can be a name or a version: printable ASCII without
// blanks.
func word(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0 && len(b) <= maxWord
}

// cleanRelative reports whether a directory is spelled as in a database: "" for
// the root, else names joined by single slashes, none of them "." or "..".
func cleanRelative(dir []byte) bool {
	if len(dir) == 0 {
		return true
	}
	for name := range bytes.SplitSeq(dir, []byte("/")) {
		if !fileName(name) {
			return false
		}
	}
	return true
}

func fileName(b []byte) bool {
	return len(b) > 0 && string(b) != "." && string(b) != ".." && !strings.ContainsAny(string(b), "/\x00")
}
