package filter

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

func globs(t *testing.T, patterns ...string) []Glob {
	t.Helper()
	var out []Glob
	for _, p := range patterns {
		g, err := ParseGlob(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}

// testReport has a stale unit with two packages, a missing container workload,
// a stale process of no package, and two unknown ones: one whose package is
// known, one whose is not.
func testReport() *sensor.Report {
	since := time.Date(2026, 11, 12, 3, 0, 0, 0, time.UTC)
	r := &sensor.Report{
		Complete: true,
		Warnings: []sensor.Warning{},
		Findings: []sensor.Finding{
			{
				ID: "ssh", State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainHost, Since: &since,
				Workload: sensor.Workload{Kind: "unit", Name: "ssh.service", Cgroup: "/system.slice/ssh.service"},
				Remedy:   sensor.Remedy{Action: sensor.Restart, Command: []string{"systemctl", "restart", "ssh.service"}},
				Packages: []sensor.Package{
					{Name: "libssl3", Source: "openssl", CVEs: []string{"CVE-2026-0001", "CVE-2026-0002"}},
					{Name: "zlib1g", Source: "zlib", CVEs: nil},
				},
				Processes: []sensor.Process{
					{PID: 10, UID: 0, Files: []sensor.File{
						{Path: "/usr/lib/libssl.so.3", State: sensor.Stale, Reason: sensor.Replaced, Package: "libssl3"},
						{Path: "/usr/lib/libz.so.1", State: sensor.Stale, Reason: sensor.Overwritten, Package: "zlib1g"},
					}},
					{PID: 11, UID: 1000, Files: []sensor.File{
						{Path: "/usr/lib/libssl.so.3", State: sensor.Stale, Reason: sensor.Replaced, Package: "libssl3"},
					}},
				},
			},
			{
				ID: "gone", State: sensor.Missing, Reason: sensor.MissingFile, Domain: sensor.DomainImage,
				Workload: sensor.Workload{Kind: "container", Name: "web", Cgroup: "/docker/abc"},
				Remedy:   sensor.Remedy{Action: sensor.None, Command: []string{}},
				Packages: []sensor.Package{{Name: "foo", Source: "foo", CVEs: []string{}}},
				Processes: []sensor.Process{{PID: 20, UID: 33, Files: []sensor.File{
					{Path: "/usr/lib/libfoo.so", State: sensor.Missing, Reason: sensor.MissingFile, Package: "foo"},
					{Path: "/usr/lib/libbar.so", State: sensor.Stale, Reason: sensor.Replaced, Package: "foo"},
				}}},
			},
			{
				ID: "own", State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainHost,
				Workload:  sensor.Workload{Kind: "process", Name: "server"},
				Remedy:    sensor.Remedy{Action: sensor.Restart, Command: []string{}},
				Processes: []sensor.Process{{PID: 30, UID: 1000, Files: []sensor.File{{Path: "/opt/app/server", State: sensor.Stale, Reason: sensor.Replaced}}}},
			},
			{
				ID: "known", State: sensor.Unknown, Reason: sensor.Unverified, Domain: sensor.DomainHost,
				Workload:  sensor.Workload{Kind: "unit", Name: "a.service"},
				Remedy:    sensor.Remedy{Action: sensor.None},
				Packages:  []sensor.Package{{Name: "bash", CVEs: []string{}}},
				Processes: []sensor.Process{{PID: 40, Files: []sensor.File{{Path: "/bin/bash", State: sensor.Unknown, Reason: sensor.Unverified, Package: "bash"}}}},
			},
			{
				ID: "closed", State: sensor.Unknown, Reason: sensor.Unreadable, Domain: sensor.DomainHost,
				Workload:  sensor.Workload{Kind: "unit", Name: "b.service"},
				Remedy:    sensor.Remedy{Action: sensor.None},
				Processes: []sensor.Process{{PID: 50}},
			},
		},
	}
	r.Summary = summarize(sensor.Summary{Processes: 100, Workloads: 20}, r.Findings)
	return r
}

func ids(r *sensor.Report) string {
	var out []string
	for i := range r.Findings {
		out = append(out, r.Findings[i].ID)
	}
	return strings.Join(out, " ")
}

func TestFilter(t *testing.T) {
	for name, c := range map[string]struct {
		filter   Filter
		want     string
		complete bool
	}{
		"nothing asked":      {Filter{}, "ssh gone own known closed", true},
		"binary package":     {Filter{Packages: globs(t, "libssl3")}, "ssh", false},
		"source package":     {Filter{Packages: globs(t, "openssl")}, "ssh", false},
		"package glob":       {Filter{Packages: globs(t, "lib*", "foo")}, "ssh gone", false},
		"package of unit":    {Filter{Packages: globs(t, "bash"), Units: globs(t, "a")}, "known", true},
		"package nowhere":    {Filter{Packages: globs(t, "nope"), Units: globs(t, "ssh")}, "", true},
		"cve":                {Filter{CVEs: []string{"CVE-2026-0002"}, Units: globs(t, "ssh.service")}, "ssh", true},
		"cve list not known": {Filter{CVEs: []string{"CVE-2026-0009"}, Units: globs(t, "ssh.service")}, "", false},
		"cve list known":     {Filter{CVEs: []string{"CVE-2026-0009"}, Units: globs(t, "web")}, "", true},
		"cve of no package":  {Filter{CVEs: []string{"CVE-2026-0009"}, PIDs: []int{30}}, "", false},
		"unit glob":          {Filter{Units: globs(t, "?.service")}, "known closed", true},
		"action":             {Filter{Actions: []sensor.Action{sensor.Restart}}, "ssh own", true},
		"domain":             {Filter{Domains: []sensor.Domain{sensor.DomainImage, sensor.DomainRuntime}}, "gone", true},
		"state":              {Filter{States: []sensor.State{sensor.Missing, sensor.Unknown}}, "gone known closed", true},
		"pid or pid":         {Filter{PIDs: []int{11, 30}}, "ssh own", true},
		"user":               {Filter{UIDs: []uint32{1000}}, "ssh own", true},
		"user and pid":       {Filter{UIDs: []uint32{1000}, PIDs: []int{20}}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			in := testReport()
			before, _ := json.Marshal(in)
			out := c.filter.Apply(in)
			if got := ids(out); got != c.want {
				t.Errorf("kept %q, want %q", got, c.want)
			}
			if out.Complete != c.complete || (len(out.Warnings) == 0) != c.complete {
				t.Errorf("complete %v with %d warnings, want %v", out.Complete, len(out.Warnings), c.complete)
			}
			if out.Findings == nil {
				t.Error("findings would be null in JSON")
			}
			if want := summarize(in.Summary, out.Findings); out.Summary != want || out.Summary.Processes != 100 {
				t.Errorf("summary %+v, want %+v", out.Summary, want)
			}
			if after, _ := json.Marshal(in); !slices.Equal(before, after) {
				t.Error("the report given was changed")
			}
		})
	}
}

func TestFilterSummary(t *testing.T) {
	out := (&Filter{Actions: []sensor.Action{sensor.Restart}}).Apply(testReport())
	want := sensor.Summary{Processes: 100, Workloads: 20, Stale: 2, Restart: 2}
	if out.Summary != want {
		t.Errorf("%+v, want %+v", out.Summary, want)
	}
}

func TestFilterAsksForWhatWasNotSeen(t *testing.T) {
	r := testReport()
	r.Seen = []sensor.Seen{{PID: 10, Workload: "ssh.service"}, {PID: 60, UID: 7, Workload: "quiet.service"}}
	for _, c := range []struct {
		name     string
		filter   Filter
		complete bool
	}{
		{"a process that was seen", Filter{PIDs: []int{60}}, true},
		{"a unit that was seen", Filter{Units: globs(t, "quiet")}, true},
		{"a user that was seen", Filter{UIDs: []uint32{7}}, true},
		{"a process that does not run", Filter{PIDs: []int{99}}, false},
		{"a unit that does not run", Filter{Units: globs(t, "quite")}, false},
		{"a process of another unit", Filter{PIDs: []int{60}, Units: globs(t, "ssh")}, false},
	} {
		if got := c.filter.Apply(r); got.Complete != c.complete {
			t.Errorf("%s: complete is %v, warnings %v", c.name, got.Complete, got.Warnings)
		}
	}
}

// What is not known of containers does not matter to who asks about something else.
func TestWarningsAboutContainers(t *testing.T) {
	r := &sensor.Report{
		Complete: false,
		Warnings: []sensor.Warning{{Subject: sensor.SubjectContainers, Message: "2 are known to no runtime"}},
		Seen: []sensor.Seen{
			{PID: 1, Workload: "ssh.service"},
			{PID: 2, Workload: "c1", ContainerID: "aaaa"},
		},
	}
	for pid, complete := range map[int]bool{1: true, 2: false} {
		f := Filter{PIDs: []int{pid}}
		if got := f.Apply(r); got.Complete != complete {
			t.Errorf("--pid %d: complete %t, warnings %v", pid, got.Complete, got.Warnings)
		}
	}
}
