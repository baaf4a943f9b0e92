package sentinel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Package is an installed package.
type Package struct {
	Name string
	// Provides are the names of the capabilities that it provides, without
	// versions. A package provides its own name, which need not be here.
	Provides  []string
	Installed time.Time
}

// List says for which packages a tool asks for a reboot when they are installed or
// upgraded.
type List struct {
	Names    []string
	Provides []string // packages that provide one of these
}

// Has reports whether the list names a package.
func (l List) Has(p Package) bool {
	if slices.Contains(l.Names, p.Name) || slices.Contains(l.Provides, p.Name) {
		return true
	}
	return slices.ContainsFunc(p.Provides, func(c string) bool { return slices.Contains(l.Provides, c) })
}

// After returns the names of the packages of the list that were installed after
// boot, once each, sorted: what "needs-restarting -r" prints. As there, times count
// in whole seconds. A package whose time is not known (zero) is not returned.
func (l List) After(boot time.Time, packages []Package) []string {
	var names []string
	for _, p := range packages {
		if p.Installed.Unix() > boot.Unix() && !p.Installed.IsZero() && l.Has(p) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// RedHat is the list that needs-restarting has built in: that of dnf5
// (CORE_PACKAGE_NAMES in libdnf5/rpm/package_query.cpp). Those of dnf 4
// (NEED_REBOOT in dnf-plugins-core, plugins/needs_restarting.py) and of yum
// (REBOOTPKGS in yum-utils, needs-restarting.py) are parts of it. Packages with an
// advisory that suggests a reboot, which dnf5 adds, are not here.
func RedHat() List {
	return List{Names: []string{
		"kernel", "kernel-core", "kernel-PAE", "kernel-rt", "kernel-smp", "kernel-xen",
		"linux-firmware", "microcode_ctl",
		"glibc", "gnutls", "openssl-libs",
		"systemd", "udev", "hal",
		"dbus", "dbus-broker", "dbus-daemon",
	}}
}

// SUSE is the list that libzypp has built in (TargetImpl::load in
// zypp/target/TargetImpl.cc).
func SUSE() List {
	return List{
		Names:    []string{"kernel-firmware"},
		Provides: []string{"installhint(reboot-needed)", "kernel"},
	}
}

// Limits of a directory of lists.
const maxFiles = 1024

// ReadRedHat returns the list of needs-restarting with what
// /etc/dnf/plugins/needs-restarting.d of a root adds to it; dnf 4 alone reads that.
// What could be read is returned beside an error.
func ReadRedHat(root Root) (List, error) {
	l := RedHat()
	const dir = "/etc/dnf/plugins/needs-restarting.d"
	names, err := readDir(root, dir, func(name string) bool { return strings.HasSuffix(name, ".conf") })
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, l.readFile(root, dir+"/"+name, ParseRedHat))
	}
	return l.sorted(), errors.Join(errs...)
}

// ReadSUSE returns the list of libzypp with what /etc/zypp/needreboot and
// /etc/zypp/needreboot.d of a root add to it. What could be read is returned beside
// an error.
func ReadSUSE(root Root) (List, error) {
	l := SUSE()
	errs := []error{l.readFile(root, "/etc/zypp/needreboot", ParseSUSE)}
	const dir = "/etc/zypp/needreboot.d"
	names, err := readDir(root, dir, func(name string) bool {
		for _, backup := range []string{".rpmnew", ".rpmsave", ".rpmorig"} {
			if strings.HasSuffix(name, backup) {
				return false
			}
		}
		return !strings.HasPrefix(name, ".")
	})
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, l.readFile(root, dir+"/"+name, ParseSUSE))
	}
	return l.sorted(), errors.Join(errs...)
}

func readDir(root Root, dir string, wanted func(string) bool) ([]string, error) {
	names, err := root.ReadDir(dir, maxFiles)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !wanted(name) })
	slices.Sort(names)
	return names, err
}

// readFile adds what a file says.
func (l *List) readFile(root Root, name string, parse func(io.Reader) (List, error)) error {
	data, err := root.ReadFile(name, maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	more, err := parse(bytes.NewReader(data))
	l.Names = append(l.Names, more.Names...)
	l.Provides = append(l.Provides, more.Provides...)
	if len(l.Names) > maxNames || len(l.Provides) > maxNames {
		l.Names, l.Provides = l.Names[:min(len(l.Names), maxNames)], l.Provides[:min(len(l.Provides), maxNames)]
		err = errors.Join(err, errNames)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return err
}

func (l List) sorted() List {
	slices.Sort(l.Names)
	slices.Sort(l.Provides)
	return List{slices.Compact(l.Names), slices.Compact(l.Provides)}
}

// ParseRedHat reads a file of needs-restarting.d: the exact name of a package on
// each line. A line that is no name is the error if it is the first of them, with
// its byte offset; all else is returned beside it. Comments are not known there, so
// one is such a line, unless it is a single word.
func ParseRedHat(r io.Reader) (List, error) {
	return parseList(r, func(line string) (name, provides string) { return line, "" })
}

// ParseSUSE reads a file of libzypp's: on each line the name of a package, or
// "provides:" and the name of a capability. Empty lines and those that begin with
// "#" do not count; for the error, see ParseRedHat.
func ParseSUSE(r io.Reader) (List, error) {
	return parseList(r, func(line string) (name, provides string) {
		if strings.HasPrefix(line, "#") {
			return "", ""
		}
		if capability, ok := strings.CutPrefix(line, "provides:"); ok {
			// One with a version, "kernel >= 5", is true of any here.
			capability, _, _ = strings.Cut(strings.TrimSpace(capability), " ")
			return "", capability
		}
		return line, ""
	})
}

func parseList(r io.Reader, parse func(line string) (name, provides string)) (List, error) {
	var l List
	err := eachLine(r, func(line string) error {
		name, provides := parse(line)
		switch {
		case len(l.Names)+len(l.Provides) == maxNames:
			return errNames
		case isName(name):
			l.Names = append(l.Names, name)
		case isName(provides):
			l.Provides = append(l.Provides, provides)
		case name != "" || provides != "":
			return errName
		}
		return nil
	})
	return l, err
}
