package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// distroInfo are the files of Debian's distro-info-data 0.58+deb12u7.
func distroInfo(t testing.TB) Data {
	t.Helper()
	byID := make(map[string][]Entry)
	for _, id := range []string{debian, ubuntu} {
		f, err := os.Open(filepath.Join("testdata", id+".csv"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if byID[id], err = ParseDistroInfo(f); err != nil {
			t.Fatal(err)
		}
	}
	return NewData(byID)
}

func day(t testing.TB, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecide(t *testing.T) {
	deb := func(version, codename string) Release {
		return Release{ID: "debian", VersionID: version, Codename: codename}
	}
	ubu := func(version, codename string) Release {
		return Release{ID: "ubuntu", VersionID: version, Codename: codename}
	}
	amazon := Release{ID: "amzn", VersionID: "2023", SupportEnd: "2029-06-30"}
	tests := []struct {
		name   string
		r      Release
		today  string
		state  State
		phase  string // "standard until 2026-07-11"; empty if unknown
		later  string
		source Source
		why    string
	}{
		{"Debian, standard", deb("12", "bookworm"), "2024-01-01", Supported, "standard until 2026-07-11", "lts until 2028-06-30, elts until 2033-06-30", DistroInfo, ""},
		{"Debian, last day of standard", deb("12", "bookworm"), "2026-07-11", Supported, "standard until 2026-07-11", "lts until 2028-06-30, elts until 2033-06-30", DistroInfo, ""},
		{"Debian, LTS", deb("12", "bookworm"), "2026-07-12", Supported, "lts until 2028-06-30", "elts until 2033-06-30", DistroInfo, ""},
		{"Debian, what is sold does not count", deb("10", "buster"), "2026-11-22", Ended, "lts until 2024-06-30", "elts until 2029-06-30", DistroInfo, ""},
		{"Debian, all over", deb("8", "jessie"), "2026-11-22", Ended, "lts until 2020-06-30", "", DistroInfo, ""},
		{"Debian before LTS", deb("", ""), "2026-11-22", Unknown, "", "", "", "testing and unstable"},
		{"distroless has no code name", deb("12", ""), "2024-01-01", Supported, "standard until 2026-07-11", "lts until 2028-06-30, elts until 2033-06-30", DistroInfo, ""},
		{"on the day of release", deb("13", "trixie"), "2025-08-09", Supported, "standard until 2028-08-09", "lts until 2030-06-30, elts until 2035-06-30", DistroInfo, ""},
		{"before the release", deb("13", "trixie"), "2025-08-08", Unknown, "", "", DistroInfo, "not released"},
		{"testing", deb("", "forky"), "2026-11-22", Unknown, "", "", "", "testing and unstable"},
		{"unstable that was not upgraded", deb("", "trixie"), "2035-01-01", Unknown, "", "", "", "testing and unstable"},
		{"no end announced", deb("14", "forky"), "2027-11-22", Unknown, "", "", DistroInfo, "announced"},
		{"number and name of two releases", deb("12", "trixie"), "2026-11-22", Unknown, "", "", "", "do not have it"},
		{"newer than the data", deb("19", "rex"), "2040-01-01", Unknown, "", "", "", "do not have it"},

		{"Ubuntu LTS", ubu("24.04", "noble"), "2026-11-22", Supported, "standard until 2029-05-31", "esm until 2034-04-25, legacy until 2036-04-29", DistroInfo, ""},
		{"Ubuntu LTS, sold", ubu("20.04", "focal"), "2026-11-22", Ended, "server until 2025-05-29", "esm until 2030-04-23, legacy until 2032-04-27", DistroInfo, ""},
		{"Ubuntu, servers longer", ubu("10.04", "lucid"), "2014-01-01", Supported, "server until 2015-04-30", "", DistroInfo, ""},
		{"Ubuntu, servers longer, before", ubu("10.04", "lucid"), "2013-01-01", Supported, "standard until 2013-05-09", "server until 2015-04-30", DistroInfo, ""},
		{"Ubuntu interim", ubu("25.10", "questing"), "2026-11-22", Ended, "standard until 2026-07-09", "", DistroInfo, ""},
		{"Ubuntu in development", ubu("26.10", "stonking"), "2026-09-01", Unknown, "", "", DistroInfo, "not released"},

		{"vendor's end", amazon, "2026-11-22", Supported, "standard until 2029-06-29", "", OSRelease, ""},
		{"vendor's end is the first day without", amazon, "2029-06-30", Ended, "standard until 2029-06-29", "", OSRelease, ""},
		{"vendor's end, the day before", amazon, "2029-06-29", Supported, "standard until 2029-06-29", "", OSRelease, ""},
		{"data come first", Release{ID: "debian", VersionID: "12", SupportEnd: "2001-01-01"}, "2024-01-01", Supported, "standard until 2026-07-11", "lts until 2028-06-30, elts until 2033-06-30", DistroInfo, ""},
		{"data without an end", Release{ID: "debian", VersionID: "14", SupportEnd: "2031-01-01"}, "2027-11-22", Supported, "standard until 2030-12-31", "", OSRelease, ""},
		{"no date", Release{ID: "x", SupportEnd: "soon\x1b[31m and more than that"}, "2026-11-22", Unknown, "", "", OSRelease, `"soon\x1b[31m and more t" is no date`},

		{"derived", Release{ID: "linuxmint", VersionID: "21.2", Codename: "victoria"}, "2026-11-22", Unknown, "", "", "", "no data about its distribution"},
		{"derived with the same name", Release{ID: "raspbian", VersionID: "12", Codename: "bookworm"}, "2026-11-22", Unknown, "", "", "", "no data about its distribution"},
		{"rolling", Release{ID: "arch"}, "2026-11-22", Unknown, "", "", "", "which version"},
		{"nothing", Release{}, "2026-11-22", Unknown, "", "", "", "which version"},
	}
	data := distroInfo(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.r, data, day(t, tt.today))
			phase := ""
			if got.Phase != (Phase{}) {
				phase = got.Phase.String()
			}
			var later []string
			for _, p := range got.Later {
				later = append(later, p.String())
			}
			if got.State != tt.state || phase != tt.phase || strings.Join(later, ", ") != tt.later || got.Source != tt.source {
				t.Errorf("%s, %q, later %q, by %q", got.State, phase, later, got.Source)
			}
			if (got.Why != "") != (tt.why != "") || !strings.Contains(got.Why, tt.why) {
				t.Errorf("why %q", got.Why)
			}
			if got.Release != tt.r {
				t.Errorf("of %+v", got.Release)
			}
		})
	}
}

