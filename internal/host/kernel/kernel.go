// Package kernel knows facts about Linux kernels: the one that runs, those that
// are installed in a root, which of them a boot loader would start, and what is
// patched live. It decides nothing and knows no packages.
//
// What it reads and what describes it:
//
//	proc/sys/kernel/osrelease, proc/version   proc(5)
//	sys/kernel/notes                          Documentation/ABI/testing/sysfs-kernel-notes, elf(5)
//	sys/kernel/livepatch                      Documentation/ABI/testing/sysfs-kernel-livepatch
//	bzImage                                   Documentation/arch/x86/boot.rst
//	arm64 Image                               Documentation/arch/arm64/booting.rst
//	EFI zboot                                 drivers/firmware/efi/libstub/zboot-header.S
//	unified kernel images                     UAPI.5 of the UAPI Group, PE/COFF
//	boot/loader/entries, loader/loader.conf   UAPI.1 of the UAPI Group, loader.conf(5)
//	grub.cfg, grubenv                         the GNU GRUB manual
//	extlinux.conf                             the SYSLINUX wiki, "Config"
package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Root is the directory that is looked at: a *file.Root, or an image's layers
// put together. Names are relative to it and cannot lead outside; errors are
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
	File   string // as named inside the root; empty where only a reader was given
	Offset int64  // byte offset of the defect; -1 when it has none
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

func errorAt(offset int64, format string, args ...any) *Error {
	return &Error{Offset: offset, Err: fmt.Errorf(format, args...)}
}

// inFile names the file that err is about.
func inFile(name string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok && e.File == "" {
		return &Error{File: name, Offset: e.Offset, Err: e.Err}
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return err // it has a name
	}
	return &Error{File: name, Offset: -1, Err: err}
}

// absent reports whether err only says that a file is not there.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// maxNames bounds the entries of a directory that are looked at.
const maxNames = 4096

// readDir returns the sorted names in a directory, none if it is missing. Beside
// an error is a part of them.
func readDir(root Root, dir string) ([]string, error) { return readDirUpTo(root, dir, maxNames) }

func readDirUpTo(root Root, dir string, limit int) ([]string, error) {
	names, err := root.ReadDir(dir, limit+1)
	if absent(err) {
		return nil, nil
	}
	if len(names) > limit {
		names = names[:limit]
		err = &Error{File: "/" + dir, Offset: -1, Err: fmt.Errorf("more than %d entries", limit)}
	}
	slices.Sort(names)
	return names, err
}

// readAll reads what r has, or fails with file.ErrTooLarge beyond limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &Error{Offset: limit, Err: file.ErrTooLarge}
	}
	return data, err
}
