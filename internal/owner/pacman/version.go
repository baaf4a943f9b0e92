package pacman

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// maxVersion bounds a version that is compared, in bytes.
const maxVersion = 1 << 10

var errVersion = errors.New("not a version of pacman")

// Compare orders two versions, [EPOCH:]VERSION[-RELEASE], as vercmp(8) does:
// negative, zero or positive as a is older than, as old as, or newer than b. The
// release counts only where both have one, so the order is not transitive over
// versions with and without.
//
// It is not the order of RPM, from which it came (lib/libalpm/version.c): "~" and
// "^" are separators as any other, letters at the end make a version older, and
// separators of other lengths make versions differ.
func Compare(a, b string) (int, error) {
	for _, s := range [...]string{a, b} {
		if s == "" || len(s) > maxVersion || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return 0, fmt.Errorf("%w: %.64q", errVersion, s)
		}
	}
	epochA, versionA, releaseA, hasA := splitVersion(a)
	epochB, versionB, releaseB, hasB := splitVersion(b)
	order := cmp.Or(compareSegments(epochA, epochB), compareSegments(versionA, versionB))
	if order == 0 && hasA && hasB {
		order = compareSegments(releaseA, releaseB)
	}
	return order, nil
}

// splitVersion splits as parseEVR does: the release is after the last dash.
func splitVersion(s string) (epoch, version, release string, hasRelease bool) {
	epoch, version = "0", s
	if n := len(s) - len(strings.TrimLeft(s, "0123456789")); n < len(s) && s[n] == ':' {
		epoch, version = s[:n], s[n+1:]
	}
	if epoch == "" {
		epoch = "0"
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		return epoch, version[:i], version[i+1:], true
	}
	return epoch, version, "", false
}

// compareSegments orders two strings as rpmvercmp does: by runs of digits and of
// letters, one after the other.
func compareSegments(a, b string) int {
	if a == b {
		return 0
	}
	for a != "" && b != "" {
		restA, restB := strings.TrimLeftFunc(a, separator), strings.TrimLeftFunc(b, separator)
		skippedA, skippedB := len(a)-len(restA), len(b)-len(restB)
		a, b = restA, restB
		if a == "" || b == "" {
			break
		}
		if skippedA != skippedB {
			return cmp.Compare(skippedA, skippedB)
		}
		in := letter
		number := digit(rune(a[0]))
		if number {
			in = digit
		}
		segmentA, segmentB := leading(a, in), leading(b, in)
		a, b = a[len(segmentA):], b[len(segmentB):]
		if segmentB == "" { // of the other kind: numbers are newer
			if number {
				return 1
			}
			return -1
		}
		if number {
			segmentA, segmentB = strings.TrimLeft(segmentA, "0"), strings.TrimLeft(segmentB, "0")
			if len(segmentA) != len(segmentB) {
				return cmp.Compare(len(segmentA), len(segmentB))
			}
		}
		if order := cmp.Compare(segmentA, segmentB); order != 0 {
			return order
		}
	}
	// What has more is newer, but not by letters: 1.0beta is older than 1.0.
	switch {
	case a == "" && b == "":
		return 0
	case a == "" && !letter(rune(b[0])), a != "" && letter(rune(a[0])):
		return -1
	}
	return 1
}

func digit(r rune) bool  { return r >= '0' && r <= '9' }
func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func separator(r rune) bool { return !digit(r) && !letter(r) }

func leading(s string, in func(rune) bool) string {
	if i := strings.IndexFunc(s, func(r rune) bool { return !in(r) }); i >= 0 {
		return s[:i]
	}
	return s
}
