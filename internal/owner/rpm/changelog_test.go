package rpm

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/owner"
)

func TestEntryVersion(t *testing.T) {
	tests := map[string]string{
		"Jane Doe <jane@example.org> - 1:3.0.7-24":               "1:3.0.7-24",
		"Jane Doe <jane@example.org> 3.0.7-24":                   "3.0.7-24",
		"Jane Doe <jane@example.org> -1.2-3":                     "1.2-3",
		"Jane Doe <jane@example.org>- 1.2-3.el9_4":               "1.2-3.el9_4",
		"Jane Doe <jane@example.org> [5.14.0-427.13.1.el9_4]":    "5.14.0-427.13.1.el9_4",
		"Fedora Release Engineering <r@fedoraproject.org> - 2-1": "2-1",
		"Jane Doe - 1.0-1":                                       "1.0-1",
		"Jane Doe <jane@example.org>":                            "",
		"jane@suse.com":                                          "",
		"Jane 3Doe <jane@example.org> - new":                     "",
		"Jane Doe <jane@example.org> - 1.0\x01":                  "",
		"":                                                       "",
	}
	for name, want := range tests {
		if got := entryVersion([]byte(name)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestWindow(t *testing.T) {
	// Each word is VERSION[=CVE number]; "-" has no version.
	tests := []struct {
		name, log, installed, after string
		want                        string // versions and CVEs
		complete                    bool
	}{
		{"plain", "3-1=3 2-1=2 1-1=1", "3-1", "1-1", "3-1=3 2-1=2", true},
		{"the same", "3-1=3 2-1=2", "3-1", "3-1", "", true},
		{"older than the log", "3-1=3 2-1=2", "3-1", "1-1", "3-1=3 2-1=2", false},
		{"between entries", "3-1=3 1-1=1", "3-1", "2-1", "3-1=3", true},
		{"epoch lacks", "3-1=3 2-1=2", "1:3-1", "1:2-1", "3-1=3", true},
		{"epoch is there", "1:3-1=3 1:2-1=2", "1:3-1", "1:2-1", "1:3-1=3", true},
		{"mark lacks", "3-2=3 3-1=2", "3-2.el9_4", "3-1.el9_4", "3-2=3", true},
		{"mark lacks, another mark", "3-2=3 3-1=2", "3-2.el9_5", "3-1.el9_4", "3-2=3", true},
		{"mark before the end", "3-24.2=3 3-24.1=2 3-24=1", "3-24.el9_4.2", "3-24.el9_4.1", "3-24.2=3", true},
		{"mark is there", "3-2.amzn2023.0.2=3 3-2.amzn2023.0.1=2", "3-2.amzn2023.0.2", "3-2.amzn2023.0.1", "3-2.amzn2023.0.2=3", true},
		{"only the mark differs", "3-2=3 3-1=2", "3-2.el9_5", "3-2.el9_4", "", false},
		{"module", "3-2=3 3-1=2", "3-2.module+el9.2.0+1+abc", "3-1.module+el9.1.0+7+def", "3-2=3", true},
		{"no release", "3=3 2=2", "3-7", "2-5", "3=3", true},
		{"without version", "3-1=3 -=8 2-1=2 -=9 1-1=1", "3-1", "1-1", "3-1=3,8 2-1=2,9", true},
		{"without version at the top", "-=8 3-1=3 2-1=2", "3-1", "2-1", "3-1=8 3-1=3", true},
		{"entry forgotten", "2-1=2 1-1=1", "3-1", "1-1", "2-1=2", false},
		{"rolled back", "2-1=2 1-1=1", "2-1", "3-1", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log []string
			for w := range strings.FieldsSeq(tt.log) {
				v, cve, _ := strings.Cut(w, "=")
				log = append(log, strings.TrimSuffix("Jane <j@example.org> - "+v, " - -"), "- Fix CVE-2026-000"+cve)
			}
			d := open(t, packagesRoot(t, made{name: "a", arch: "x86_64", version: tt.installed, installed: 1, log: log}))
			got, err := d.Changelog(d.Packages()[0], tt.after)
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, e := range got.Entries {
				words = append(words, e.Version+"="+strings.ReplaceAll(strings.Join(e.CVEs, ","), "CVE-2026-000", ""))
			}
			if s := strings.Join(words, " "); s != tt.want || got.Complete != tt.complete {
				t.Errorf("%q, complete %v; want %q, %v", s, got.Complete, tt.want, tt.complete)
			}
			noProblems(t, d)
		})
	}
}

func TestNoChangelog(t *testing.T) {
	entry := []string{"Jane <j@example.org> - 2-1", "- CVE-2026-0001"}
	tests := map[string]made{
		"none":                 {version: "2-1"},
		"no versions":          {version: "2-1", log: []string{"jane@suse.com", "- Update to 2 (CVE-2026-0001)"}},
		"another than sources": {version: "1.20-1", source: "perl-5.36-1.src.rpm", log: entry},
	}
	for name, p := range tests {
		p.name, p.arch = "a", "x86_64"
		d := open(t, packagesRoot(t, p))
		if got, err := d.Changelog(d.Packages()[0], "1-1"); !errors.Is(err, owner.ErrNoChangelog) || !reflect.DeepEqual(got, owner.Changelog{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	d := open(t, packagesRoot(t, made{name: "a", arch: "x86_64", version: "2-1", log: entry}))
	if _, err := d.Changelog(d.Packages()[0], "not a version"); err == nil || errors.Is(err, owner.ErrNoChangelog) {
		t.Errorf("after no version: %v", err)
	}
}

// TestManyCVEs bounds what is kept of a hostile changelog.
func TestManyCVEs(t *testing.T) {
	var text strings.Builder
	for i := range maxCVEs + 10 {
		fmt.Fprintf(&text, "CVE-2026-%05d ", i)
	}
	d := open(t, packagesRoot(t, made{name: "a", arch: "x86_64", version: "2-1", log: []string{"J <j@x> - 2-1", text.String(), "J <j@x> - 1-1", ""}}))
	got, err := d.Changelog(d.Packages()[0], "1-1")
	if err != nil || len(got.Entries) != 1 || len(got.Entries[0].CVEs) != maxCVEs || got.Complete {
		t.Errorf("%d entries, complete %v, %v", len(got.Entries), got.Complete, err)
	}
	checkTold(t, d.Problems(), "var/lib/rpm/Packages.db")
}
