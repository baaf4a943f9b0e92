// Package owner is the vocabulary of package ownership: who shipped a file in a
// root, in which version, what that version changed, and what was installed
// when. The databases themselves are read by the packages below it.
package owner

import (
	"crypto"
	"errors"
	"fmt"
	"time"
)

// ErrNoDatabase says that a root holds no database of the kind asked for.
var ErrNoDatabase = errors.New("no package database")

// ErrNoChangelog says that a package brought no changelog to this root, so
// what its versions changed is not known.
var ErrNoChangelog = errors.New("no changelog")

// Error is a defect of one file of a package database. What could be read
// around it has been read.
type Error struct {
	File   string // as named inside the root
	Offset int64  // byte offset of the defect, in the uncompressed content; -1 when it has none
	Err    error
}

func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: offset %d: %v", e.File, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Package is one package as a database describes it.
type Package struct {
	Manager string // "dpkg", "rpm", "apk" or "pacman"
	Name    string
	Arch    string
	Version string
	// Source and SourceVersion name what the package was built from; they
	// equal Name and Version unless the database says otherwise.
	Source        string
	SourceVersion string
	// Vendor is who built the package and Module the modularity label
	// (NAME:STREAM:VERSION:CONTEXT), where the database says so.
	Vendor, Module string
	// State is StateInstalled, or the manager's own word for a state in which
	// files and version may disagree.
	State string
}

// StateInstalled is the state of a package whose files match its version.
const StateInstalled = "installed"

// Owned is the answer for one path.
type Owned struct {
	Package Package
	// Path is the path as the database spells it, which differs from the one
	// asked for by merged directories (/lib for /usr/lib) and diversions.
	Path string
}

// Checksum is the content that a package recorded for one of its files.
type Checksum struct {
	Hash crypto.Hash
	Sum  string // lower-case hex
	// RecordedAt is when the record itself last changed (its ctime): the
	// content was this at that time.
	RecordedAt time.Time
}

// Change is one step in a package's history on this machine.
type Change struct {
	Name string
	Arch string
	// From is the version before, empty for a first installation; To the
	// version after, empty for a removal.
	From, To string
	// Begin and End bound the moments at which files changed. Zero End means
	// that the log does not show it finished.
	Begin, End time.Time
}

// Entry is one version's section of a changelog, newest first in a Changelog.
type Entry struct {
	Version string
	Urgency string // low|medium|high|emergency|critical, lower case; empty when not given
	CVEs    []string
}

// Changelog is what the installed package says about versions newer than one
// that was asked about.
type Changelog struct {
	Entries []Entry
	// Complete says that the changelog reaches back to the older version, so
	// that nothing lies between which it does not show.
	Complete bool
	// File is the changelog's name inside the root.
	File string
}
