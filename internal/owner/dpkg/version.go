package dpkg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/osv-scalibr/semantic"
)

// maxVersion bounds a version that is compared, in bytes.
const maxVersion = 1 << 10

var errVersion = errors.New("not a Debian version")

// Compare orders two versions by the rules of deb-version(7): negative, zero
// or positive as a is older than, as old as, or newer than b.
func Compare(a, b string) (int, error) {
	va, err := parseVersion(a)
	if err != nil {
		return 0, err
	}
	vb, err := parseVersion(b)
	if err != nil {
		return 0, err
	}
	return va.Compare(vb)
}

func parseVersion(s string) (semantic.Version, error) {
	if !validVersion(s) {
		return nil, fmt.Errorf("%w: %.64q", errVersion, s)
	}
	v, err := semantic.ParseDebianVersion(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %.64q: %w", errVersion, s, err)
	}
	return v, nil
}

// validVersion holds a version to the characters of deb-version(7).
func validVersion(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte(".+-~:_", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxVersion
}

// withoutRebuild drops the suffix +bN of a binary-only rebuild, which the
// version of the source does not have (Debian Developer's Reference 5.10.2.1).
func withoutRebuild(version string) string {
	i := strings.LastIndex(version, "+b")
	if i < 0 || i+2 == len(version) || strings.Trim(version[i+2:], "0123456789") != "" {
		return version
	}
	return version[:i]
}
