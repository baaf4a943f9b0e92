package host

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// KernelRelease is the release of the running kernel (uname(2)), empty if it
// cannot be read.
func KernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// KernelVersion returns the two leading numbers of a kernel release.
func KernelVersion(release string) (major, minor int, ok bool) {
	first, rest, ok := strings.Cut(release, ".")
	if !ok {
		return 0, 0, false
	}
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(rest)
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest[:digits])
	return major, minor, err1 == nil && err2 == nil && major >= 0
}

// WriteProtectsExecutables reports whether a kernel refuses to write to a file
// that is being executed (ETXTBSY, execve(2)). Linux 6.11 gave that up
// (2a010c412853, "fs: don't block i_writecount during exec") and 6.13 took it
// back (3b832035387f); whether a 6.11 or 6.12 has the revert cannot be told from
// its number, so the answer for these is no.
func WriteProtectsExecutables(release string) bool {
	major, minor, ok := KernelVersion(release)
	return ok && (major != 6 || (minor != 11 && minor != 12))
}
