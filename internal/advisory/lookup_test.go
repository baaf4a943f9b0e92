package advisory

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAffecting(t *testing.T) {
	x, stats := imported(t, "testdata")
	if stats.Malformed != 0 || stats.Ignored != 0 || stats.Withdrawn != 1 {
		t.Errorf("%+v", stats)
	}
	for _, c := range []struct{ ecosystem, name, version, want string }{
		{"Debian:12", "openssl", "3.0.8-1", "CVE-2023-0464 CVE-2023-0465 CVE-2023-2650 CVE-2024-2511 CVE-2099-0001 CVE-2099-0002 TEMP-0000000-1A2B3C"},
		{"Debian:12", "openssl", "3.0.6-1", "CVE-2022-3602 CVE-2023-0464 CVE-2023-0465 CVE-2023-2650 CVE-2024-2511 CVE-2099-0001 CVE-2099-0002 TEMP-0000000-1A2B3C"},
		{"Debian:12", "openssl", "3.0.14-1~deb12u1", "CVE-2099-0001 CVE-2099-0002 TEMP-0000000-1A2B3C"},
		// Never affected there; open there; no release of this number for the rest.
		{"Debian:11", "openssl", "1.1.1n-0+deb11u5", "CVE-2024-2511 CVE-2099-0001"},
		{"Debian:sid", "openssl", "3.0.9-1", ""},
		{"Debian:12", "zlib", "1:1.2.13.dfsg-1", "CVE-2023-45853"},
		{"Debian:12", "no-such", "1", ""},
		{"Ubuntu:22.04:LTS", "openssl", "3.0.2-0ubuntu1.18", "CVE-2024-5535 CVE-2024-9143 CVE-2024-13176"},
		{"Ubuntu:22.04:LTS", "openssl", "3.0.2-0ubuntu1.19", ""},
		// Only the version tells of the subscription.
		{"Ubuntu:18.04:LTS", "openssl", "1.1.1-1ubuntu2.1~18.04.23+esm4", "CVE-2024-5535 CVE-2024-9143 CVE-2024-13176"},
		{"Ubuntu:Pro:18.04:LTS", "openssl", "1.1.1-1ubuntu2.1~18.04.23+esm5", "CVE-2024-13176"},
		{"Alpine:v3.20", "openssl", "3.3.2-r0", "CVE-2024-9143"},
		{"Alpine:v3.19", "openssl", "3.3.2-r0", ""},
		{"Red Hat:enterprise_linux:9", "python3-setuptools", "53.0.0-12.el9", "CVE-2024-6345 CVE-2024-9999"},
		{"Red Hat:enterprise_linux:9::appstream", "python3-setuptools", "53.0.0-12.el9_4.1", ""},
		{"Red Hat:enterprise_linux:10.1", "python3-setuptools", "69.0.3-9.el10_0", "CVE-2024-6345 CVE-2024-9999"},
		{"AlmaLinux:9", "python3-setuptools", "53.0.0-12.el9", "CVE-2024-6345"},
		{"Rocky Linux:9", "python-setuptools", "53.0.0-12.el9", "CVE-2024-6345"},
		{"SUSE:Linux Enterprise Server 15 SP5", "openssl-3", "3.0.8-150500.5.8.1", "CVE-2023-3446"},
		{"SUSE:Linux Enterprise Server for SAP Applications 15 SP5", "openssl-3", "3.0.8-150500.5.8.1", "CVE-2023-3446"},
		{"openSUSE:Leap 15.5", "openssl-3", "3.0.8-150500.5.8.1", "CVE-2023-3446"},
		{"Wolfi", "openssl", "3.3.1-r9", "CVE-2024-6119"},
		{"Chainguard", "openssl", "3.3.2-r0", ""},
		{"Go", "stdlib", "1.22.4", "CVE-2024-24791"},
		{"Go", "stdlib", "1.21.12", ""},
		{"crates.io", "hyper", "0.14.9", "CVE-2021-32715 CVE-2024-32716"},
		{"crates.io", "hyper", "0.14.20", "CVE-2024-32716"},
		{"crates.io", "hyper", "0.14.21", ""},
	} {
		list, err := x.Affecting(t.Context(), c.ecosystem, c.name, c.version)
		if got := strings.Join(ids(list), " "); err != nil || got != c.want {
			t.Errorf("%s %s %s: %q, %v; want %q", c.ecosystem, c.name, c.version, got, err, c.want)
		}
	}
}

