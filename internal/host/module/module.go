// Package module knows the kernel modules that are loaded, and the files that would
// be loaded in their place now.
//
// It reports facts: whether a module that runs has the content of its file. What
// to do about one that has not is not decided here.
package module

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/packed"
)

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
func defect(name string, offset int64, err error) error {
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
	return &Error{File: name, Offset: offset, Err: err}
}

// formatErrorf is a defect of a content whose name the caller knows.
func formatErrorf(offset uint64, format string, args ...any) error {
	return &Error{Offset: int64(offset), Err: fmt.Errorf(format, args...)}
}

// Outcome says how a loaded module compares with the file that would be loaded now.
type Outcome uint8

const (
	// Unknown: it could not be told; Reason says why.
	Unknown Outcome = iota
	// Same: the file holds what is loaded.
	Same
	// Other: the file holds something else.
	Other
	// Gone: there is no such file any more.
	Gone
)

func (o Outcome) String() string {
	switch o {
	case Same:
		return "same"
	case Other:
		return "other"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Result is one loaded module beside the file that would be loaded now.
type Result struct {
	Loaded Loaded
	Found  Found
	// File is what the file says of itself; nil if there is none or it could not
	// be read.
	File    *Info
	Outcome Outcome
	// Reason is a sentence without a full stop: what the outcome rests on.
	Reason string
	// Err is why Outcome is Unknown where reading failed; it names the file.
	Err error
}

// Compare sets each loaded module beside its file in tree. It reads the files that files
// does not know yet, which takes some milliseconds each where they are compressed. The
// error is that of ctx.
func Compare(ctx context.Context, loaded []Loaded, tree *Tree, files *Cache) ([]Result, error) {
	results := make([]Result, 0, len(loaded))
	for _, l := range loaded {
		if err := ctx.Err(); err != nil {
			return results, err
		}
		results = append(results, tree.compare(l, files))
	}
	return results, nil
}

func (t *Tree) compare(l Loaded, files *Cache) Result {
	r := Result{Loaded: l, Found: t.Find(l.Name)}
	if r.Found.Path == "" {
		r.Outcome, r.Reason = t.absent(r.Found)
		return r
	}
	info, err := files.ReadFile(t.root, r.Found.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && t.indexErr != nil:
		r.Err, r.Reason = t.indexErr, "the index of modules cannot be read"
	case errors.Is(err, fs.ErrNotExist):
		r.Outcome, r.Reason = Gone, "the file that the index of modules names is not there"
	case err != nil:
		r.Err, r.Reason = err, "the file cannot be read"
	default:
		r.File = &info
		r.Outcome, r.Reason = compare(l, info)
	}
	return r
}

// absent judges a module for which no file was found.
func (t *Tree) absent(f Found) (Outcome, string) {
	switch {
	case f.Builtin:
		return Gone, "the installed kernel has it built in"
	case t.indexErr != nil:
		return Unknown, "the index of modules cannot be read"
	case t.dir == "":
		return Gone, "no modules of this release are installed"
	}
	return Gone, "no module of this name is installed"
}

// compare judges by the build ID, which is a hash of what the linker wrote; else by
// srcversion, a hash of the module's own sources, which does not show what came in
// from headers; else by the version its author gave, which only tells when it differs.
func compare(l Loaded, f Info) (Outcome, string) {
	switch {
	case l.BuildID != "" && f.BuildID != "":
		if l.BuildID == f.BuildID {
			return Same, "same build ID"
		}
		return Other, "other build ID"
	case l.Srcversion != "" && f.Srcversion != "":
		if l.Srcversion == f.Srcversion {
			return Same, "same srcversion; there is no build ID to compare"
		}
		return Other, "other srcversion"
	case l.Version != "" && f.Version != "" && l.Version != f.Version:
		return Other, "other version"
	case l.BuildID == "" && l.Srcversion == "":
		return Unknown, "the loaded module has neither build ID nor srcversion"
	}
	return Unknown, "the file does not have the identity that the loaded module has"
}
