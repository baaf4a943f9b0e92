package advisory

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrCorrupt says that a file is not, or no longer, an index of this package.
	ErrCorrupt = errors.New("not a sound index of advisories")
	// ErrSchema says that an index was written by another version of the program:
	// import again.
	ErrSchema = errors.New("the index of advisories is of another version")
	// ErrNoSource says that there was nothing to import. An index that was there
	// before stays.
	ErrNoSource = errors.New("no advisories found")
	// ErrBusy says that another import into the same index is under way.
	ErrBusy = errors.New("another import of advisories is under way")
	// ErrNotCovered says that the index holds nothing for an ecosystem, so that what
	// affects its packages is not known.
	ErrNotCovered = errors.New("no advisories for this ecosystem")
	// ErrVersion says that versions cannot be compared, so that the answer is not
	// known, or is short where one comes beside it.
	ErrVersion = errors.New("versions cannot be compared")
)

// Query asks what was fixed between two versions of one package.
type Query struct {
	// Ecosystem is a name as [Ecosystem] returns it.
	Ecosystem string
	// Package is the name of the source package for Debian, Ubuntu, Alpine, Rocky
	// Linux and SUSE; Red Hat and AlmaLinux name binary packages (and some
	// sources): ask for both. For Go and crates.io it is the module or crate.
	Package string
	// Loaded and Installed are versions of that package, in the ecosystem's form.
	Loaded, Installed string
}

// Vulnerability is one vulnerability in one package.
type Vulnerability struct {
	// ID is the CVE, or the record's own ID where no CVE is known.
	ID string
	// Advisories are the records that say so, where their ID is another.
	Advisories []string
	// Aliases are other names of the same vulnerability, such as GHSA-….
	Aliases  []string
	Severity Severity
	// Fixed is the first version that is said not to be affected any more, empty
	// where there is none.
	Fixed string
	// Exploited says that CISA lists it as exploited in the wild.
	Exploited bool
	// Undetermined says that Debian has not determined whether the package is
	// affected.
	Undetermined bool
}

// Severity is how bad a vulnerability is. Zero is not known.
type Severity struct {
	// Score is the CVSS base score, from 0.1 to 10; 0 where there is no vector of
	// version 2 or 3, or where that says that there is no impact.
	Score float64
	// Vector is the CVSS vector as the record gives it, also one of version 4.
	Vector string
	// Rating is low, medium, high, critical or empty: by the score, else as the
	// record says.
	Rating string
}

// Stats tells what an import did.
type Stats struct {
	// Unchanged says that every file was imported before, and nothing was done;
	// the rest tells of that earlier import then.
	Unchanged bool
	Files     int // files that hold advisories
	Ignored   int // files that do not claim to
	Entries   int // advisories imported
	Withdrawn int // advisories that their authors withdrew
	// Malformed counts everything that could not be understood. Problems are the
	// first of them.
	Malformed int
	Problems  []*Problem
}

// Problem is something in a file that could not be understood. What stands
// around it has been imported.
type Problem struct {
	File   string
	Entry  string // the entry within the file, empty where it has none
	Offset int64  // in the uncompressed content (of the entry); -1 where it has none
	Err    error
}

func (p *Problem) Error() string {
	s := p.File
	if p.Entry != "" {
		s += fmt.Sprintf(": %.200q", p.Entry)
	}
	if p.Offset >= 0 {
		s += fmt.Sprintf(": offset %d", p.Offset)
	}
	return fmt.Sprintf("%s: %v", s, p.Err)
}

func (p *Problem) Unwrap() error { return p.Err }

// Kinds of files.
const (
	KindOSV     = "osv"
	KindTracker = "debian-tracker"
	KindSecDB   = "alpine-secdb"
	KindKEV     = "cisa-kev"
)

// Status tells what an index holds.
type Status struct {
	ImportedAt time.Time
	// Newest is when the newest advisory was last modified, zero if none says.
	Newest time.Time
	// Sources are the files, those with most entries first, 1,000 at most; Files
	// counts all.
	Sources []Source
	Files   int
	// Entries and Malformed are sums over all files.
	Entries, Malformed int
	// Ecosystems says for what there are advisories.
	Ecosystems []Coverage
}

// Source is one imported file.
type Source struct {
	File    string
	Kind    string // KindOSV, …, joined by commas where a file holds several; empty if none was recognised
	Entries int
	// Malformed counts what could not be understood; Problem is the first of it.
	Malformed int
	Problem   string
	// Complete is false if the file could not be read to its end.
	Complete bool
	// Newest is when its newest advisory was last modified, zero if it does not say.
	Newest time.Time
}

// Coverage is one ecosystem with a release, as in "Debian:12", without the
// variants that do not matter for a lookup (":LTS", "::baseos").
type Coverage struct {
	Ecosystem string
	Packages  int
}
