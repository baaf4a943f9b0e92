package rpm

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// syntheticPackages and syntheticFiles make a database of the size of a large desktop's,
// with headers of some 40 KB.
const syntheticPackages, syntheticFiles = 3000, 100

func syntheticHeaders() [][]byte {
	var log []string
	for i := range 40 {
		log = append(log, fmt.Sprintf("Jane Doe <jane@example.org> - 1.%d-1", 40-i), strings.Repeat("- Some bug was fixed, as was CVE-2026-0001\n", 8))
	}
	var out [][]byte
	for i := range syntheticPackages {
		name := fmt.Sprintf("synthetic-package-%04d", i)
		files := make(map[string]string)
		for j := range syntheticFiles {
			files[syntheticFile(i, j)] = ""
		}
		out = append(out, made{name: name, arch: "x86_64", version: "1.40-1.el9", installed: 1_700_000_000, files: files, log: log}.header())
	}
	return out
}

func syntheticFile(i, j int) string {
	return fmt.Sprintf("/usr/lib64/synthetic-package-%04d/plugins%d/libplugin-%d.so.%d.0", i, j%10, j, j%7)
}

func synthetic(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	makeSQLite(b, filepath.Join(dir, "var/lib/rpm/rpmdb.sqlite"), syntheticHeaders())
	return dir
}

// BenchmarkOpen reads all headers and makes the index of files. BenchmarkQueryAll is what
// it is to be held against.
func BenchmarkOpen(b *testing.B) {
	root := openRoot(b, synthetic(b))
	for b.Loop() {
		if d, err := Open(root); err != nil || len(d.packages) != syntheticPackages || len(d.Problems()) > 0 {
			b.Fatal(err, d.Problems())
		}
	}
}

// BenchmarkQueryAll runs rpm -qa on a database of the same headers.
func BenchmarkQueryAll(b *testing.B) {
	if _, err := exec.LookPath("rpm"); err != nil {
		b.Skip("SKIPPED, NOT TESTED: there is no rpm")
	}
	dir := b.TempDir()
	if out, err := exec.Command("rpm", "--dbpath", dir, "--initdb").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	execSQL(b, filepath.Join(dir, "rpmdb.sqlite"), func(exec func(query string, args ...any)) {
		for _, h := range syntheticHeaders() {
			exec(`INSERT INTO Packages(blob) VALUES (?)`, h)
		}
	})
	for b.Loop() {
		out, err := exec.Command("rpm", "--dbpath", dir, "-qa").Output()
		if n := strings.Count(string(out), "\n"); err != nil || n != syntheticPackages {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkOwners asks for one file.
func BenchmarkOwners(b *testing.B) {
	d := open(b, synthetic(b))
	path := []string{syntheticFile(1234, 56)}
	for b.Loop() {
		if got, err := d.Owners(path); err != nil || len(got) != 1 {
			b.Fatal(got, err)
		}
	}
}

// BenchmarkProviders asks for one base name.
func BenchmarkProviders(b *testing.B) {
	d := open(b, synthetic(b))
	for b.Loop() {
		if got, err := d.Providers([]string{"libplugin-8.so.1.0"}); err != nil || len(got) != 1 {
			b.Fatal(got, err)
		}
	}
}

// BenchmarkChecksum reads one header again.
func BenchmarkChecksum(b *testing.B) {
	d := open(b, synthetic(b))
	got, err := d.Owners([]string{syntheticFile(1234, 56)})
	if err != nil {
		b.Fatal(err)
	}
	for _, o := range got {
		for b.Loop() {
			if _, ok, err := d.Checksum(o); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	}
}