func TestBetween(t *testing.T) {
	x, _ := imported(t, "testdata")
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{"Debian:12", "openssl", "3.0.8-1", "3.0.9-1"}, "CVE-2023-0464 CVE-2023-0465 CVE-2023-2650"},
		{Query{"Debian:12", "openssl", "3.0.8-1", "3.0.15-1~deb12u1"}, "CVE-2023-0464 CVE-2023-0465 CVE-2023-2650 CVE-2024-2511"},
		{Query{"Debian:12", "openssl", "3.0.9-1", "3.0.9-1"}, ""},
		{Query{"Debian:12", "openssl", "3.0.9-1", "3.0.8-1"}, ""}, // a downgrade fixes nothing
		{Query{"Ubuntu:22.04:LTS", "openssl", "3.0.2-0ubuntu1.10", "3.0.2-0ubuntu1.19"}, "CVE-2024-5535 CVE-2024-9143 CVE-2024-13176"},
		{Query{"Ubuntu:18.04:LTS", "openssl", "1.1.1-1ubuntu2.1~18.04.23", "1.1.1-1ubuntu2.1~18.04.23+esm5"}, "CVE-2024-5535 CVE-2024-9143"},
		{Query{"Red Hat:enterprise_linux:9", "python3-setuptools", "0:53.0.0-12.el9", "53.0.0-12.el9_4.1"}, "CVE-2024-6345 CVE-2024-9999"},
		{Query{"Go", "stdlib", "1.21.11", "1.22.4"}, ""},
		{Query{"Go", "stdlib", "v1.21.11", "v1.22.5"}, "CVE-2024-24791"},
	} {
		list, err := x.Between(t.Context(), c.q)
		if got := strings.Join(ids(list), " "); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v; want %q", c.q, got, err, c.want)
		}
	}
}

func TestDetails(t *testing.T) {
	x, _ := imported(t, "testdata")
	one := func(ecosystem, name, version, id string) Vulnerability {
		t.Helper()
		list, err := x.Affecting(t.Context(), ecosystem, name, version)
		i := slices.IndexFunc(list, func(v Vulnerability) bool { return v.ID == id })
		if err != nil || i < 0 {
			t.Fatalf("%s of %s: %v, %v", id, name, list, err)
		}
		return list[i]
	}
	// The tracker decides; the score is from the record of the CVE; CISA lists it.
	v := one("Debian:12", "openssl", "3.0.8-1", "CVE-2023-2650")
	if v.Severity.Score != 6.5 || v.Severity.Rating != "medium" || !v.Exploited || v.Fixed != "3.0.9-1" || v.Advisories != nil {
		t.Errorf("%+v", v)
	}
	v = one("Debian:12", "openssl", "3.0.8-1", "CVE-2023-0464")
	if v.Severity != (Severity{}) || v.Exploited || !slices.Equal(v.Advisories, []string{"DSA-5417-1"}) {
		t.Errorf("%+v", v)
	}
	if v = one("Debian:12", "openssl", "3.0.8-1", "CVE-2099-0001"); !v.Undetermined || v.Fixed != "" {
		t.Errorf("%+v", v)
	}
	if v = one("Debian:12", "openssl", "3.0.8-1", "CVE-2099-0002"); v.Undetermined || v.Severity.Rating != "low" {
		t.Errorf("%+v", v)
	}
	// The record about the one CVE decides, not the advisory that names it too.
	v = one("Ubuntu:22.04:LTS", "openssl", "3.0.2-0ubuntu1.18", "CVE-2024-13176")
	if v.Severity.Score == 0 || v.Severity.Rating != rate(v.Severity.Score, v.Severity.Vector) ||
		!slices.Equal(v.Advisories, []string{"UBUNTU-CVE-2024-13176"}) {
		t.Errorf("%+v", v)
	}
	// The advisory's own is all that is known, then the severity of its worst.
	v = one("Red Hat:enterprise_linux:9", "python3-setuptools", "53.0.0-12.el9", "CVE-2024-6345")
	if v.Severity.Score != 8.8 || v.Severity.Rating != "high" || !v.Exploited || v.Fixed != "0:53.0.0-12.el9_4.1" {
		t.Errorf("%+v", v)
	}
	if v = one("AlmaLinux:9", "python3-setuptools", "53.0.0-12.el9", "CVE-2024-6345"); v.Severity.Rating != "high" || v.Severity.Score != 0 {
		t.Errorf("%+v", v)
	}
	v = one("Go", "stdlib", "1.22.4", "CVE-2024-24791")
	if v.Severity.Score != 7.5 || v.Fixed != "1.22.5" || !slices.Equal(v.Aliases, []string{"GHSA-hw49-2p59-3mhj"}) {
		t.Errorf("%+v", v)
	}
	// Version 4 of CVSS gives no score here, but the database a rating, or not.
	v = one("crates.io", "hyper", "0.14.9", "CVE-2024-32716")
	if v.Severity.Score != 0 || v.Severity.Rating != "medium" || !strings.HasPrefix(v.Severity.Vector, "CVSS:4.0/") {
		t.Errorf("%+v", v)
	}
	if v = one("crates.io", "hyper", "0.14.9", "CVE-2021-32715"); v.Severity.Rating != "" || v.Severity.Vector == "" {
		t.Errorf("%+v", v)
	}
}

