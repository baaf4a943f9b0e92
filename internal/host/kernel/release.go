package kernel

import (
	"cmp"
	"strings"
)

// rpmArchitectures are those that end a kernel release of Fedora, its
// derivatives and others that build kernels as RPM packages.
var rpmArchitectures = [...]string{"x86_64", "aarch64", "ppc64le", "ppc64", "s390x", "i686", "i586", "armv7hl", "riscv64", "loongarch64", "x86_64_v2"}

// rpmLines are words inside such a release that make a line of kernels of its
// own beside the distribution's: Oracle's UEK, ELRepo, and real-time kernels of
// RHEL 8, whose package is another one.
var rpmLines = [...]struct{ mark, line string }{
	{"uek", "uek"}, {".elrepo", "elrepo"}, {".rt", "rt"},
}

// SplitRelease divides a kernel release into the version, which grows, and the
// flavour, which names the line of kernels that follow one another:
//
//	6.1.0-35-cloud-amd64              6.1.0-35             cloud-amd64   Debian
//	6.12.48+deb13-amd64               6.12.48+deb13        amd64         Debian 13
//	6.8.0-1015-aws                    6.8.0-1015           aws           Ubuntu
//	5.14.0-427.el9.x86_64+debug       5.14.0-427.el9       x86_64+debug  Fedora, RHEL
//	5.14.21-150500.55.62-default      5.14.21-150500.55.62 default       SUSE
//	6.6.41-0-lts                      6.6.41-0             lts           Alpine
//	6.9.7-arch1-1                     6.9.7-arch1-1        arch          Arch
//
// A kernel that somebody built has what they called it, or no flavour.
func SplitRelease(release string) (version, flavour string) {
	if version, flavour, ok := splitRPM(release); ok {
		return version, flavour
	}
	first, rest, more := strings.Cut(release, "-")
	end := len(first)
	// Debian 13 gave up the ABI number: its flavour follows at once.
	abi := strings.Contains(first, "+")
	for more {
		var word string
		word, rest, more = strings.Cut(rest, "-")
		switch {
		case isRC(word):
		case !abi && startsWithDigit(word):
			// Only one: i386 has the flavour 686-pae.
			abi = true
		default:
			// A word with a number and then a number alone is Arch's way.
			name := strings.TrimRight(word, "0123456789")
			next, after, another := strings.Cut(rest, "-")
			if abi || !more || name == "" || name == word || !isDigits(next) {
				return release[:end], release[end+1:]
			}
			end += 1 + len(word) + 1 + len(next)
			if another {
				name = after
			}
			return release[:end], name
		}
		end += 1 + len(word)
	}
	return release, ""
}

func splitRPM(release string) (version, flavour string, ok bool) {
	for _, arch := range rpmArchitectures {
		i := strings.LastIndex(release, "."+arch)
		if i <= 0 {
			continue
		}
		version, flavour = release[:i], release[i+1:]
		if rest := flavour[len(arch):]; rest != "" && rest[0] != '+' && rest[0] != '.' && rest[0] != '-' {
			continue
		}
		for _, l := range rpmLines {
			if j := strings.Index(version, l.mark); j >= 0 && (l.line != "rt" || startsWithDigit(version[j+len(l.mark):])) {
				flavour = l.line + "." + flavour
				break
			}
		}
		return version, flavour, true
	}
	return "", "", false
}

// Flavour is the line of kernels that a release belongs to, see SplitRelease.
func Flavour(release string) string {
	_, flavour := SplitRelease(release)
	return flavour
}

// Compare orders two kernel releases of one flavour: negative if a is older. The
// versions are read as runs of digits, which compare as numbers, and runs of
// letters; what divides them does not count. As in RPM a number is newer than
// letters, and more is newer than less, but a release candidate (rc) is older
// than what it is a candidate for. Releases of different flavours or
// distributions have no order that means anything.
func Compare(a, b string) int {
	a, _ = SplitRelease(a)
	b, _ = SplitRelease(b)
	for {
		x, restA := nextRun(a)
		y, restB := nextRun(b)
		if c := compareRuns(x, y); c != 0 || x == "" {
			return c
		}
		a, b = restA, restB
	}
}

// nextRun skips what is neither digit nor letter and cuts the run of one kind
// that follows; it is empty at the end.
func nextRun(s string) (run, rest string) {
	for s != "" && !isDigit(s[0]) && !isLetter(s[0]) {
		s = s[1:]
	}
	if s == "" {
		return "", ""
	}
	kind := isLetter
	if isDigit(s[0]) {
		kind = isDigit
	}
	n := 1
	for n < len(s) && kind(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func compareRuns(x, y string) int {
	rank := func(s string) int {
		switch {
		case s == "rc":
			return 0
		case s == "":
			return 1
		case isLetter(s[0]):
			return 2
		}
		return 3
	}
	if c := cmp.Compare(rank(x), rank(y)); c != 0 {
		return c
	}
	if x != "" && isDigit(x[0]) {
		return compareNumbers(x, y)
	}
	return strings.Compare(x, y)
}

// compareNumbers orders decimal numbers of any length.
func compareNumbers(x, y string) int {
	x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
	if c := cmp.Compare(len(x), len(y)); c != 0 {
		return c
	}
	return strings.Compare(x, y)
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func startsWithDigit(s string) bool { return s != "" && isDigit(s[0]) }

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isRC(s string) bool { return strings.HasPrefix(s, "rc") && isDigits(s[2:]) }
