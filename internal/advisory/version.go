package advisory

import (
	"fmt"
	"strings"

	"github.com/google/osv-scalibr/semantic"
)

// maxVersion bounds a version, in bytes.
const maxVersion = 512

// version is a version that can be compared with others of its ecosystem.
type version struct {
	text   string
	parsed semantic.Version
}

// order is how the versions of an ecosystem are read.
type order func(string) (version, error)

// orderOf returns the order of an ecosystem, whose release does not matter. The
// libraries below take anything for a version, so what is none is told here.
func orderOf(ecosystem string) order {
	family, _, _ := strings.Cut(ecosystem, ":")
	parse := func(s string) (semantic.Version, error) { return semantic.Parse(s, family) }
	valid := printable
	switch family {
	case "Debian", "Ubuntu":
		valid = validDebian
		parse = func(s string) (semantic.Version, error) { return semantic.ParseDebianVersion(s) }
	case "AlmaLinux", "Azure Linux", "Mageia", "openEuler", "openSUSE", "Red Hat", "Rocky Linux", "SUSE":
		valid = validRPM
		parse = func(s string) (semantic.Version, error) { return semantic.ParseRedHatVersion(s), nil }
	case "Alpaquita", "Alpine", "BellSoft Hardened Containers", "Chainguard", "MinimOS", "Wolfi":
		valid = validAPK
		parse = func(s string) (semantic.Version, error) { return semantic.ParseAlpineVersion(s) }
	case "crates.io", "Go":
		return semver
	}
	return func(s string) (version, error) { return read(s, valid, parse) }
}

// remembering returns an order that reads each version once: one question compares
// the same few with many others. It is not for concurrent use.
func (o order) remembering() order {
	seen := make(map[string]version)
	return func(s string) (version, error) {
		v, ok := seen[s]
		if ok {
			return v, nil
		}
		v, err := o(s)
		if err == nil {
			seen[s] = v
		}
		return v, err
	}
}

// semver is the order of ranges of type SEMVER, and of ecosystems that use it.
func semver(s string) (version, error) {
	return read(s, validSemver, func(s string) (semantic.Version, error) { return semantic.ParseSemverVersion(s), nil })
}

func read(s string, valid func(string) bool, parse func(string) (semantic.Version, error)) (version, error) {
	if s == "" || len(s) > maxVersion || !valid(s) {
		return version{}, fmt.Errorf("%w: %.64q is no version", ErrVersion, s)
	}
	v, err := parse(s)
	if err != nil {
		return version{}, fmt.Errorf("%w: %.64q: %w", ErrVersion, s, err)
	}
	return version{s, v}, nil
}

// compare returns a negative number, zero or a positive one as v is older than, as
// old as, or newer than w.
func (v version) compare(w version) (int, error) {
	n, err := v.parsed.Compare(w.parsed)
	if err != nil {
		return 0, fmt.Errorf("%w: %.64q and %.64q: %w", ErrVersion, v.text, w.text, err)
	}
	return n, nil
}

// plain is the form in which versions are looked up in lists: without what does
// not count, an epoch 0 or the v that Go puts before a number.
func plain(ecosystem, v string) string {
	if ecosystem == "Go" {
		return strings.TrimPrefix(v, "v")
	}
	return strings.TrimPrefix(v, "0:")
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// of tells whether s consists of letters, digits and the characters of extra.
func of(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(extra, c) >= 0) {
			return false
		}
	}
	return true
}

// withoutEpoch returns what follows a numeric epoch.
func withoutEpoch(s string) (string, bool) {
	epoch, rest, ok := strings.Cut(s, ":")
	if !ok {
		return s, s != ""
	}
	return rest, epoch != "" && digits(epoch) == len(epoch) && rest != ""
}

// validDebian is deb-version(7).
func validDebian(s string) bool {
	rest, ok := withoutEpoch(s)
	return ok && rest[0] != '-' && of(rest, ".+-~:_")
}

// validRPM is rpm-version(7), with the characters that rpm lets into versions and
// releases (build/parsePreamble.c).
func validRPM(s string) bool {
	rest, ok := withoutEpoch(s)
	return ok && rest[0] != '-' && of(rest, "._+~^-%{}")
}

// validAPK is the grammar of apk-package(5):
// number{.number}{letter}{_suffix{number}}{~hash}{-r#}.
func validAPK(s string) bool {
	n := digits(s)
	if n == 0 {
		return false
	}
	s = s[n:]
	for strings.HasPrefix(s, ".") {
		if n = digits(s[1:]); n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		s = s[1:]
	}
	for strings.HasPrefix(s, "_") {
		word := 0
		for _, suffix := range []string{"alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"} {
			if strings.HasPrefix(s[1:], suffix) {
				word = len(suffix)
				break
			}
		}
		if word == 0 {
			return false
		}
		s = s[1+word:]
		s = s[digits(s):]
	}
	if strings.HasPrefix(s, "~") {
		hash := strings.TrimLeft(s[1:], "0123456789abcdef")
		if len(hash) == len(s)-1 {
			return false
		}
		s = hash
	}
	if build, ok := strings.CutPrefix(s, "-r"); ok {
		return build != "" && digits(build) == len(build)
	}
	return s == ""
}

// validSemver is semver.org 2.0.0 with one to three numbers, and with the v that Go
// puts before them.
func validSemver(s string) bool {
	s = strings.TrimPrefix(s, "v")
	for i := range 3 {
		n := digits(s)
		if n == 0 {
			return false
		}
		s = s[n:]
		if i == 2 || !strings.HasPrefix(s, ".") {
			break
		}
		s = s[1:]
	}
	return s == "" || len(s) > 1 && (s[0] == '-' || s[0] == '+') && of(s[1:], ".-+")
}
