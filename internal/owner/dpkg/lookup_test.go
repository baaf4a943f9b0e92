package dpkg

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Later questions are answered from the lists of a few packages, as the first one was from
// all; and a list that is replaced is seen.
func TestLookup(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".new", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "usr/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
		t.Fatal(err)
	}
	var status strings.Builder
	var paths []string
	for i := range 50 {
		fmt.Fprintf(&status, "Package: p%02d\nStatus: install ok installed\nArchitecture: amd64\nVersion: %d\n\n", i, i)
		put(fmt.Sprintf("var/lib/dpkg/info/p%02d.list", i), fmt.Sprintf("/.\n/usr\n/usr/lib\n/usr/lib/a%d\n/lib/b%d\n/usr/lib/shared\n", i, i))
		paths = append(paths, fmt.Sprintf("/usr/lib/a%d", i), fmt.Sprintf("/usr/lib/b%d", i))
	}
	put("var/lib/dpkg/status", status.String())
	put("var/lib/dpkg/diversions", "/usr/lib/a7\n/usr/lib/a7.real\np08\n")
	paths = append(paths, "/usr/lib/a7.real", "/usr/lib/shared", "/usr/lib/none", "/", "")
	d := open(t, dir)
	first, err := d.Owners(paths)
	if err != nil || len(first) != 101 {
		t.Fatalf("%d owners, %v", len(first), err)
	}
	if d.lookup.entries != nil {
		t.Error("the first question made an index")
	}
	for range 2 {
		again, err := d.Owners(paths)
		if err != nil || !reflect.DeepEqual(again, first) {
			t.Errorf("later answers differ: %v, %v", again, err)
		}
	}
	if d.lookup.entries == nil {
		t.Fatal("later questions made no index")
	}
	for _, p := range paths {
		got, err := d.Owners([]string{p})
		want, ok := first[p]
		if err != nil || got[p] != want || (len(got) == 1) != ok {
			t.Errorf("%q: %v, %v; want %v", p, got, err, want)
		}
	}
	// The kernel's clock for change times ticks every few milliseconds.
	for stamps := d.stamps(); stamps == d.stamps(); {
		put("var/lib/dpkg/info/p03.list", "/.\n/usr/lib/a3\n/usr/lib/late\n")
	}
	for p, want := range map[string]string{"/usr/lib/late": "p03", "/usr/lib/b3": "", "/usr/lib/a4": "p04"} {
		got, err := d.Owners([]string{p})
		if err != nil || got[p].Package.Name != want {
			t.Errorf("%s after a list changed: %+v, %v", p, got, err)
		}
	}
}

// Where a list cannot be read, who asks later is answered from all lists as well.
func TestLookupDamaged(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"status":      "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\nPackage: b\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n",
		"info/a.list": "/.\n/a\n",
	} {
		name = filepath.Join(dir, admin, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, dir)
	for range 3 {
		if got, err := d.Owners([]string{"/a"}); err != nil || got["/a"].Package.Name != "a" || len(d.Problems()) != 1 {
			t.Errorf("%+v, %v, %v", got, err, d.Problems())
		}
	}
}

// A database that was lost, or cut short, is not one in which nothing is owned.
func TestNotWhole(t *testing.T) {
	a := "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
	purged := "Package: b\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
	for _, c := range []struct {
		what, status, problem string
	}{
		{"empty", "", "there is no package"},
		{"without one of the stanzas", a, "b.list"},
		{"removed and not purged", a + "\n" + purged, ""},
	} {
		dir := t.TempDir()
		write(t, dir, admin+"status", c.status)
		write(t, dir, admin+"info/a.list", "/.\n/a\n")
		write(t, dir, admin+"info/b.list", "/.\n/b\n")
		d := open(t, dir)
		for range 2 {
			if _, err := d.Owners([]string{"/b"}); err != nil {
				t.Fatal(err)
			}
		}
		p := d.Problems()
		if (c.problem == "") != (len(p) == 0) || len(p) > 0 && !strings.Contains(p[len(p)-1].Error()+p[0].Error(), c.problem) {
			t.Errorf("%s: problems %v", c.what, p)
		}
	}
}