// The day is the one that the clock on the wall shows.
func TestDecideKeepsTheDay(t *testing.T) {
	east := time.FixedZone("east", 14*3600)
	r := Release{ID: "debian", VersionID: "12"}
	for _, today := range []time.Time{
		time.Date(2026, 7, 11, 0, 0, 0, 0, east), // still the 10th in UTC
		time.Date(2026, 7, 11, 23, 59, 59, 0, east),
	} {
		if got := Decide(r, distroInfo(t), today); got.Phase.Kind != Standard {
			t.Errorf("%s: %s", today, got.Phase)
		}
	}
	if got := Decide(r, distroInfo(t), time.Date(2026, 7, 12, 0, 0, 0, 0, east)); got.Phase.Kind != LTS {
		t.Errorf("%s", got.Phase)
	}
}

func TestDecideWithoutData(t *testing.T) {
	got := Decide(Release{ID: "debian", VersionID: "12", Codename: "bookworm"}, Data{}, day(t, "2026-11-22"))
	if got.State != Unknown || !strings.Contains(got.Why, "no data") {
		t.Errorf("%+v", got)
	}
	sold := NewData(map[string][]Entry{"debian": {{Version: "1", Series: "x", Released: day(t, "2000-01-01"), Phases: []Phase{{ELTS, day(t, "2030-01-01")}}}}})
	got = Decide(Release{ID: "debian", VersionID: "1"}, sold, day(t, "2026-11-22"))
	if got.State != Unknown || !strings.Contains(got.Why, "contract") {
		t.Errorf("%+v", got)
	}
}
