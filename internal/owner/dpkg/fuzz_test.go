package dpkg

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

// checkDefect holds that a defect names the file and a place in it.
func checkDefect(t *testing.T, err error, size int) {
	t.Helper()
	var oe *owner.Error
	if err == nil {
		return
	}
	if !errors.As(err, &oe) || oe.File != "/f" || oe.Offset < 0 || oe.Offset > int64(size) {
		t.Errorf("defect %v in a file of %d bytes", err, size)
	}
}

// FuzzStatus: whatever stands before it, a sound stanza is read, and names are
// such as can stand in a file name.
func FuzzStatus(f *testing.F) {
	f.Add([]byte("Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nSource: b (2)\n\n"))
	f.Add([]byte("Package: a\nStatus: install ok\n continued\n\nnonsense\n:\n"))
	f.Add([]byte("package:a\nSTATUS: purge ok not-installed\nmulti-arch: SAME"))
	f.Add([]byte("0001-01-01 00:00:00 upgrade 0 0 0"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("sentinel")) {
			return
		}
		content = append(content, "\n\nPackage: sentinel\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"...)
		var s stanzas
		for err := range s.parse(content, source{file: "f"}) {
			checkDefect(t, err, len(content))
		}
		found := false
		for _, r := range s.owning() {
			if strings.ContainsAny(r.Name+r.Arch, "/\x00\n") || r.Name == "" || r.Name == ".." {
				t.Errorf("package %q, architecture %q", r.Name, r.Arch)
			}
			found = found || r.Name == "sentinel" && r.Version == "1" && r.State == owner.StateInstalled
		}
		if !found {
			t.Error("the sound stanza is lost")
		}
	})
}

// FuzzOwners: the scan finds just the paths that are lines of the list.
func FuzzOwners(f *testing.F) {
	f.Add([]byte("/.\n/usr\n/usr/lib/libz.so.1\n"), "/usr/lib/libz.so.1")
	f.Add([]byte("/a\n/bc"), "/bc")
	f.Add([]byte("\n\n//\n/\xff\n"), "/\xff")
	f.Fuzz(func(t *testing.T, content []byte, path string) {
		var wanted tails
		d := &Database{}
		mean := d.meanings([]string{path}, &wanted)
		got := false
		list{content: content}.scan(&wanted, func(line []byte) { got = got || len(mean[string(line)]) > 0 })
		want := false
		for line := range strings.SplitSeq(string(content), "\n") {
			want = want || len(path) > 1 && path[0] == '/' && line == path
		}
		if got != want {
			t.Errorf("%q in %q: %v, want %v", path, content, got, want)
		}
	})
}

// FuzzChecksum: what is found is a checksum that the file has, and the scan for
// owners finds the same paths.
func FuzzChecksum(f *testing.F) {
	sum := strings.Repeat("0123456789ABCDEF", 2)
	f.Add([]byte(sum+"  usr/bin/a\n"), "/usr/bin/a")
	f.Add([]byte("nonsense\n"+sum+" *./a\n"), "/a")
	f.Fuzz(func(t *testing.T, content []byte, path string) {
		got, ok, err := findSum("f", content, path)
		checkDefect(t, err, len(content))
		if !ok {
			return
		}
		if len(got) != 32 || strings.Trim(got, "0123456789abcdef") != "" || !bytes.Contains(bytes.ToLower(content), []byte(got)) {
			t.Errorf("checksum %q", got)
		}
		if !strings.HasPrefix(path, "/") || len(path) == 1 {
			return
		}
		var wanted tails
		mean := (&Database{}).meanings([]string{path}, &wanted)
		owned := false
		list{content, true}.scan(&wanted, func(line []byte) { owned = owned || len(mean[string(line)]) > 0 })
		if !owned {
			t.Errorf("%q has a checksum in %q, but no owner", path, content)
		}
	})
}

