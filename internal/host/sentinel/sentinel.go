// Package sentinel knows by what files and lists a reboot is asked for: those that
// distributions and their tools leave for one another.
//
// They are somebody's wish and no evidence: most are written because a package of
// a certain name was installed, whatever runs. It decides nothing.
//
// What it reads and what describes it:
//
//	run/reboot-required, .pkgs   notify-reboot-required of update-notifier-common and reboot-notifier,
//	                             etc/kernel/postinst.d/unattended-upgrades; kured's default (--reboot-sentinel)
//	run/reboot-needed            libzypp (zypp/target/TargetImpl.cc); "zypper needs-rebooting", zypper(8)
//	etc/dnf/plugins/needs-restarting.d   dnf-plugins-core, plugins/needs_restarting.py
//	etc/zypp/needreboot, .d      libzypp, zypp/target/TargetImpl.cc and zypp/sat/SolvableSpec.cc
package sentinel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Root is the directory that is looked at: a *file.Root. Names are relative to it
// and cannot lead outside; errors are those of package fs and of the system calls.
type Root interface {
	Open(name string) (*os.File, error)
	Stat(name string) (file.Info, error)
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string, limit int) ([]string, error)
}

// Request is a file that asks for a reboot.
type Request struct {
	File string // absolute in its root
	// Since is when the file was last written: not before the reboot was first
	// asked for.
	Since time.Time
	// Packages are those for which a reboot was asked, sorted. A file of another
	// kind than Debian's names none. Whoever prints them escapes them.
	Packages []string
	// Own says that Maintain wrote it and nobody else has touched it since: it
	// repeats what this program found, and is no request of another.
	Own bool
}

// files are where a reboot is asked for. /var/run is the same directory as /run but
// on old systems and in odd images.
var files = []string{
	"/run/reboot-required",
	"/var/run/reboot-required",
	"/run/reboot-needed",
	"/var/run/reboot-needed",
}

// Read lists the files of a root that ask for a reboot. What could be read is
// returned beside an error; a file that is not there is none.
func Read(root Root) ([]Request, error) {
	var requests []Request
	var errs []error
	seen := make(map[file.ID]bool)
	for _, name := range files {
		info, err := root.Stat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && seen[info.ID] {
			continue
		}
		if err == nil {
			seen[info.ID] = true
		}
		r, ok, err := ReadFile(root, name)
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			requests = append(requests, r)
		}
	}
	return requests, errors.Join(errs...)
}

// ReadFile looks at one such file, such as the one that kured was told to look at
// (--reboot-sentinel). Its content does not count, only that it is a regular file;
// and ".pkgs" beside it may name packages. An error that comes with a request is
// about those.
func ReadFile(root Root, name string) (Request, bool, error) {
	name = file.Clean(name)
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Request{}, false, nil
	}
	if err != nil {
		return Request{}, false, err
	}
	defer f.Close()
	info, err := file.StatFD(int(f.Fd()))
	if err != nil {
		return Request{}, false, fmt.Errorf("%s: %w", name, err)
	}
	r := Request{File: name, Since: info.Mtime}
	r.Own = isOwn(f, info.Mtime)

	list, err := root.Open(name + packagesSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return r, true, nil
	}
	if err != nil {
		return r, true, err
	}
	defer list.Close()
	if info, err = file.StatFD(int(list.Fd())); err == nil {
		// Others add to the list without touching the file.
		r.Own = r.Own && info.Mtime.Equal(r.Since)
		r.Packages, err = ParsePackages(list)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name+packagesSuffix, err)
	}
	return r, true, err
}

// packagesSuffix is what the name of the list of packages ends in.
const packagesSuffix = ".pkgs"

// Limits of a list of packages: bytes of all and of one name, and names.
const (
	maxList  = 1 << 20
	maxName  = 256
	maxNames = 4096
)

// ParsePackages reads a list of packages: a name on each line, and often the same
// again. Names are returned once each, sorted. A line that cannot be the name of a
// package is left out, and the first of them is the error, with its byte offset;
// all else is returned beside it.
func ParsePackages(r io.Reader) ([]string, error) {
	seen := make(map[string]bool)
	err := eachLine(r, func(line string) error {
		switch {
		case line == "": // the name of a package that a script did not know
			return nil
		case !isName(line):
			return errName
		case seen[line]:
			return nil
		case len(seen) == maxNames:
			return errNames
		}
		seen[line] = true
		return nil
	})
	if len(seen) == 0 {
		return nil, err
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, err
}

var (
	errName  = errors.New("not the name of a package")
	errNames = fmt.Errorf("more than %d names", maxNames)
)

// eachLine calls do for each line, without the white space at its ends, and
// returns the first error of it, with the byte offset of the line.
func eachLine(r io.Reader, do func(line string) error) error {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err == nil && len(data) > maxList {
		err = fmt.Errorf("more than %d bytes", maxList)
	}
	if err != nil {
		// The last line may be cut, which would make a wrong name.
		data = data[:bytes.LastIndexByte(data, '\n')+1]
		err = fmt.Errorf("offset %d: %w", len(data), err)
	}
	offset := 0
	for line := range bytes.Lines(data) {
		if lineErr := do(string(bytes.TrimSpace(line))); lineErr != nil && err == nil {
			err = fmt.Errorf("offset %d: %w", offset, lineErr)
		}
		offset += len(line)
	}
	return err
}

// isName reports whether s can be the name of a package, of whatever manager:
// graphic ASCII characters.
func isName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}
