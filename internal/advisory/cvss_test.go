package advisory

import (
	"math"
	"strings"
	"testing"
)

// The vectors and scores are those of FIRST's "CVSS v3.1 Examples" and of the
// guide to version 2, section 3.3.
func TestScore(t *testing.T) {
	for vector, want := range map[string]float64{
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N":                6.1, // CVE-2013-1937
		"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N":                6.4, // CVE-2013-0375
		"CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N":                3.1, // CVE-2014-3566
		"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H":                9.9, // CVE-2012-1516
		"CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L":                4.2, // CVE-2009-0783
		"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H":                8.8, // CVE-2012-0384
		"CVSS:3.1/AV:L/AC:L/PR:N/UI:R/S:U/C:H/I:H/A:H":                7.8, // CVE-2015-1098
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N":                7.5, // CVE-2014-0160
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H":                9.8, // CVE-2014-6271
		"CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:C/C:N/I:H/A:N":                6.8, // CVE-2008-1447
		"CVSS:3.1/AV:P/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H":                6.8, // CVE-2014-2005
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:L/I:N/A:N":                5.8, // CVE-2010-0467
		"CVSS:3.0/AV:A/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:H":                9.3, // CVE-2013-6014
		"CVSS:3.0/AV:N/AC:L/PR:L/UI:R/S:C/C:L/I:L/A:N":                5.4, // CVE-2014-9253
		"CVSS:3.0/AV:A/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H":                8.8, // CVE-2011-1265
		"CVSS:3.0/AV:P/AC:L/PR:N/UI:N/S:U/C:N/I:H/A:N":                4.6, // CVE-2014-2019
		"CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:H/A:N":                7.4, // CVE-2014-0224
		"CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:H/I:H/A:H":                9.6, // CVE-2012-5376
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N":                0,
		"CVSS:3.1/A:H/I:H/C:H/S:C/UI:N/PR:N/AC:L/AV:N/E:P/RL:O/MAV:L": 10,
		"AV:N/AC:L/Au:N/C:N/I:N/A:C":                                  7.8, // CVE-2002-0392
		"AV:N/AC:L/Au:N/C:C/I:C/A:C/E:F/RL:OF/RC:C/CDP:H/TD:H/CR:M":   10,  // CVE-2003-0818
		"(AV:L/AC:H/Au:N/C:C/I:C/A:C)":                                6.2, // CVE-2003-0062
		"AV:N/AC:L/Au:N/C:N/I:N/A:N":                                  0,
	} {
		if got, err := Score(vector); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", vector, got, err, want)
		}
	}
	for _, vector := range []string{
		"", "CVSS:3.1", "CVSS:3.1/", "CVSS:3.1/AV:N", "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
		"CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:NA/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
		"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:L/VA:N/SC:N/SI:N/SA:N", "CVSS:3.2/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
		"AV:N/AC:L/Au:N/C:C/I:C", "7.5", strings.Repeat("AV:N/", 1000),
	} {
		if got, err := Score(vector); err == nil {
			t.Errorf("%.40q: %v, want an error", vector, got)
		}
	}
}

func TestRating(t *testing.T) {
	for _, c := range []struct {
		score  float64
		vector string
		want   string
	}{{0, "CVSS:3.1/", ""}, {3.9, "CVSS:3.1/", "low"}, {4, "CVSS:3.0/", "medium"}, {8.9, "CVSS:3.1/", "high"},
		{9, "CVSS:3.1/", "critical"}, {10, "AV:N", "high"}} {
		if got := rate(c.score, c.vector); got != c.want {
			t.Errorf("%v of %s: %q", c.score, c.vector, got)
		}
	}
	for word, want := range map[string]string{"Important": "high", "MODERATE": "medium", "low**": "low", "negligible": "low",
		"unimportant": "low", "CRITICAL": "critical", "end-of-life": "", "not yet assigned": "", "": ""} {
		if got := rating(word); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

// FuzzScore: a score is one of the 101 that there are, and does not depend on the
// order of the metrics.
func FuzzScore(f *testing.F) {
	f.Add("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N")
	f.Add("CVSS:3.0/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:L/E:U")
	f.Add("AV:N/AC:L/Au:N/C:N/I:N/A:C")
	f.Fuzz(func(t *testing.T, vector string) {
		score, err := Score(vector)
		if err != nil {
			return
		}
		if n := math.Round(score * 10); n/10 != score || n < 0 || n > 100 {
			t.Errorf("%q: %v", vector, score)
		}
		if rate(score, vector) == "" != (score == 0) {
			t.Errorf("%q: %v has rating %q", vector, score, rate(score, vector))
		}
		head, metrics := "", strings.TrimSuffix(strings.TrimPrefix(vector, "("), ")")
		if strings.HasPrefix(vector, "CVSS:") {
			head, metrics = vector[:9], vector[9:]
		}
		list := strings.Split(metrics, "/")
		for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
			list[i], list[j] = list[j], list[i]
		}
		if again, err := Score(head + strings.Join(list, "/")); err != nil || again != score {
			t.Errorf("%q: %v, backwards %v, %v", vector, score, again, err)
		}
	})
}
