package dpkg

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// dpkg's words for the states in which a package has no files (dpkg(1),
// "Package states").
const (
	stateNotInstalled = "not-installed"
	stateConfigFiles  = "config-files"
)

var (
	errNoColon     = errors.New("line is neither a field nor a continuation")
	errNoNewline   = errors.New("file does not end with a newline")
	errPackageName = errors.New("stanza has no valid Package field")
	errArch        = errors.New("stanza has no valid Architecture")
	errStatus      = errors.New("stanza has a Status that is not three words")
	errNoVersion   = errors.New("package has no Version")
	errTwice       = errors.New("package has a second stanza")
)

// record is a package and where the files that describe it are.
type record struct {
	owner.Package
	sameArch bool   // Multi-Arch: same, so its files are named NAME:ARCH
	control  string // for a package of status.d: its control file
}

// source says what kind of file a stanza comes from.
type source struct {
	file     string
	control  bool // status.d: a stanza without Status is installed
	override bool // updates: a stanza replaces what was read before
}

// stanzas collects packages from several files.
type stanzas struct {
	records []record
	index   map[[2]string]int // name and architecture to records
}

// parse adds the packages of deb822 stanzas (deb-control(5)) and yields the
// defects. A stanza without a name is skipped; a line that is no field is
// skipped alone.
func (s *stanzas) parse(content []byte, src source) iter.Seq[*owner.Error] {
	return func(yield func(*owner.Error) bool) {
		var (
			r     fields
			start = -1 // offset of the stanza, -1 outside one
			ok    = true
		)
		report := func(off int, err error) { ok = ok && yield(owner.Defect(src.file, int64(off), err)) }
		flush := func() {
			if start >= 0 {
				s.add(&r, src, func(err error) { report(start, err) })
			}
			r, start = fields{}, -1
		}
		for off := 0; off < len(content) && ok; {
			line := content[off:]
			end := bytes.IndexByte(line, '\n')
			if end < 0 {
				report(len(content), errNoNewline)
				end = len(line)
			}
			line = line[:end]
			switch {
			case len(bytes.TrimSpace(line)) == 0:
				flush()
			case line[0] == ' ' || line[0] == '\t' || line[0] == '#':
			default:
				name, value, found := bytes.Cut(line, []byte(":"))
				if !found {
					report(off, errNoColon)
					break
				}
				if start < 0 {
					start = off
				}
				r.set(name, bytes.TrimSpace(value))
			}
			off += end + 1
		}
		if ok {
			flush()
		}
	}
}

// fields are the values of one stanza that matter here.
type fields struct{ name, arch, version, status, multiArch, source []byte }

// set keeps a field; dpkg compares names without regard to case.
func (r *fields) set(name, value []byte) {
	var to *[]byte
	var want string
	switch len(name) {
	case len("Status"):
		if name[1]|0x20 == 't' {
			to, want = &r.status, "Status"
		} else {
			to, want = &r.source, "Source"
		}
	case len("Package"):
		if name[0]|0x20 == 'p' {
			to, want = &r.name, "Package"
		} else {
			to, want = &r.version, "Version"
		}
	case len("Multi-Arch"):
		to, want = &r.multiArch, "Multi-Arch"
	case len("Architecture"):
		to, want = &r.arch, "Architecture"
	default:
		return
	}
	if string(name) == want || bytes.EqualFold(name, []byte(want)) {
		*to = value
	}
}

func (s *stanzas) add(r *fields, src source, report func(error)) {
	if !validName(r.name) {
		report(errPackageName)
		return
	}
	if len(r.arch) > 0 && !validName(r.arch) {
		report(errArch)
		return
	}
	p := owner.Package{
		Manager: "dpkg",
		Name:    string(r.name),
		Arch:    string(r.arch),
		Version: string(r.version),
		State:   stateNotInstalled,
	}
	switch words := bytes.Fields(r.status); {
	case len(words) == 3:
		p.State = state(words[2])
	case len(words) != 0:
		p.State = string(r.status)
		report(errStatus)
	case src.control:
		p.State = owner.StateInstalled
	}
	p.Source, p.SourceVersion = splitSource(r.source, p.Name, p.Version)
	rec := record{Package: p, sameArch: bytes.EqualFold(r.multiArch, []byte("same"))}
	if src.control {
		rec.control = src.file
	}
	if rec.ownsFiles() && p.Version == "" {
		report(errNoVersion)
	}

	key := [2]string{p.Name, p.Arch}
	if i, dup := s.index[key]; dup {
		if src.override {
			s.records[i] = rec
		} else {
			report(errTwice)
		}
		return
	}
	if len(s.records) == maxPackages {
		report(errTooMany)
		return
	}
	if s.index == nil {
		s.index = make(map[[2]string]int, 1024)
	}
	s.index[key] = len(s.records)
	s.records = append(s.records, rec)
}

// owning returns the packages that may own files, sorted by name and
// architecture.
func (s *stanzas) owning() []record {
	out := slices.DeleteFunc(s.records, func(r record) bool { return !r.ownsFiles() })
	slices.SortFunc(out, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch))
	})
	return out
}

func (r *record) ownsFiles() bool {
	return r.State != stateNotInstalled && r.State != stateConfigFiles
}

// state maps dpkg's state to Package.State. A package that only waits for a
// trigger is unpacked and configured: its files match its version.
func state(word []byte) string {
	switch string(word) {
	case "installed", "triggers-awaited", "triggers-pending":
		return owner.StateInstalled
	}
	return string(word)
}

// splitSource splits a Source field, "name" or "name (version)".
func splitSource(field []byte, name, version string) (string, string) {
	if len(field) == 0 {
		return name, version
	}
	src, rest, found := bytes.Cut(field, []byte("("))
	if v, _, ok := bytes.Cut(rest, []byte(")")); found && ok {
		version = string(bytes.TrimSpace(v))
	}
	return string(bytes.TrimSpace(src)), version
}

// validName holds a package or architecture name to what dpkg accepts
// (lib/dpkg/parsehelp.c, pkg_name_is_illegal), so that it can stand in a file
// name.
func validName(name []byte) bool {
	for i, c := range name {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '-' && c != '+' && c != '.' && c != '_') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= 255
}

// stems returns the names, relative to the root and without extension, that
// the package's files in info may have, likeliest first
// (lib/dpkg/db-ctrl-access.c, pkg_infodb_get_file).
func (r *record) stems() []string {
	plain := admin + "info/" + r.Name
	qualified := fmt.Sprintf("%s:%s", plain, r.Arch)
	if r.sameArch {
		return []string{qualified, plain}
	}
	return []string{plain, qualified}
}