// osv returns a record with one range.
func osv(id, ecosystem, name, events, more string) string {
	return `{"id":"` + id + `","modified":"2024-01-01T00:00:00Z",` + more + `"affected":[{"package":{"ecosystem":"` + ecosystem +
		`","name":"` + name + `"},"ranges":[{"type":"ECOSYSTEM","events":[` + events + `]}]}]}`
}

// TestNotKnown: what cannot be told is never "not affected".
func TestNotKnown(t *testing.T) {
	x, stats := imported(t, files(t, map[string]string{
		"a.json": osv("CVE-2024-0001", "Debian:12", "a", `{"introduced":"0"},{"fixed":"not a version!"}`, ""),
		"b.json": osv("CVE-2024-0002", "Debian:12", "a", `{"introduced":"0"},{"fixed":"2"}`, ""),
		"c.json": osv("CVE-2024-0003", "Debian:12", "b", `{"introduced":"0","fixed":"2"}`, ""),
		"d.json": osv("CVE-2024-0004", "Unheard Of", "c", `{"introduced":"0"},{"fixed":"2"}`, ""),
		"e.json": `{"id":"CVE-2024-0005","modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"d"},
			"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]}]}`,
		"f.json": `{"e":{"CVE-2024-0006":{"releases":{"bookworm":{"status":"resolved"}}}}}`,
		"h.json": osv("CVE-2024-0008", "Rocky Linux", "a", `{"introduced":"0"}`, ""),
		"g.json": osv("CVE-2024-0007", "Debian:12", "z", `{"introduced":"0"}`, ""),
	}))
	if stats.Malformed != 3 {
		t.Errorf("%+v", stats.Problems)
	}
	ask := func(ecosystem, name, version string, want error, found ...string) {
		t.Helper()
		list, err := x.Affecting(t.Context(), ecosystem, name, version)
		if !errors.Is(err, want) || !slices.Equal(ids(list), found) && len(list)+len(found) > 0 {
			t.Errorf("%s %s %s: %v, %v", ecosystem, name, version, ids(list), err)
		}
	}
	ask("Debian:12", "b", "1", ErrVersion)
	ask("Debian:12", "e", "1", ErrVersion)
	ask("Debian:12", "a b", "", ErrVersion)
	ask("Debian:12", "a", "no version!", ErrVersion)
	ask("Debian:11", "a", "1", ErrNotCovered)
	ask("Rocky Linux:9", "b", "1-1", ErrNotCovered)
	ask("Fedora:40", "a", "1-1", ErrVersion)
	ask("Unheard Of", "c", "1", ErrVersion)
	ask("Go", "d", "1.0.0", ErrVersion)
	ask("Debian:12", "nothing known", "1", nil)
	if _, err := x.Between(t.Context(), Query{"Debian:12", "a", "1", ""}); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	if _, err := x.Between(t.Context(), Query{"Debian:12", "a", "", "1"}); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// TestPartlyKnown: what can be told comes beside the error.
func TestPartlyKnown(t *testing.T) {
	x, _ := imported(t, files(t, map[string]string{
		"a.json": osv("CVE-2024-0001", "Debian:12", "a", `{"introduced":"0"},{"fixed":"not_a:version"}`, ""),
		"b.json": osv("CVE-2024-0002", "Debian:12", "a", `{"introduced":"0"},{"fixed":"2"}`, ""),
	}))
	list, err := x.Between(t.Context(), Query{"Debian:12", "a", "1", "2"})
	if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "CVE-2024-0001") || !slices.Equal(ids(list), []string{"CVE-2024-0002"}) {
		t.Errorf("%v, %v", ids(list), err)
	}
}

// TestVersionLists: a version that is listed is affected, whatever the ranges say.
func TestVersionLists(t *testing.T) {
	x, _ := imported(t, files(t, map[string]string{
		"a.json": `{"id":"CVE-2024-0001","modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Debian:12","name":"a"},
			"versions":["1-1","0:2-1"]}]}`,
		"b.json": `{"id":"CVE-2024-0002","modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Debian:12","name":"b"},
			"versions":["9"],"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]}]}`,
	}))
	for _, c := range []struct {
		name, version string
		want          int
	}{{"a", "1-1", 1}, {"a", "2-1", 1}, {"a", "1", 0}, {"a", "3-1", 0}, {"b", "1", 1}, {"b", "2", 0}, {"b", "9", 1}} {
		list, err := x.Affecting(t.Context(), "Debian:12", c.name, c.version)
		if err != nil || len(list) != c.want {
			t.Errorf("%s %s: %v, %v", c.name, c.version, ids(list), err)
		}
	}
	for _, c := range []struct {
		q    Query
		want int
	}{{Query{"Debian:12", "a", "1-1", "3-1"}, 1}, {Query{"Debian:12", "a", "1-1", "2-1"}, 0},
		{Query{"Debian:12", "b", "1", "9"}, 0}, {Query{"Debian:12", "b", "9", "10"}, 1}} {
		if list, err := x.Between(t.Context(), c.q); err != nil || len(list) != c.want {
			t.Errorf("%+v: %v, %v", c.q, ids(list), err)
		}
	}
}

