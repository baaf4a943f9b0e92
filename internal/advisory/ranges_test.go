package advisory

import (
	"errors"
	"testing"
)

// TestEvaluation follows "Evaluation" and "Examples" of the OSV specification.
func TestEvaluation(t *testing.T) {
	type e = event
	for _, c := range []struct {
		name, ecosystem string
		kind            byte
		events          []event
		in, out         []string
		fix             map[string]string
	}{
		{"unfixed", "Go", bySemver, []e{{introduced, "0"}}, []string{"0.0.0", "v1.2.3", "0.0.0-0", "9999.0.0"}, nil, nil},
		{"fixed", "Go", bySemver, []e{{introduced, "0"}, {fixed, "1.0.2"}},
			[]string{"1.0.1", "1.0.2-rc.1", "v0.0.0-20210101000000-abcdefabcdef"}, []string{"1.0.2", "1.0.2+build", "v1.0.3"},
			map[string]string{"1.0.1": "1.0.2"}},
		{"several", "crates.io", bySemver, []e{{introduced, "1.0.0"}, {fixed, "1.0.2"}, {introduced, "3.0.0"}, {fixed, "3.2.5"}},
			[]string{"1.0.0", "1.0.1", "3.0.0", "3.2.4"}, []string{"0.9.0", "1.0.2", "2.0.0", "3.0.0-rc1", "3.2.5"},
			map[string]string{"1.0.1": "1.0.2", "3.0.0": "3.2.5"}},
		{"not sorted", "crates.io", bySemver, []e{{fixed, "3.2.5"}, {introduced, "3.0.0"}, {fixed, "1.0.2"}, {introduced, "1.0.0"}},
			[]string{"1.0.0", "3.2.4"}, []string{"0.9.0", "1.0.2", "2.0.0", "3.2.5"}, map[string]string{"1.0.0": "1.0.2"}},
		{"last affected", "Debian:12", byEcosystem, []e{{introduced, "0"}, {lastAffected, "2.1.214-1"}},
			[]string{"2.1.214-1", "2.1.214-1~bpo12+1", "1"}, []string{"2.1.214-1+deb12u1", "1:0"}, map[string]string{"1": ""}},
		{"limit", "Debian:12", byEcosystem, []e{{introduced, "1"}, {limit, "2"}}, []string{"1", "1.9"}, []string{"0.9", "2", "3"}, nil},
		{"limits", "Debian:12", byEcosystem, []e{{introduced, "1"}, {limit, "2"}, {limit, "4"}}, []string{"1", "3.9"}, []string{"4"}, nil},
		{"no limit", "Debian:12", byEcosystem, []e{{introduced, "1"}, {limit, "*"}}, []string{"1", "99"}, []string{"0.9"}, nil},
		{"nothing between", "Debian:12", byEcosystem, []e{{introduced, "1"}, {fixed, "1"}}, nil, []string{"0", "1", "2"}, nil},
		{"again", "Debian:12", byEcosystem, []e{{introduced, "0"}, {fixed, "1"}, {introduced, "1"}, {fixed, "2"}},
			[]string{"0", "1", "1.5"}, []string{"2"}, nil},
		{"epochs and tildes", "Debian:12", byEcosystem, []e{{introduced, "0"}, {fixed, "1:2.0~rc1-1"}},
			[]string{"9.0-1", "1:2.0~beta-1", "1:1.9"}, []string{"1:2.0~rc1-1", "1:2.0-1", "2:0"}, nil},
		{"Ubuntu", "Ubuntu:22.04:LTS", byEcosystem, []e{{introduced, "0"}, {fixed, "3.0.2-0ubuntu1.19"}},
			[]string{"3.0.2-0ubuntu1.9"}, []string{"3.0.2-0ubuntu1.19", "3.0.2-0ubuntu1.20"}, nil},
		{"RPM", "Red Hat:enterprise_linux:9::baseos", byEcosystem, []e{{introduced, "0"}, {fixed, "0:53.0.0-12.el9_4.1"}},
			[]string{"53.0.0-12.el9", "0:53.0.0-9.el9", "53.0.0~rc1-99"}, []string{"53.0.0-12.el9_4.1", "53.0.0^git1-1", "1:1-1"}, nil},
		{"apk", "Alpine:v3.20", byEcosystem, []e{{introduced, "0"}, {fixed, "3.3.2-r1"}},
			[]string{"3.3.2-r0", "3.3.2_rc1-r9", "3.3.1"}, []string{"3.3.2-r1", "3.3.2_p1-r0", "3.3.2a-r0"}, nil},
		{"Wolfi", "Wolfi", byEcosystem, []e{{introduced, "0"}, {fixed, "3.3.2-r10"}}, []string{"3.3.2-r9"}, []string{"3.3.2-r10"}, nil},
	} {
		spans, err := decodeSpans(encodeSpans([]span{{c.kind, c.events}}))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range c.in {
			if in, fix, err := affected(spans, v, orderOf(c.ecosystem)); !in || err != nil || c.fix[v] != "" && fix != c.fix[v] {
				t.Errorf("%s: %s: %v, fixed in %q, %v", c.name, v, in, fix, err)
			}
		}
		for _, v := range c.out {
			if in, fix, err := affected(spans, v, orderOf(c.ecosystem)); in || err != nil || fix != "" {
				t.Errorf("%s: %s: %v, fixed in %q, %v", c.name, v, in, fix, err)
			}
		}
	}
}

