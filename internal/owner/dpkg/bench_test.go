package dpkg

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// syntheticPackages and syntheticFiles make a database of 10 MB of lists, the
// size of a large desktop's.
const syntheticPackages, syntheticFiles = 3000, 50

func synthetic(b *testing.B) *Database { return open(b, syntheticRoot(b)) }

func syntheticRoot(b *testing.B) string {
	dir := b.TempDir()
	var status strings.Builder
	for i := range syntheticPackages {
		name := fmt.Sprintf("synthetic-package-%04d", i)
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nPriority: optional\nSection: libs\nInstalled-Size: 1234\n"+
			"Maintainer: Somebody <somebody@example.org>\nArchitecture: amd64\nMulti-Arch: same\nVersion: 1.%d-1\n"+
			"Depends: libc6 (>= 2.34), libgcc-s1 (>= 3.0), zlib1g (>= 1:1.2.0)\nDescription: a package\n of some\n lines\n\n", name, i)
		var list strings.Builder
		list.WriteString("/.\n/usr\n/usr/lib\n/usr/lib/x86_64-linux-gnu\n")
		for j := range syntheticFiles {
			fmt.Fprintf(&list, "/usr/lib/x86_64-linux-gnu/%s/plugins/libplugin-%d.so.%d.0\n", name, j, j%7)
		}
		write(b, dir, admin+"info/"+name+":amd64.list", list.String())
	}
	write(b, dir, admin+"status", status.String())
	return dir
}

// BenchmarkOpenAndOwners reads the file lists as well, from nothing.
func BenchmarkOpenAndOwners(b *testing.B) {
	dir, paths := syntheticRoot(b), syntheticPaths()
	for b.Loop() {
		if got, err := open(b, dir).Owners(paths); err != nil || len(got) != len(paths) {
			b.Fatalf("%d of %d owners, %v", len(got), len(paths), err)
		}
	}
}

// BenchmarkQueryAll runs dpkg-query -W on the same database.
func BenchmarkQueryAll(b *testing.B) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		b.Skip("SKIPPED, NOT TESTED: there is no dpkg-query")
	}
	dir := filepath.Join(syntheticRoot(b), admin)
	for b.Loop() {
		out, err := exec.Command("dpkg-query", "--admindir", dir, "-W").Output()
		if err != nil || bytes.Count(out, []byte{'\n'}) != syntheticPackages {
			b.Fatalf("%d lines, %v", bytes.Count(out, []byte{'\n'}), err)
		}
	}
}

func syntheticPaths() []string {
	var paths []string
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("/usr/lib/x86_64-linux-gnu/synthetic-package-%04d/plugins/libplugin-%d.so.%d.0", i*6, i%50, i%50%7))
	}
	return paths
}

// BenchmarkOwners asks for 500 files; BenchmarkLists below is its floor.
func BenchmarkOwners(b *testing.B) {
	d := synthetic(b)
	paths := syntheticPaths()
	for b.Loop() {
		if got, err := d.Owners(paths); err != nil || len(got) != len(paths) {
			b.Fatalf("%d of %d owners, %v", len(got), len(paths), err)
		}
	}
}

// BenchmarkOwnersOfOne asks for one file at a time.
func BenchmarkOwnersOfOne(b *testing.B) {
	d := synthetic(b)
	paths := syntheticPaths()
	for i := 0; b.Loop(); i++ {
		if got, err := d.Owners(paths[i%len(paths):][:1]); err != nil || len(got) != 1 {
			b.Fatalf("%d owners, %v", len(got), err)
		}
	}
}

// BenchmarkLists only reads all file lists.
func BenchmarkLists(b *testing.B) {
	d := synthetic(b)
	for b.Loop() {
		if err := d.eachList(nil, func(*record, list) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHostOwners asks for 500 files of this machine's own database, what a
// daemon does after each change; BenchmarkHostLists is its floor.
func BenchmarkHostOwners(b *testing.B) {
	d := open(b, "/")
	var all []string
	err := d.eachList(nil, func(_ *record, l list) {
		for line := range strings.Lines(string(l.content)) {
			if line = strings.TrimSuffix(line, "\n"); strings.Contains(line, ".so") || strings.Contains(line, "/bin/") {
				all = append(all, line)
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	var paths []string
	for i := range min(500, len(all)) {
		paths = append(paths, all[i*len(all)/500%len(all)])
	}
	for b.Loop() {
		if got, err := d.Owners(paths); err != nil || len(got) == 0 {
			b.Fatalf("%d of %d owners, %v", len(got), len(paths), err)
		}
	}
}

// BenchmarkHostLists only reads this machine's file lists.
func BenchmarkHostLists(b *testing.B) {
	d := open(b, "/")
	for b.Loop() {
		if err := d.eachList(nil, func(*record, list) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen reads the status file.
func BenchmarkOpen(b *testing.B) {
	d := synthetic(b)
	for b.Loop() {
		if _, err := Open(d.root); err != nil {
			b.Fatal(err)
		}
	}
}
