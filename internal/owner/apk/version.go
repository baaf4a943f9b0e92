package apk

import (
	"errors"
	"fmt"

	"github.com/google/osv-scalibr/semantic"
)

// maxVersion bounds a version that is compared, in bytes.
const maxVersion = 1 << 10

var errVersion = errors.New("not a version of apk")

// Compare orders two versions as apk does (apk-package(5), src/version.c):
// negative, zero or positive as a is older than, as old as, or newer than b.
// The library takes some for as old that apk tells apart: 1.2 and 1.2.0, 1.0 and
// 1.0_cvs, and versions that differ in nothing but a ~HASH.
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
	if len(s) > maxVersion || !word([]byte(s)[:min(len(s), maxWord)]) || s[0] < '0' || s[0] > '9' {
		return nil, fmt.Errorf("%w: %.64q", errVersion, s)
	}
	v, err := semantic.ParseAlpineVersion(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %.64q: %w", errVersion, s, err)
	}
	return v, nil
}
