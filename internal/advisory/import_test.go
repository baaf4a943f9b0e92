package advisory

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// zipOf packs entries in the order given: name, content, name, content, …
func zipOf(t testing.TB, entries ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		method := zip.Deflate
		if i%4 == 2 {
			method = zip.Store
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gz(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zst(t testing.TB, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

func simple(n int) string {
	return osv(fmt.Sprintf("CVE-2024-%04d", n), "Debian:12", "a", `{"introduced":"0"},{"fixed":"2"}`, "")
}

// TestContainers: names say nothing of what a file is.
func TestContainers(t *testing.T) {
	x, stats := imported(t, files(t, map[string]string{
		"Debian/all.zip":  zipOf(t, "../../etc/passwd", simple(1), "/x", simple(2), "dir/", ""),
		"Ubuntu/all.zip":  zipOf(t, "x", simple(3)),
		"gzip":            gz(t, simple(4)),
		"zstd":            zst(t, simple(5)+"\n"+simple(6)),
		"tracker.zip":     fixture(t, "tracker.json"),
		"kev":             "\n " + fixture(t, "kev.json"),
		"lines.json":      simple(7) + "\n" + simple(8) + "\n",
		"README.md":       "See here.",
		"advisories.db":   "SQLite format 3\x00",
		".hidden.json":    "broken",
		".git/x.json":     "broken",
		"a/b/c/d/deep.gz": gz(t, simple(9)),
	}))
	if stats.Malformed != 0 || stats.Ignored != 2 || stats.Files != 8 || stats.Entries != 9+7+2 {
		t.Errorf("%+v", stats)
	}
	list, err := x.Affecting(t.Context(), "Debian:12", "a", "1")
	if err != nil || len(list) != 9 {
		t.Errorf("%v, %v", ids(list), err)
	}
}

// TestMalformed: each problem is told with its file and its place, and costs nothing
// around it.
func TestMalformed(t *testing.T) {
	broken := zipOf(t, "1", simple(3), "2", "{", "3", `{"id":"CVE-2024-0004","modified":"yesterday"}`, "4", simple(5))
	damaged := []byte(zipOf(t, "first", simple(6), "second", simple(7)))
	i := bytes.Index(damaged, []byte(`"CVE-2024-0007"`)) // stored, not deflated
	damaged[i+5] ^= 1
	dir := files(t, map[string]string{
		"a.json":      simple(1) + `{"id": 5}` + simple(2),
		"b.zip":       broken,
		"c.zip":       string(damaged),
		"d.json":      simple(8) + "{]",
		"e.json":      "[]",
		"f.json":      `{"a":{"CVE-2024-0009":{"releases":{"bookworm":{"status":"open"}}},"CVE-2024-0010":{"releases":5},"CVE-2024-0011":{"releases":{"bookworm":{"status":"open"}}}},"b":7,"c":{"CVE-2024-0012":{"releases":{"bookworm":{"status":"open"}}}}`,
		"g.json":      `{"title":"x","vulnerabilities":[{"cveID":"CVE-2024-0001"},{"cveID":7},{"cveID":"x"},{"cveID":"CVE-2024-0002"}]}`,
		"h.zip":       zipOf(t, "x", simple(20))[:100],
		"i.json":      "",
		"j.json":      `{"id":"CVE-2024-0013","modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"MAGIC","events":[]}]},{"package":{"ecosystem":"Debian:12","name":"z"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]},{"package":{"ecosystem":"Debian:12"}}]}`,
		"k.json.gz":   gz(t, simple(14))[:60],
		"l.json":      `{"id":"x","modified":"2024-01-01T00:00:00Z"`,
		"pipe-or-not": "plain text",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, stats := imported(t, dir)
	var got []string
	for _, p := range stats.Problems {
		got = append(got, fmt.Sprintf("%s %s %d", filepath.Base(p.File), p.Entry, p.Offset))
	}
	slices.Sort(got)
	want := []string{
		fmt.Sprintf("a.json  %d", len(simple(1))), "b.zip 2 0", "b.zip 3 0", "c.zip second 0",
		fmt.Sprintf("d.json  %d", len(simple(8))+2), "e.json  0", "f.json a CVE-2024-0010 81", "f.json b 163", "f.json  229", "g.json  57", "g.json  69",
		"h.zip  -1", "i.json  0", "j.json  0", "k.json.gz  0", "l.json  0",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) || stats.Malformed != len(got) {
		t.Errorf("%q\nwant %q", got, want)
		for _, p := range stats.Problems {
			t.Log(p)
		}
	}
	list, err := x.Affecting(t.Context(), "Debian:12", "a", "1")
	if got := strings.Join(ids(list), " "); !errors.Is(err, ErrVersion) ||
		got != "CVE-2024-0001 CVE-2024-0002 CVE-2024-0003 CVE-2024-0005 CVE-2024-0006 CVE-2024-0008 CVE-2024-0009 CVE-2024-0011" {
		t.Errorf("%s, %v", got, err)
	}
	if !list[0].Exploited || !list[1].Exploited || list[2].Exploited {
		t.Error("exploited")
	}
	if list, err := x.Affecting(t.Context(), "Debian:12", "c", "1"); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if list, err := x.Affecting(t.Context(), "Debian:12", "z", "1"); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	status, err := x.Status(t.Context())
	if err != nil || status.Malformed != stats.Malformed {
		t.Errorf("%+v, %v", status, err)
	}
	for _, s := range status.Sources {
		complete := !slices.Contains([]string{"d.json", "e.json", "f.json", "h.zip", "i.json", "k.json.gz", "l.json"}, filepath.Base(s.File))
		if s.Complete != complete || (s.Problem != "") != (s.Malformed > 0) || s.Malformed > 0 && !strings.Contains(s.Problem, s.File) {
			t.Errorf("%+v", s)
		}
	}
}

// TestLaterCounts: of two copies of a record the one modified later stays, in
// whichever order they come.
func TestLaterCounts(t *testing.T) {
	of := func(modified, fix, more string) string {
		return `{"id":"DSA-1","modified":"` + modified + `","upstream":["CVE-2024-0001"],` + more + `"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},
			"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"` + fix + `"}]}]}]}`
	}
	older, newer := of("2024-01-01T00:00:00Z", "2", ""), of("2024-01-02T00:00:00Z", "3", "")
	withdrawn := of("2024-01-03T00:00:00Z", "3", `"withdrawn":"2024-01-03T00:00:00Z",`)
	for _, c := range []struct {
		text, want string
	}{{of("0001-01-01T00:00:00Z", "2", ""), "2"}, {older + newer, "3"}, {newer + older, "3"}, {older + older, "2"}, {newer + withdrawn, ""}, {withdrawn + newer, ""}} {
		x, _ := imported(t, files(t, map[string]string{"a.json": c.text, "b.json": osv("DSA-2", "Debian:12", "b", `{"introduced":"0"}`, "")}))
		list, err := x.Affecting(t.Context(), "Debian:12", "a", "1")
		if err != nil || len(list) > 1 || len(list) == 0 && c.want != "" || len(list) == 1 && list[0].Fixed != c.want {
			t.Errorf("%+v, %v, want %q", list, err, c.want)
		}
		var rows int
		if err := x.db.QueryRow(`SELECT count(*) FROM affected`).Scan(&rows); err != nil || rows != 1+len(list) {
			t.Errorf("%d rows, %v", rows, err)
		}
	}
}

func TestStatus(t *testing.T) {
	begun := time.Now().Add(-time.Second)
	x, stats := imported(t, "testdata")
	s, err := x.Status(t.Context())
	if err != nil || s.ImportedAt.Before(begun) || s.Entries != stats.Entries || s.Files != stats.Files || len(s.Sources) != s.Files ||
		!s.Newest.Equal(time.Date(2025, 9, 25, 4, 37, 0, 123e6, time.UTC)) {
		t.Errorf("%+v, %v", s, err)
	}
	i := slices.IndexFunc(s.Sources, func(f Source) bool { return filepath.Base(f.File) == "kev.json" })
	if f := s.Sources[i]; f.Kind != KindKEV || f.Entries != 2 || !f.Complete || !f.Newest.Equal(time.Date(2024, 11, 1, 17, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", f)
	}
	if s.Sources[0].Kind != KindTracker || s.Sources[0].Entries != 7 {
		t.Errorf("%+v", s.Sources[0])
	}
	if !slices.Contains(s.Ecosystems, Coverage{"Debian:12", 2}) || !slices.Contains(s.Ecosystems, Coverage{"Ubuntu:22.04", 1}) {
		t.Errorf("%+v", s.Ecosystems)
	}
}

func TestUnchanged(t *testing.T) {
	dir := files(t, map[string]string{"a.json": simple(1), "b.json": "{broken", "README": "x"})
	db := filepath.Join(t.TempDir(), "advisories.db")
	run := func(unchanged bool, malformed int) {
		t.Helper()
		stats, err := Import(t.Context(), []string{dir}, db)
		if err != nil || stats.Unchanged != unchanged || stats.Malformed != malformed || len(stats.Problems) != malformed {
			t.Errorf("%+v, %v", stats, err)
		}
	}
	write := func(name, text string, at time.Time) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	run(false, 1)
	run(true, 1) // so soon after the import by content
	write("a.json", simple(1), long)
	run(true, 1) // another time, the same content
	write("a.json", simple(2), long)
	run(false, 1)
	run(true, 1)
	write("c.json", simple(3), long)
	run(false, 1)
	if err := os.Remove(filepath.Join(dir, "b.json")); err != nil {
		t.Fatal(err)
	}
	run(false, 0)
	if err := os.WriteFile(db, []byte("not an index"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(false, 0)
	run(true, 0)
}

// TestReplaced: a reader sees the old index or the new one.
func TestReplaced(t *testing.T) {
	dir := files(t, map[string]string{"a.json": simple(1)})
	db := filepath.Join(t.TempDir(), "advisories.db")
	if _, err := Import(t.Context(), []string{dir}, db); err != nil {
		t.Fatal(err)
	}
	old, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	// What a killed import left does not matter.
	if err := os.WriteFile(db+".new", []byte(strings.Repeat("rubbish", 10_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.json"), []byte(simple(2)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), []string{dir}, db); err != nil {
		t.Fatal(err)
	}
	now, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	for i, x := range []*Index{old, now} {
		list, err := x.Affecting(t.Context(), "Debian:12", "a", "1")
		if err != nil || len(list) != i+1 {
			t.Errorf("%v, %v", ids(list), err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(db))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestNothingLost(t *testing.T) {
	dir := files(t, map[string]string{"a.json": simple(1)})
	db := filepath.Join(t.TempDir(), "advisories.db")
	if _, err := Import(t.Context(), []string{dir}, db); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lock, err := occupy(db + ".new")
	if err != nil {
		t.Fatal(err)
	}
	other := files(t, map[string]string{"b.json": simple(2)})
	if _, err := Import(t.Context(), []string{other}, db); !errors.Is(err, ErrBusy) {
		t.Errorf("beside another: %v", err)
	}
	lock.Close()
	for _, c := range []struct {
		ctx  context.Context
		from string
		want error
	}{{t.Context(), t.TempDir(), ErrNoSource}, {t.Context(), files(t, map[string]string{"x.json": "{"}), ErrNoSource},
		{t.Context(), "/nonexistent", fs.ErrNotExist}, {ctx, other, context.Canceled}} {
		if _, err := Import(c.ctx, []string{c.from}, db); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.from, err, c.want)
		}
		if _, err := os.Stat(db + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Error("left aside:", err)
		}
	}
	x, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if list, err := x.Affecting(t.Context(), "Debian:12", "a", "1"); err != nil || !slices.Equal(ids(list), []string{"CVE-2024-0001"}) {
		t.Errorf("%v, %v", ids(list), err)
	}
}

// TestIndexAmongSources: the index may lie in the directory that it is made from.
func TestIndexAmongSources(t *testing.T) {
	dir := files(t, map[string]string{"a.json": simple(1)})
	for i := range 3 {
		stats, err := Import(t.Context(), []string{dir, dir}, filepath.Join(dir, "advisories.db"))
		if err != nil || stats.Ignored != 0 || stats.Files != 1 || stats.Entries != 1 {
			t.Errorf("%d: %+v, %v", i, stats, err)
		}
	}
	stats, err := Import(t.Context(), []string{dir}, filepath.Join(dir, "advisories.db"))
	if err != nil || !stats.Unchanged {
		t.Errorf("%+v, %v", stats, err)
	}
}

// TestLargeRecord: a record that is longer than what is looked at to tell its kind.
func TestLargeRecord(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"id":"RHSA-2024:1","modified":"2024-01-01T00:00:00Z","upstream":["CVE-2024-0001"],"affected":[`)
	for i := range 5000 {
		fmt.Fprintf(&b, `{"package":{"ecosystem":"Red Hat:enterprise_linux:9::appstream","name":"p%d"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"0:1-1"}]}]},`, i)
	}
	text := strings.TrimSuffix(b.String(), ",") + "]}"
	x, stats := imported(t, files(t, map[string]string{"a.zip": zipOf(t, "a", simple(1), "b", text, "c", simple(2))}))
	if stats.Malformed != 0 || stats.Entries != 3 {
		t.Errorf("%+v", stats)
	}
	for _, name := range []string{"p0", "p4999"} {
		list, err := x.Affecting(t.Context(), "Red Hat:enterprise_linux:9", name, "0-1")
		if err != nil || len(list) != 1 || list[0].Fixed != "0:1-1" {
			t.Errorf("%+v, %v", list, err)
		}
	}
}