// TestModuleStreams: of several advisories about one CVE, for versions of several
// streams, the one that was installed is enough.
func TestModuleStreams(t *testing.T) {
	x, _ := imported(t, files(t, map[string]string{
		"a.json": osv("RLSA-2024:1", "Rocky Linux:8", "nodejs", `{"introduced":"0"},{"fixed":"1:16.20.2-4.module+el8.9.0+1"}`, `"upstream":["CVE-2024-0001"],`),
		"b.json": osv("RLSA-2024:2", "Rocky Linux:8", "nodejs", `{"introduced":"0"},{"fixed":"1:18.19.1-1.module+el8.9.0+2"}`, `"upstream":["CVE-2024-0001","CVE-2024-0002"],`),
	}))
	list, err := x.Between(t.Context(), Query{"Rocky Linux:8", "nodejs", "1:16.20.2-3.module+el8.9.0+1", "1:16.20.2-4.module+el8.9.0+1"})
	if err != nil || len(list) != 1 || list[0].ID != "CVE-2024-0001" || list[0].Fixed != "1:16.20.2-4.module+el8.9.0+1" ||
		!slices.Equal(list[0].Advisories, []string{"RLSA-2024:1"}) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestManyReaders(t *testing.T) {
	x, _ := imported(t, "testdata")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				list, err := x.Between(context.Background(), Query{"Debian:12", "openssl", "3.0.8-1", "3.0.9-1"})
				if err != nil || len(list) != 3 {
					t.Errorf("%v, %v", ids(list), err)
				}
				if _, err := x.Status(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Affecting(ctx, "Debian:12", "openssl", "1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWhoIsBelieved: the tracker, then the record of the one CVE, then advisories.
func TestWhoIsBelieved(t *testing.T) {
	tracked := func(status string) string {
		return `{"a":{"CVE-2024-0001":{"releases":{"bookworm":{` + status + `}}}}}`
	}
	single := func(events string) string {
		return osv("DEBIAN-CVE-2024-0001", "Debian:12", "a", events, `"upstream":["CVE-2024-0001"],`)
	}
	bundle := func(id, fix string) string {
		return osv(id, "Debian:12", "a", `{"introduced":"0"},{"fixed":"`+fix+`"}`, `"upstream":["CVE-2024-0001"],`)
	}
	const open = `{"introduced":"0"}`
	for name, c := range map[string]struct {
		texts     []string
		affecting bool   // of version 1
		between   bool   // of 1 and 2
		fix       string // of version 1
	}{
		"never affected":      {[]string{tracked(`"status":"resolved","fixed_version":"0"`), single(open), bundle("DSA-1-1", "2")}, false, false, ""},
		"open":                {[]string{tracked(`"status":"open"`), single(`{"introduced":"0"},{"fixed":"2"}`), bundle("DSA-1-1", "2")}, true, false, ""},
		"resolved":            {[]string{tracked(`"status":"resolved","fixed_version":"2"`), single(open)}, true, true, "2"},
		"undetermined":        {[]string{tracked(`"status":"undetermined"`)}, true, false, ""},
		"determined by other": {[]string{tracked(`"status":"undetermined"`), bundle("DSA-1-1", "2")}, true, true, "2"},
		"single":              {[]string{single(`{"introduced":"0"},{"fixed":"3"}`), bundle("DSA-1-1", "2")}, true, false, "3"},
		"single, not at all":  {[]string{single(`{"introduced":"3"}`), bundle("DSA-1-1", "2")}, false, false, ""},
		"advisories":          {[]string{bundle("DSA-1-1", "2"), bundle("DSA-1-2", "3")}, true, true, "2"},
	} {
		contents := make(map[string]string)
		for i, text := range c.texts {
			contents[string(rune('a'+i))] = text
		}
		x, _ := imported(t, files(t, contents))
		list, err := x.Affecting(t.Context(), "Debian:12", "a", "1")
		if err != nil || len(list) > 1 || (len(list) == 1) != c.affecting || len(list) == 1 && list[0].Fixed != c.fix {
			t.Errorf("%s: affecting: %+v, %v", name, list, err)
		}
		list, err = x.Between(t.Context(), Query{"Debian:12", "a", "1", "2"})
		if err != nil || len(list) > 1 || (len(list) == 1) != c.between {
			t.Errorf("%s: between: %+v, %v", name, list, err)
		}
	}
}
