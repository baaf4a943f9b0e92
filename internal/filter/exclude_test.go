package filter

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
)

func exclude(t *testing.T, patterns ...string) (*sensor.Report, Excluded) {
	t.Helper()
	e, err := ParseExclude(patterns)
	if err != nil {
		t.Fatal(err)
	}
	in := testReport()
	before, _ := json.Marshal(in)
	out, left := e.Apply(in)
	if after, _ := json.Marshal(in); !slices.Equal(before, after) {
		t.Error("the report given was changed")
	}
	if !out.Complete {
		t.Error("an exclusion made the report incomplete")
	}
	return out, left
}

func TestExclude(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		want     string // remaining findings
		left     Excluded
		says     string
	}{
		{nil, "ssh gone own known closed", Excluded{}, ""},
		{[]string{"nothing"}, "ssh gone own known closed", Excluded{}, ""},
		{[]string{"ssh.service"}, "gone own known closed", Excluded{Findings: 1}, `"ssh.service": 1`},
		{[]string{"*.service"}, "gone own", Excluded{Findings: 3}, `"*.service": 3`},
		{[]string{"/docker/**"}, "ssh own known closed", Excluded{Findings: 1}, `"/docker/**": 1`},
		{[]string{"/opt/"}, "ssh gone known closed", Excluded{Findings: 1}, `"/opt/": 1`},
		{[]string{"**/libz.so.*"}, "ssh gone own known closed", Excluded{Files: 1}, `"**/libz.so.*": 1`},
		{[]string{"/usr/lib/libssl*"}, "ssh gone own known closed", Excluded{Processes: 1, Files: 1}, `"/usr/lib/libssl*": 2`},
		{[]string{"uid:1000"}, "ssh gone known closed", Excluded{Findings: 1, Processes: 1}, `"uid:1000": 2`},
		{[]string{"uid:1000", "uid:0"}, "gone", Excluded{Findings: 4}, `"uid:1000": 2, "uid:0": 3`},
	} {
		out, left := exclude(t, c.patterns...)
		if got := ids(out); got != c.want {
			t.Errorf("%q: left over %q, want %q", c.patterns, got, c.want)
		}
		if left != c.left {
			t.Errorf("%q: left out %+v, want %+v", c.patterns, left, c.left)
		}
		if left.Any() != (len(out.Warnings) == 1) {
			t.Errorf("%q: %d warnings", c.patterns, len(out.Warnings))
		} else if left.Any() && !strings.Contains(out.Warnings[0].Message, c.says) {
			t.Errorf("%q: warning %q does not say %q", c.patterns, out.Warnings[0].Message, c.says)
		}
		if want := summarize(out.Summary, out.Findings); out.Summary != want {
			t.Errorf("%q: summary %+v, want %+v", c.patterns, out.Summary, want)
		}
	}
}

// What remains of a finding must be borne out by what remains of its files.
func TestExcludeNarrows(t *testing.T) {
	out, _ := exclude(t, "/usr/lib/libssl*")
	ssh := out.Findings[0]
	if len(ssh.Packages) != 1 || ssh.Packages[0].Name != "zlib1g" {
		t.Errorf("packages %+v, want zlib1g alone", ssh.Packages)
	}
	if ssh.State != sensor.Stale || ssh.Reason != sensor.Overwritten || ssh.Since != nil {
		t.Errorf("%s, %s, since %v; want stale, overwritten, not known", ssh.State, ssh.Reason, ssh.Since)
	}
	if ssh.Remedy.Action != sensor.Restart {
		t.Errorf("remedy %+v, want restart", ssh.Remedy)
	}
}

// A file that is missing stays missing when it is not reported: no restart.
func TestExcludeMissing(t *testing.T) {
	out, _ := exclude(t, "**/libfoo.so")
	gone := out.Findings[1]
	if gone.State != sensor.Stale || gone.Remedy.Action != sensor.None || !strings.Contains(gone.Remedy.Why, "would fail") {
		t.Errorf("%s with remedy %+v, want stale with none and the reason", gone.State, gone.Remedy)
	}
}

func TestExcludeLeavesUnknown(t *testing.T) {
	r := testReport()
	files := &r.Findings[2].Processes[0].Files
	*files = append(*files, sensor.File{Path: "/srv/x", State: sensor.Unknown, Reason: sensor.Unreadable})
	e, err := ParseExclude([]string{"/opt/**"})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := e.Apply(r)
	x := out.Findings[2]
	if x.State != sensor.Unknown || x.Reason != sensor.Unreadable || x.Remedy.Action != sensor.None {
		t.Errorf("%s, %s, %s; want unknown, unreadable, none", x.State, x.Reason, x.Remedy.Action)
	}
}

func TestParseExcludeErrors(t *testing.T) {
	for _, p := range []string{"", "uid:", "uid:root", "uid:-1", "uid:4294967296", "[a"} {
		if _, err := ParseExclude([]string{"ok", p}); err == nil {
			t.Errorf("%q: no error", p)
		}
	}
}
