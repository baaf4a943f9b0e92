package dpkg

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

func showChangelog(c owner.Changelog) string {
	var b strings.Builder
	for _, e := range c.Entries {
		fmt.Fprintf(&b, "%s %s %v; ", e.Version, e.Urgency, e.CVEs)
	}
	fmt.Fprintf(&b, "complete %v", c.Complete)
	return b.String()
}

func TestChangelog(t *testing.T) {
	const ssl3, ssl2, ssl1 = "3.0.19-1~deb12u2 medium [CVE-2026-28387 CVE-2026-28389]; ", "3.0.19-1~deb12u1 high []; ", "3.0.18-1~deb12u2 medium [CVE-2025-15467]; "
	tests := []struct{ fixture, pkg, after, want, reason string }{
		{"bookworm", "libssl3", "3.0.18-1~deb12u2", ssl3 + ssl2 + "complete true", ""},
		{"bookworm", "libssl3", "3.0.18-1~deb12u1", ssl3 + ssl2 + ssl1 + "complete false", ""},
		{"bookworm", "libssl3", "3.0.19-1~deb12u1", ssl3 + "complete true", ""},
		{"bookworm", "libssl3", "3.0.19-1~deb12u2", "complete true", ""},
		{"bookworm", "libssl3", "3.0.20-1", "complete true", ""}, // rolled back
		{"bookworm", "libcap2", "1:2.66-4+deb12u2+b1", "1:2.66-4+deb12u2+b2 low []; complete true", ""},
		{"bookworm", "libcap2", "1:2.66-4+deb12u1", "1:2.66-4+deb12u2+b2 low []; 1:2.66-4+deb12u2 medium [CVE-2025-1390]; complete true", ""},
		{"bookworm", "gcc", "4:12.2.0-2", "", "does not have version 4:12.2.0-3"},
		{"bookworm", "libbpf1", "1:1.1.0-1", "1.1.2-0+deb12u1 medium [CVE-2025-29481]; complete true", ""},
		{"bookworm", "libbpf1", "1.1.0-1", "", "not numbered alike"},
		{"bookworm", "dash", "0.5.12-1", "", "in /usr/share/doc/dash"},
		{"bookworm", "linux-perf-wrapped", "0.9-1", "", "does not have version 1.0-1"},
		{"bullseye", "libssl1.1", "1.1.1w-0+deb11u1", "1.1.1w-0+deb11u2 medium [CVE-2023-5678]; complete true", ""},
		{"jammy", "libssl3", "3.0.2-0ubuntu1.17", "3.0.2-0ubuntu1.18 medium [CVE-2024-6119]; complete true", ""},
		{"jammy", "libssl3", "3.0.2-0ubuntu1.2", "3.0.2-0ubuntu1.18 medium [CVE-2024-6119]; 3.0.2-0ubuntu1.17 medium [CVE-2022-40735]; complete false", ""},
		{"jammy", "libgcc-s1", "12.1.0-2ubuntu1~22.04",
			"12.3.0-1ubuntu1~22.04 medium []; 12.3.0-1ubuntu1 medium [CVE-2023-4039]; complete true", ""},
		{"distroless", "libssl3", "3.0.16-1", "", "in /usr/share/doc/libssl3"},
	}
	for _, tt := range tests {
		t.Run(tt.fixture+" "+tt.pkg+" "+tt.after, func(t *testing.T) {
			d := fixture(t, tt.fixture)
			got, err := d.Changelog(find(t, d, tt.pkg), tt.after)
			if tt.reason != "" {
				if !errors.Is(err, owner.ErrNoChangelog) || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("%v, %v; want no changelog: %s", got, err, tt.reason)
				}
			} else if err != nil || showChangelog(got) != tt.want {
				t.Errorf("%s, %v\nwant %s", showChangelog(got), err, tt.want)
			}
			noProblems(t, d)
		})
	}
	native := owner.Package{Name: "debianutils", Arch: "amd64", Version: "4.11.2"}
	got, err := fixture(t, "bullseye").Changelog(native, "4.11.1")
	if err != nil || showChangelog(got) != "4.11.2 medium []; complete false" || got.File != "/usr/share/doc/debianutils/changelog.gz" {
		t.Errorf("native: %+v, %v", got, err)
	}
}

