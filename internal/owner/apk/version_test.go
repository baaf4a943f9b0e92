package apk

import (
	"strings"
	"testing"
)

// TestCompare has the rules of apk-package(5).
func TestCompare(t *testing.T) {
	ordered := [][2]string{
		{"1.2.3-r4", "1.2.3-r5"}, {"1.2.3-r9", "1.2.3-r10"}, {"1.2.3", "1.2.10"}, {"1.2.3", "1.2.3a"},
		{"1.2.3a", "1.2.3b"}, {"1.0_alpha", "1.0_beta"}, {"1.0_beta", "1.0_pre"}, {"1.0_pre", "1.0_rc"}, {"1.0_rc", "1.0"},
		{"1.0", "1.0_svn"}, {"1.0_svn", "1.0_git"}, {"1.0_git", "1.0_hg"}, {"1.0_hg", "1.0_p"},
		{"1.0_p1", "1.0_p2"}, {"1.0_rc1", "1.0_rc2"}, {"1.2.4_git20230717-r4", "1.2.5-r0"}, {"3.5.0-r0", "3.5.1-r0"}, {"20230506-r0", "20240226-r0"},
	}
	for _, o := range ordered {
		a, errA := Compare(o[0], o[1])
		b, errB := Compare(o[1], o[0])
		if a >= 0 || b <= 0 || errA != nil || errB != nil {
			t.Errorf("%s, %s: %d, %d, %v, %v", o[0], o[1], a, b, errA, errB)
		}
	}
	for _, same := range [][2]string{{"1.2.3-r4", "1.2.3-r4"}, {"1.0_p", "1.0_p"}} {
		if got, err := Compare(same[0], same[1]); got != 0 || err != nil {
			t.Errorf("%v: %d, %v", same, got, err)
		}
	}
	for _, bad := range []string{"", "x", "1 2", "1\n", "-1", "1\x00", strings.Repeat("1", maxVersion+1)} {
		if _, err := Compare("1", bad); err == nil {
			t.Errorf("%q is a version", bad)
		}
		if _, err := Compare(bad, "1"); err == nil {
			t.Errorf("%q is a version", bad)
		}
	}
}
