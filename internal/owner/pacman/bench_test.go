package pacman

import (
	"fmt"
	"strings"
	"testing"
)

// syntheticPackages and syntheticFiles make a database of 8 MB of lists in 3,000
// entries, twice those of a desktop.
const syntheticPackages, syntheticFiles = 3000, 50

func synthetic(b *testing.B) *Database {
	dir := b.TempDir()
	write(b, dir, local+"ALPM_DB_VERSION", "9\n")
	for i := range syntheticPackages {
		name := fmt.Sprintf("synthetic-package-%04d", i)
		entry := local + name + "-1." + fmt.Sprint(i) + "-1/"
		write(b, dir, entry+"desc", fmt.Sprintf("%%NAME%%\n%s\n\n%%VERSION%%\n1.%d-1\n\n%%BASE%%\n%s\n\n%%DESC%%\na package\n\n%%ARCH%%\nx86_64\n\n%%INSTALLDATE%%\n%d\n\n%%VALIDATION%%\npgp\n\n%%DEPENDS%%\nglibc\n\n", name, i, name, 1700000000+i))
		var s strings.Builder
		s.WriteString("%FILES%\nusr/\nusr/lib/\n")
		for j := range syntheticFiles {
			fmt.Fprintf(&s, "usr/lib/%s/plugins/libplugin-%d.so.%d.0\n", name, j, j%7)
		}
		write(b, dir, entry+"files", s.String()+"\n")
	}
	d := open(b, dir)
	if p := d.Problems(); len(p) > 0 {
		b.Fatal(p)
	}
	return d
}

// BenchmarkOpen reads what packages there are.
func BenchmarkOpen(b *testing.B) {
	d := synthetic(b)
	for b.Loop() {
		if _, err := Open(d.root); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLists opens the database and indexes all file lists, which the first
// question about a file does.
func BenchmarkLists(b *testing.B) {
	d := synthetic(b)
	for b.Loop() {
		cold, err := Open(d.root)
		if err != nil {
			b.Fatal(err)
		}
		if err := cold.load(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOwners asks for 500 files of a database that was asked before.
func BenchmarkOwners(b *testing.B) {
	d := synthetic(b)
	var paths []string
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("/usr/lib/synthetic-package-%04d/plugins/libplugin-%d.so.%d.0", i*6, i%50, i%50%7))
	}
	if _, err := d.Owners(paths); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, err := d.Owners(paths); err != nil || len(got) != len(paths) {
			b.Fatalf("%d of %d owners, %v", len(got), len(paths), err)
		}
	}
}

// BenchmarkProviders asks for a name that no file has.
func BenchmarkProviders(b *testing.B) {
	d := synthetic(b)
	if err := d.load(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, err := d.Providers([]string{"libplugin-1.so.2.0"}); err != nil || len(got) != 0 {
			b.Fatal(got, err)
		}
	}
}