func find(t *testing.T, d *Database, name string) owner.Package {
	t.Helper()
	for _, p := range d.Packages() {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no package %s", name)
	return owner.Package{}
}

// TestDamagedChangelog holds that a changelog that is not sound to the end is
// never complete, and that what stands before the damage is there.
func TestDamagedChangelog(t *testing.T) {
	const first = "a (3-1) unstable; urgency=low\n\n  * CVE-2026-0001\n\n -- M\n\n"
	const rest = "a (2-1) unstable; urgency=low\n\n  * CVE-2026-0002\n\n -- M\n\na (1-1) unstable; urgency=low\n\n  * Old.\n"
	sound := gzipped(first + rest)
	tests := []struct{ name, file, content, want, problem string }{
		{"sound", "changelog.Debian.gz", sound, "3-1 low [CVE-2026-0001]; 2-1 low [CVE-2026-0002]; complete true", ""},
		{"uncompressed", "changelog.Debian", first + rest, "3-1 low [CVE-2026-0001]; 2-1 low [CVE-2026-0002]; complete true", ""},
		{"cut off", "changelog.Debian.gz", sound[:len(sound)-10], "3-1 low [CVE-2026-0001]; 2-1 low [CVE-2026-0002]; complete", ""},
		{"bad checksum", "changelog.Debian.gz", gzipped(first)[:len(gzipped(first))-8] + "xxxxxxxx", "3-1 low [CVE-2026-0001]; complete false", "/usr/share/doc/a/changelog.Debian.gz: offset"},
		{"not gzip", "changelog.Debian.gz", first, "", "/usr/share/doc/a/changelog.Debian.gz: gzip: invalid header"},
		{"bad header", "changelog.Debian", first + "a (2\x1b[31m) unstable; urgency=low\n\n  * CVE-2026-0002\n", "3-1 low [CVE-2026-0001]; complete false", "offset 57: changelog entry has no valid version"},
		{"long line", "changelog.Debian", first + strings.Repeat("x", lines.Max+1) + "\n" + rest, "3-1 low [CVE-2026-0001]; complete false", "offset 57: line is too long"},
		{"bomb", "changelog.Debian.gz", gzipped(first + strings.Repeat("  * again\n", 7<<20)), "3-1 low [CVE-2026-0001]; complete false", "larger than allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, admin+"status", "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
			write(t, dir, docDir+"a/"+tt.file, tt.content)
			d := open(t, dir)
			got, err := d.Changelog(owner.Package{Name: "a", Arch: "amd64", Version: "3-1"}, "1-1")
			switch {
			case tt.want == "":
				if !errors.Is(err, owner.ErrNoChangelog) {
					t.Errorf("%s, %v, want no changelog", showChangelog(got), err)
				}
			case err != nil || !strings.HasPrefix(showChangelog(got), tt.want):
				t.Errorf("%s, %v\nwant %s", showChangelog(got), err, tt.want)
			}
			p := d.Problems()
			if tt.problem == "" && tt.name != "cut off" && len(p) > 0 || tt.problem != "" && (len(p) != 1 || !strings.Contains(p[0].Error(), tt.problem)) {
				t.Errorf("problems %v, want %q", p, tt.problem)
			}
		})
	}
	d := fixture(t, "bookworm")
	for _, p := range []owner.Package{{Name: "../libssl3", Version: "1"}, {Name: "libssl3", Version: ""}, {Name: "libssl3", Version: "1\n"}} {
		if got, err := d.Changelog(p, "1"); err == nil {
			t.Errorf("changelog of %+v: %+v, want an error", p, got)
		}
	}
}

// stingyReader fails the test when more is read than the entries that matter.
type stingyReader struct {
	t    *testing.T
	text io.Reader
}

func (s *stingyReader) Read(b []byte) (int, error) {
	n, err := s.text.Read(b[:min(len(b), 64)])
	if err == io.EOF {
		s.t.Error("the changelog was read to its end")
	}
	return n, err
}

func TestChangelogStopsEarly(t *testing.T) {
	text := "a (2-1) unstable; urgency=low\n\n  * New.\n\na (1-1) unstable; urgency=low\n" + strings.Repeat("  * old\n", 1000)
	var out owner.Changelog
	w := window{installed: "2-1", after: "1-1", out: &out}
	if err := w.read(newChangelogReader("a", &stingyReader{t, strings.NewReader(text)})); err != nil || !out.Complete || len(out.Entries) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestNextCVE(t *testing.T) {
	tests := []struct{ text, want string }{
		{"CVE-2026-1234", "CVE-2026-1234"},
		{"cve-2026-1234", "CVE-2026-1234"},
		{"xCVE-2026-12345.patch", "CVE-2026-12345"},
		{"CVE-CVE-2026-1234", "CVE-2026-1234"},
		{"CVE-2026-CVE-2026-1234", "CVE-2026-1234"},
		{"a-b CVE-2026-123 CVE-26-1234 CVE-20261-1234 CVE 2026-1234", ""},
		{"CVE-2026-" + strings.Repeat("1", 19), "CVE-2026-" + strings.Repeat("1", 19)},
		{"CVE-2026-" + strings.Repeat("1", 20), ""},
		{"CVE-2026-", ""}, {"CVE-2026", ""}, {"CVE-", ""}, {"CVE", ""}, {"-", ""}, {"", ""},
	}
	for _, tt := range tests {
		c := newChangelogReader("", nil)
		if got := strings.Join(c.appendCVEs(nil, []byte(tt.text)), " "); got != tt.want {
			t.Errorf("%q has %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestCompare(t *testing.T) {
	ordered := []string{"0", "1.0~rc1-1", "1.0-1~bpo1", "1.0-1", "1.0-1+b1", "1.0-1+b10", "1.0-1+deb12u1", "1.0a", "1.0+x", "1.1-1", "1.10-1", "2:0.1"}
	for i, a := range ordered {
		for j, b := range ordered {
			got, err := Compare(a, b)
			if err != nil || sign(got) != sign(i-j) {
				t.Errorf("Compare(%s, %s) = %d, %v", a, b, got, err)
			}
		}
	}
	for _, bad := range []string{"", "1 2", "1\n", "x:1", "1é", strings.Repeat("1", maxVersion+1)} {
		if got, err := Compare(bad, "1"); err == nil {
			t.Errorf("Compare(%q, 1) = %d, want an error", bad, got)
		}
		if got, err := Compare("1", bad); err == nil {
			t.Errorf("Compare(1, %q) = %d, want an error", bad, got)
		}
	}
	for in, want := range map[string]string{"1-1+b2": "1-1", "1-1+b": "1-1+b", "1-1+bx": "1-1+bx", "1-1+deb12u1": "1-1+deb12u1", "1+b1+b22": "1+b1", "+b1": ""} {
		if got := withoutRebuild(in); got != want {
			t.Errorf("withoutRebuild(%s) = %s, want %s", in, got, want)
		}
	}
}

func sign(n int) int { return min(1, max(-1, n)) }
