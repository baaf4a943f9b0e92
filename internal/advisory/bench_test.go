package advisory

import (
	"archive/zip"
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// dump writes an archive as osv.dev exports it, with so many records of the size
// that Debian's have on average.
func dump(t testing.TB, path string, records int) int64 {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for i := range records {
		w, err := z.Create(fmt.Sprintf("DEBIAN-CVE-2024-%d.json", 10_000+i))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, `{"schema_version":"1.7.3","id":"DEBIAN-CVE-2024-%d","modified":"2024-01-01T00:00:00Z","details":"%0900d",
			"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:N/A:H"}],"upstream":["CVE-2024-%d"],"affected":[`, 10_000+i, i, 10_000+i)
		for release := 11; release <= 14; release++ {
			if release > 11 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, `{"package":{"ecosystem":"Debian:%d","name":"package-%d","purl":"pkg:deb/debian/package-%d?arch=source"},
				"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.%d-1"}]}],"versions":["1.0-1","1.%d-1"],
				"ecosystem_specific":{"urgency":"not yet assigned"}}`, release, i%3000, i%3000, 1+i/3000, i/3000)
		}
		fmt.Fprint(w, `],"references":[{"type":"ADVISORY","url":"https://security-tracker.debian.org/tracker/CVE-2024-1"}]}`)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// tracker writes the tracker's file with so many CVEs in 3,000 packages.
func tracker(t testing.TB, path string, cves int) int64 {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprint(w, "{")
	each := cves / 3000
	for p := range 3000 {
		if p > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, `"package-%d":{`, p)
		for i := range each {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, `"CVE-2024-%d":{"description":"%0300d","scope":"local","releases":{`, 10_000+p*each+i, i)
			for r, codename := range []string{"bullseye", "bookworm", "trixie", "forky", "sid"} {
				if r > 0 {
					fmt.Fprint(w, ",")
				}
				fmt.Fprintf(w, `"%s":{"status":"resolved","repositories":{"%s":"1.%d-1","%s-security":"1.%d-1"},"fixed_version":"1.%d-1","urgency":"not yet assigned"}`,
					codename, codename, i, codename, i, i)
			}
			fmt.Fprint(w, "}}")
		}
		fmt.Fprint(w, "}")
	}
	fmt.Fprint(w, "}")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func benchmarkImport(b *testing.B, dir string, size int64, entries int) {
	b.Helper()
	b.SetBytes(size)
	for b.Loop() {
		db := filepath.Join(b.TempDir(), "advisories.db")
		stats, err := Import(b.Context(), []string{dir}, db)
		if err != nil || stats.Entries != entries {
			b.Fatal(stats, err)
		}
		if info, err := os.Stat(db); err == nil {
			b.ReportMetric(float64(info.Size())/(1<<20), "index-MB")
		}
	}
	b.ReportMetric(float64(b.N*entries)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkImportOSV(b *testing.B) {
	dir := b.TempDir()
	const n = 60_000
	benchmarkImport(b, dir, dump(b, filepath.Join(dir, "all.zip"), n), n)
}

func BenchmarkImportTracker(b *testing.B) {
	dir := b.TempDir()
	const n = 60_000
	benchmarkImport(b, dir, tracker(b, filepath.Join(dir, "tracker.json"), n), n)
}

func BenchmarkUnchanged(b *testing.B) {
	dir := b.TempDir()
	tracker(b, filepath.Join(dir, "tracker.json"), 3000)
	db := filepath.Join(b.TempDir(), "advisories.db")
	for b.Loop() {
		if _, err := Import(b.Context(), []string{dir}, db); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBetween looks up packages with 20 records each, of which 10 were fixed.
func BenchmarkBetween(b *testing.B) {
	dir := b.TempDir()
	dump(b, filepath.Join(dir, "all.zip"), 60_000)
	x, _ := imported(b, dir)
	i := 0
	for b.Loop() {
		i++
		list, err := x.Between(b.Context(), Query{"Debian:12", fmt.Sprintf("package-%d", i%3000), "1.0-1", "1.10-1"})
		if err != nil || len(list) == 0 {
			b.Fatal(list, err)
		}
	}
}

// BenchmarkBetweenNone looks up packages that no record names.
func BenchmarkBetweenNone(b *testing.B) {
	dir := b.TempDir()
	dump(b, filepath.Join(dir, "all.zip"), 3000)
	x, _ := imported(b, dir)
	for b.Loop() {
		if _, err := x.Between(b.Context(), Query{"Debian:12", "none", "1", "2"}); err != nil {
			b.Fatal(err)
		}
	}
}