func TestSeveralRanges(t *testing.T) {
	good := span{byEcosystem, []event{{introduced, "1"}, {fixed, "2"}}}
	bad := span{byEcosystem, []event{{introduced, "0"}, {fixed, "no version"}}}
	for _, c := range []struct {
		spans []span
		v     string
		in    bool
		sure  bool
	}{
		{[]span{good, {byEcosystem, []event{{introduced, "3"}}}}, "3", true, true},
		{[]span{good, {byEcosystem, []event{{introduced, "3"}}}}, "2", false, true},
		// One that holds is enough; one that cannot be told leaves the rest open.
		{[]span{bad, good}, "1", true, true},
		{[]span{good, bad}, "2", false, false},
		{[]span{{kind: undecidable}}, "1", false, false},
		{nil, "1", false, true},
		{[]span{good}, "1:", false, false},
	} {
		in, _, err := affected(c.spans, c.v, orderOf("Debian:12"))
		if in != c.in || (in || err == nil) != c.sure || err != nil && !errors.Is(err, ErrVersion) {
			t.Errorf("%v, %s: %v, %v", c.spans, c.v, in, err)
		}
	}
}

func TestVersions(t *testing.T) {
	for ecosystem, c := range map[string]struct{ good, bad []string }{
		"Debian:12":     {[]string{"1", "1:2.3-4+deb12u1~x", "a"}, []string{"", "1 2", ":1", "x:1", "1:", "1/2", "1\n", "-1"}},
		"Rocky Linux:9": {[]string{"1-2.el9", "0:1-2.module+el8.5.0+10613+59a13ec4", "1^a~b_c-%2"}, []string{"", "x:1", "1:", "1 2", "-1", "1;2"}},
		"Alpine:v3.20": {[]string{"1", "1.2.3a_rc1_p2~abc-r0", "2024.01-r1", "0_git20230525-r2"},
			[]string{"", "a", "1.", ".1", "1-0", "1-r", "1_x", "1~", "1~z", "1ab", "1-r1x"}},
		"Go": {[]string{"v1.2.3", "1.2", "1", "1.2.3-rc.1+incompatible", "v0.0.0-20210101000000-abcdefabcdef"},
			[]string{"", "(devel)", "1.", "1.2.3.4", "go1.2", "1.2rc1", "1.2.3-", "1.2.3_4"}},
		"Nothing": {nil, []string{"1"}},
	} {
		for _, v := range c.good {
			if _, err := orderOf(ecosystem)(v); err != nil {
				t.Errorf("%s: %v", ecosystem, err)
			}
		}
		for _, v := range c.bad {
			if _, err := orderOf(ecosystem)(v); !errors.Is(err, ErrVersion) {
				t.Errorf("%s: %q: %v", ecosystem, v, err)
			}
		}
	}
}

// FuzzRanges: what is stored reads back, and a version that is fixed is not
// affected.
func FuzzRanges(f *testing.F) {
	f.Add("1.0-1", "1.2-1", "1.1-1", "Debian:12")
	f.Add("0", "3.3.2-r1", "3.3.2_rc1-r9", "Alpine:v3.20")
	f.Add("0", "0:1-1.el9", "1-0", "Rocky Linux:9")
	f.Add("0", "v1.0.0", "v0.9.0", "Go")
	f.Add("1X", "0", "2", "Debian")
	f.Fuzz(func(t *testing.T, from, to, v, ecosystem string) {
		if !validVersionText(from) || !validVersionText(to) || !lineOfText(ecosystem) {
			return
		}
		spans := []span{{byEcosystem, []event{{introduced, from}, {fixed, to}}}, {kind: bySemver}}
		again, err := decodeSpans(encodeSpans(spans))
		if err != nil || encodeSpans(again) != encodeSpans(spans) {
			t.Fatalf("%v: %v", again, err)
		}
		if in, _, _ := affected(spans[:1], to, orderOf(ecosystem)); in {
			t.Errorf("%s: fixed %q is affected", ecosystem, to)
		}
		// Where the fix came before what it fixes, it fixed something else.
		later := from == "0"
		if a, err := orderOf(ecosystem)(from); err == nil {
			if b, err := orderOf(ecosystem)(to); err == nil {
				n, err := a.compare(b)
				later = later || err == nil && n < 0
			}
		}
		in, fix, err := affected(spans[:1], v, orderOf(ecosystem))
		if err != nil && (in || !errors.Is(err, ErrVersion)) || fix != "" && fix != to || in && later && fix == "" {
			t.Errorf("%s: %q in %q to %q: %v, %q, %v", ecosystem, v, from, to, in, fix, err)
		}
	})
}

// FuzzDecodeSpans: a damaged index gives an error or ranges, no panic.
func FuzzDecodeSpans(f *testing.F) {
	f.Add("E\ni0\nf1\n")
	f.Add("f1\n")
	f.Fuzz(func(t *testing.T, text string) {
		spans, err := decodeSpans(text)
		if err == nil && encodeSpans(spans) != text {
			t.Errorf("%q reads as %v", text, spans)
		}
	})
}
