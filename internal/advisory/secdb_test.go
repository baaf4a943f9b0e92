package advisory

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestSecDB: what Alpine says that each version fixed.
func TestSecDB(t *testing.T) {
	const head = `{"apkurl":"{{urlprefix}}/{{distroversion}}/{{reponame}}/{{arch}}/{{pkg.name}}-{{pkg.ver}}.apk","archs":["x86_64"],` +
		`"reponame":"main","urlprefix":"https://example.org/alpine","distroversion":"v3.20","packages":[`
	x, stats := imported(t, files(t, map[string]string{
		"main.json": head + `{"pkg":{"name":"openssl","secfixes":{"3.3.1-r0":["CVE-2026-0001","CVE-2026-0002 (+ regression fix)","XSA-1"],` +
			`"3.3.2-r0":["CVE-2026-0003"],"0":["CVE-2026-0004"]}}},{"pkg":{"name":"zlib","secfixes":{"1.3.1-r1":["CVE-2026-0001"]}}}]}`,
	}))
	if stats.Malformed > 0 || stats.Files != 1 {
		t.Fatalf("%+v", stats)
	}
	between := func(ecosystem, name, loaded, installed string) []string {
		t.Helper()
		list, err := x.Between(t.Context(), Query{Ecosystem: ecosystem, Package: name, Loaded: loaded, Installed: installed})
		if err != nil {
			t.Fatal(err)
		}
		return ids(list)
	}
	for _, c := range []struct {
		name, loaded, installed string
		want                    []string
	}{
		{"openssl", "3.3.0-r3", "3.3.2-r0", []string{"CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003"}},
		{"openssl", "3.3.1-r0", "3.3.2-r0", []string{"CVE-2026-0003"}},
		{"openssl", "3.3.2-r0", "3.3.2-r1", []string{}},
		{"zlib", "1.3.1-r0", "1.3.1-r1", []string{"CVE-2026-0001"}},
		{"musl", "1-r0", "2-r0", []string{}},
	} {
		if got := between("Alpine:v3.20", c.name, c.loaded, c.installed); !slices.Equal(got, c.want) {
			t.Errorf("%s %s to %s: %q, want %q", c.name, c.loaded, c.installed, got, c.want)
		}
	}
	status, err := x.Status(t.Context())
	if err != nil || len(status.Sources) != 1 || !strings.Contains(fmt.Sprint(status.Sources[0]), KindSecDB) {
		t.Errorf("%+v, %v", status, err)
	}
	for what, text := range map[string]string{
		"no release":       strings.Replace(head, `"distroversion":"v3.20",`, "", 1) + `]}`,
		"a wrong release":  strings.Replace(head, `v3.20`, "edge", 1) + `]}`,
		"a wrong shape":    head + `{"pkg":{"name":7}}]}`,
		"a package of two": head + `{"pkg":{"name":"a\nb","secfixes":{}}}]}`,
		"a wrong version":  head + `{"pkg":{"name":"a","secfixes":{"\n":["CVE-2026-0001"]}}}]}`,
		"cut off":          head + `{"pkg":{"name":"a"`,
	} {
		if c := collect(t, text); c.err == nil && c.problems == 0 {
			t.Errorf("%s: nobody is told", what)
		}
	}
}

// FuzzSecDB holds that what follows a malformed package is read all the same.
func FuzzSecDB(f *testing.F) {
	f.Add(`{"pkg":{"name":"a","secfixes":{"1-r0":["CVE-2026-0001"]}}}`)
	f.Add(`{"pkg":{"name":"a","secfixes":{"0":["CVE-2026-0001 x"],"":[""]}}},7,[]`)
	f.Add(`{"pkg":[]}`)
	f.Fuzz(func(t *testing.T, inner string) {
		c := collect(t, `{"distroversion":"v3.20","packages":[`+inner+`,{"pkg":{"name":"sentinel","secfixes":{"1-r0":["CVE-2026-9999"]}}}]}`)
		for _, r := range c.records {
			if r.rank != rankTracker || r.cves[0] != r.id || len(r.packages) != 1 || r.packages[0].ecosystem != "Alpine:v3.20" {
				t.Errorf("%+v", r)
			}
		}
		last := func(r *record) bool { return r.id == "CVE-2026-9999" }
		if c.err == nil && json.Valid([]byte("["+inner+"]")) && !slices.ContainsFunc(c.records, last) {
			t.Errorf("the package behind %q was not read", inner)
		}
	})
}
