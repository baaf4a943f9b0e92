package apk

import (
	"fmt"
	"strings"
	"testing"
)

// syntheticPackages and syntheticFiles make a database of 15 MB, larger than a
// desktop's.
const syntheticPackages, syntheticFiles = 3000, 50

func synthetic(b *testing.B) *Database {
	dir := b.TempDir()
	var s strings.Builder
	for i := range syntheticPackages {
		fmt.Fprintf(&s, "C:%s\nP:synthetic-package-%04d\nV:1.%d-r0\nA:x86_64\nS:1\nI:1\nT:a package\nU:https://example.org/\nL:MIT\no:origin-%d\nm:Somebody\nt:1700000000\n", digest(fmt.Sprint(i)), i, i, i/3)
		fmt.Fprintf(&s, "D:so:libc.musl-x86_64.so.1 synthetic-package-%04d\np:so:libc.musl-x86_64.so.1=1 cmd:synthetic-%d\nF:usr\nF:usr/lib\nF:usr/lib/synthetic-package-%04d\n", i/2, i, i)
		for j := range syntheticFiles {
			fmt.Fprintf(&s, "R:libplugin-%d.so.%d.0\na:0:0:755\nZ:%s\n", j, j%7, digest(fmt.Sprint(i, j)))
		}
		s.WriteString("\n")
	}
	write(b, dir, places[0], s.String())
	d := open(b, dir)
	if p := d.Problems(); len(p) > 0 {
		b.Fatal(p)
	}
	return d
}

// BenchmarkOpen reads and indexes a whole database.
func BenchmarkOpen(b *testing.B) {
	d := synthetic(b)
	for b.Loop() {
		if _, err := Open(d.root); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOwners asks for 500 files.
func BenchmarkOwners(b *testing.B) {
	d := synthetic(b)
	var paths []string
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("/usr/lib/synthetic-package-%04d/libplugin-%d.so.%d.0", i*6, i%50, i%50%7))
	}
	for b.Loop() {
		if got, err := d.Owners(paths); err != nil || len(got) != len(paths) {
			b.Fatalf("%d of %d owners, %v", len(got), len(paths), err)
		}
	}
}

// BenchmarkProviders asks for one name, which looks at all files.
func BenchmarkProviders(b *testing.B) {
	d := synthetic(b)
	for b.Loop() {
		if got, err := d.Providers([]string{"libplugin-1.so.2.0"}); err != nil || len(got) != 0 {
			b.Fatal(got, err)
		}
	}
}