// FuzzDiversions: every path is absolute and is in one diversion only.
func FuzzDiversions(f *testing.F) {
	f.Add([]byte("/bin/sh\n/bin/sh.distrib\ndash\n/a\n/b\n:\n"))
	f.Add([]byte("/a\n/a\n:\n/a"))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := parseDiversions("f", bytes.NewReader(content))
		checkDefect(t, err, len(content))
		seen := make(map[string]bool)
		for _, d := range got {
			if d.from[0] != '/' || d.to[0] != '/' || d.by == ":" || seen[d.from] || seen[d.to] {
				t.Errorf("diversion %+v", d)
			}
			seen[d.from], seen[d.to] = true, true
		}
		if err == nil && len(got) != bytes.Count(content, []byte("\n"))/3 && bytes.HasSuffix(content, []byte("\n")) {
			t.Errorf("%d diversions in %q", len(got), content)
		}
	})
}

// FuzzLog: whatever stands before it, a sound change is read.
func FuzzLog(f *testing.F) {
	f.Add([]byte("2026-01-01 10:00:00 upgrade a:amd64 1 2\n2026-01-01 10:00:01 status unpacked a:amd64 2\n"))
	f.Add([]byte("2026-01-01 10:00:00 upgrade a:amd64 1 1\n2026-01-01 10:00:01 status installed a:amd64 1\n2026-02-30 10:00:00 install : <none> 1\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("sentinel")) {
			return
		}
		content = append(content, "\n2026-01-02 10:00:00 upgrade sentinel:amd64 1 2\n2026-01-02 10:00:01 status unpacked sentinel:amd64 2\n"...)
		got, size, err := parseLog("f", bytes.NewReader(content), clock.Clock{Zone: time.UTC}, maxLog)
		checkDefect(t, err, len(content))
		if size != int64(len(content)) {
			t.Errorf("read %d of %d bytes", size, len(content))
		}
		for _, c := range got {
			if c.Name == "" || c.Begin.IsZero() {
				t.Errorf("change %+v", c)
			}
		}
		last := got[len(got)-1]
		begin := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
		if last != (owner.Change{Name: "sentinel", Arch: "amd64", From: "1", To: "2", Begin: begin, End: begin.Add(2 * time.Second)}) {
			t.Errorf("last change %+v", last)
		}
	})
}

// FuzzChangelog: whatever follows it, a sound entry is read, and entries hold
// only what their types promise.
func FuzzChangelog(f *testing.F) {
	f.Add([]byte("a (1:2-1) unstable; urgency=medium, binary-only=yes\n\n  * CVE-2026-0001, cve-2026-0001\n\n -- M\n"))
	f.Add([]byte("  CVE-2026-\na (\x00) b; urgency=none\na () ;\n# vim\n"))
	f.Fuzz(func(t *testing.T, rest []byte) {
		content := append([]byte("sentinel (1) unstable; urgency=HIGH\n\n  * CVE-2026-0001 CVE-2026-0002\n"), rest...)
		c := newChangelogReader("f", bytes.NewReader(content))
		for i := 0; ; i++ {
			version, err := c.header()
			if err != nil {
				if err != io.EOF {
					checkDefect(t, err, len(content))
				}
				if i == 0 {
					t.Error("no entry")
				}
				return
			}
			e := c.entry()
			if i == 0 && (e.Version != "1" || e.Urgency != "high" || len(e.CVEs) < 2 || e.CVEs[0] != "CVE-2026-0001") {
				t.Errorf("first entry %+v", e)
			}
			if e.Version != version || !validVersion(e.Version) {
				t.Errorf("version %q", e.Version)
			}
			slices.Sort(e.CVEs)
			if n := len(e.CVEs); len(slices.Compact(e.CVEs)) != n {
				t.Errorf("an id twice in %q", e.CVEs)
			}
			for _, id := range e.CVEs {
				number, ok := strings.CutPrefix(id, "CVE-")
				if !ok || len(id) < len("CVE-2026-0001") || len(id) > owner.MaxCVE || strings.Trim(number, "0123456789") != "-" {
					t.Errorf("id %q", id)
				}
			}
		}
	})
}

// FuzzCompare: the order of two versions is that of the other two turned round.
func FuzzCompare(f *testing.F) {
	f.Add("1:1.2~rc1-3", "1.2+b1")
	f.Fuzz(func(t *testing.T, a, b string) {
		ab, errAB := Compare(a, b)
		ba, errBA := Compare(b, a)
		if (errAB == nil) != (errBA == nil) || sign(ab) != -sign(ba) {
			t.Errorf("%q, %q: %d %v, %d %v", a, b, ab, errAB, ba, errBA)
		}
	})
}
