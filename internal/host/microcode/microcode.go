// Package microcode knows which microcode the processors of this machine run, and which
// the installed files and initial ramdisks hold for them.
//
// It reports facts: whether a revision in a file means that anything is to be done is
// not decided here.
package microcode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/packed"
)

// Vendors as CPUID spells them.
const (
	Intel = "GenuineIntel"
	AMD   = "AuthenticAMD"
)

// ErrNoUpdate says that nothing is there for the processor: no file, or one without an
// update for it.
var ErrNoUpdate = errors.New("no microcode for this processor")

// ErrPlatform says that updates for the processor's signature are there, but that the
// kernel does not tell its platform, so it is not known whether they fit.
var ErrPlatform = errors.New("platform of the processor is not known")

// Root is the root directory of a file system: a *file.Root, or one that is put
// together of several. Names are relative to it and cannot lead outside; errors are
// those of package fs and of the system calls.
type Root interface {
	Open(name string) (*os.File, error)
	Stat(name string) (file.Info, error)
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string, limit int) ([]string, error)
	Readlink(name string) (string, error)
}

// Update is one microcode update in a file.
type Update struct {
	Revision uint32
	// Date is the day that its header gives, YYYY-MM-DD; empty if that is no date.
	Date string
	// File is absolute in the root. Member is the name inside the file's archive,
	// empty if the file is none. Offset is where the update's header begins, in bytes
	// from the beginning of the member, or of the file, uncompressed.
	File   string
	Member string
	Offset int64
}

// Error is a defect of one file.
type Error struct {
	File string // as named inside its root
	// Offset is the byte offset of the defect: in the uncompressed content, or in the
	// file where Err is about its compression; -1 when it has none.
	Offset int64
	Err    error
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Offset >= 0 {
		s = fmt.Sprintf("offset %d: %s", e.Offset, s)
	}
	if e.File != "" {
		s = e.File + ": " + s
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// defect names the file of an error. The outside name that an I/O error carries is
// dropped: it would repeat it.
func defect(name string, err error) error {
	if d, ok := errors.AsType[*Error](err); ok {
		if d.File == "" {
			d.File = name
		}
		return d
	}
	if p, ok := errors.AsType[*packed.Error](err); ok {
		return &Error{File: name, Offset: p.Offset, Err: p.Err}
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return &Error{File: name, Offset: -1, Err: err}
}

// formatErrorf is a defect of a content whose name the caller knows.
func formatErrorf(offset int, format string, args ...any) error {
	return &Error{Offset: int64(offset), Err: fmt.Errorf(format, args...)}
}

// newest returns the update of the highest revision for cpu in the content of a
// microcode file. What stands before a defect counts, as for the kernel.
func newest(b []byte, cpu CPU) (Update, error) {
	switch cpu.Vendor {
	case Intel:
		return newestIntel(b, cpu)
	case AMD:
		return newestAMD(b, cpu)
	}
	return Update{}, ErrNoUpdate
}

// choice is the best update so far.
type choice struct{ best Update }

// add takes an update unless its revision is 0, which is that of a processor without one
// and so newer than nothing.
func (c *choice) add(u Update) {
	if u.Revision > c.best.Revision {
		c.best = u
	}
}

func (c *choice) result(err error) (Update, error) {
	if err == nil && c.best.Revision == 0 {
		err = ErrNoUpdate
	}
	return c.best, err
}

// date turns the BCD of both vendors, month, day and year of MMDDYYYY, into a day.
func date(bcd uint32) string {
	month, day, year := bcd>>24, bcd>>16&0xff, bcd&0xffff
	if month == 0 || month > 0x12 || day == 0 || day > 0x31 || year < 0x1990 {
		return ""
	}
	for v := bcd; v > 0; v >>= 4 {
		if v&0xf > 9 {
			return ""
		}
	}
	return fmt.Sprintf("%04x-%02x-%02x", year, month, day)
}
