package rpm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/patchsensor/patchsensor/internal/owner"
)

func TestCompare(t *testing.T) {
	older := [][2]string{{"1.0-1", "1.0-2"}, {"1.0-9", "1.0-10"}, {"1.0~rc1-1", "1.0-1"}, {"1.0-1", "1.0^git1-1"}, {"2.0-1", "1:1.0-1"},
		{"1.0-1", "1.0-1.el9"}, {"1.0a-1", "1.0.1-1"}, {"1.0-1.el9_2", "1.0-1.el9_10"}, {"1.0-1", "1.0.0-1"}}
	for _, p := range older {
		if n, err := Compare(p[0], p[1]); n >= 0 || err != nil {
			t.Errorf("%s against %s: %d, %v", p[0], p[1], n, err)
		}
		if n, err := Compare(p[1], p[0]); n <= 0 || err != nil {
			t.Errorf("%s against %s: %d, %v", p[1], p[0], n, err)
		}
	}
	for _, p := range [][2]string{{"1.0-1", "0:1.0-1"}, {"1.00-1", "1.0-01"}, {"1_0-1", "1.0-1"}} {
		if n, err := Compare(p[0], p[1]); n != 0 || err != nil {
			t.Errorf("%s against %s: %d, %v", p[0], p[1], n, err)
		}
	}
	for _, bad := range []string{"", "1 2", "1\n", "1/2", "é"} {
		if _, err := Compare(bad, "1"); err == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}

func TestSourceOf(t *testing.T) {
	for file, want := range map[string][2]string{
		"openssl-3.0.7-24.el9.src.rpm": {"openssl", "3.0.7-24.el9"},
		"a-b-c-1-2.nosrc.rpm":          {"a-b-c", "1-2"},
		"(none)":                       {}, "": {}, "a.src.rpm": {}, "a-1.src.rpm": {}, "-1-2.src.rpm": {}, "a b-1-2.src.rpm": {},
	} {
		name, version, ok := sourceOf(file)
		if name != want[0] || version != want[1] || ok != (want[0] != "") {
			t.Errorf("%q: %q, %q, %v", file, name, version, ok)
		}
	}
}

// TestSources: the source package, keys that are no packages, and states of files.
func TestSources(t *testing.T) {
	d := open(t, packagesRoot(t,
		made{name: "openssl-libs", arch: "x86_64", version: "1:3.0.7-24.el9", source: "openssl-3.0.7-24.el9.src.rpm", installed: 1_700_000_000,
			files:  map[string]string{"/usr/lib64/a": "", "/usr/lib64/b": "", "/usr/lib64/c": "", "/usr/lib64/d": ""},
			states: map[string]byte{"/usr/lib64/b": stateReplaced, "/usr/lib64/c": stateNotInstalled, "/usr/lib64/d": stateWrongColor}},
		made{name: "gpg-pubkey", arch: "(none)", version: "fd431d51-4ae0493b"}))
	if p := d.Packages(); len(p) != 1 || p[0].Source != "openssl" || p[0].SourceVersion != "1:3.0.7-24.el9" {
		t.Errorf("packages %+v", p)
	}
	got, err := d.Owners([]string{"/usr/lib64/a", "/usr/lib64/b", "/usr/lib64/c", "/usr/lib64/d"})
	if err != nil || len(got) != 1 || got["/usr/lib64/a"].Path == "" {
		t.Errorf("owners %v, %v", got, err)
	}
	noProblems(t, d)
}

// TestMerged: files are found by their canonical paths however packages list them.
func TestMerged(t *testing.T) {
	dir := packagesRoot(t,
		made{name: "old", arch: "x86_64", version: "1-1", installed: 1, files: map[string]string{"/lib64/liba.so": "", "/sbin/tool": "", "/bin/sh": ""}},
		made{name: "new", arch: "x86_64", version: "1-1", installed: 2, files: map[string]string{"/usr/lib64/libb.so": "", "/usr/sbin/sh": "", "/opt/x/y": ""}})
	for from, to := range map[string]string{"lib64": "usr/lib64", "bin": "/usr/bin", "sbin": "usr/sbin", "usr/sbin": "bin", "opt": "var/opt", "lib": "lib"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(from)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][2]string{
		"/usr/lib64/liba.so": {"old", "/lib64/liba.so"},
		"/usr/lib64/libb.so": {"new", "/usr/lib64/libb.so"},
		"/usr/bin/tool":      {"old", "/sbin/tool"},
		"/usr/bin/sh":        {"new", "/usr/sbin/sh"}, // both have it
		"/var/opt/x/y":       {"new", "/opt/x/y"},
	}
	d := open(t, dir)
	var paths []string
	for p := range want {
		paths = append(paths, p)
	}
	got, err := d.Owners(append(paths, "/lib64/libb.so/", "/usr/lib/liba.so"))
	if err != nil {
		t.Fatal(err)
	}
	for p, w := range want {
		if got[p].Package.Name != w[0] || got[p].Path != w[1] {
			t.Errorf("%s is %+v, want %v", p, got[p], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("owners %v", got)
	}
}

// TestPlaces: where databases lie, and which of several counts.
func TestPlaces(t *testing.T) {
	one, two := [][]byte{made{name: "one", arch: "x", version: "1-1"}.header()}, [][]byte{made{name: "two", arch: "x", version: "1-1"}.header()}
	tests := map[string]struct {
		files map[string][][]byte
		links map[string]string
		want  string
	}{
		"share":                {files: map[string][][]byte{"usr/share/rpm/Packages.db": one}, want: "one"},
		"linked":               {files: map[string][][]byte{"usr/lib/sysimage/rpm/Packages.db": one}, links: map[string]string{"var/lib/rpm": "../../usr/lib/sysimage/rpm"}, want: "one"},
		"linked the other way": {files: map[string][][]byte{"var/lib/rpm/Packages.db": one}, links: map[string]string{"usr/lib/sysimage/rpm": "/var/lib/rpm"}, want: "one"},
		"both":                 {files: map[string][][]byte{"usr/lib/sysimage/rpm/Packages.db": one, "var/lib/rpm/Packages.db": two}, want: "one"},
		"old format left":      {files: map[string][][]byte{"var/lib/rpm/Packages.db": one, "var/lib/rpm/Packages": two}, want: "one"},
	}
	for name, tt := range tests {
		dir := t.TempDir()
		for file, headers := range tt.files {
			if filepath.Base(file) == "Packages" {
				writers["var/lib/rpm/Packages"](t, filepath.Join(dir, file), headers)
			} else {
				write(t, dir, file, ndbOf(headers))
			}
		}
		for from, to := range tt.links {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(from)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
				t.Fatal(err)
			}
		}
		if p := open(t, dir).Packages(); len(p) != 1 || p[0].Name != tt.want {
			t.Errorf("%s: %v", name, p)
		}
	}
}

// TestOddHeaders: what one package has wrong costs that package, or its files, only.
func TestOddHeaders(t *testing.T) {
	sound := made{name: "sound", arch: "x86_64", version: "1-1", files: map[string]string{"/usr/bin/sound": ""}}.header()
	named := func(fill func(m *headerMaker)) []byte {
		var m headerMaker
		m.text(tagName, "odd")
		m.text(tagVersion, "1")
		m.text(tagRelease, "1")
		m.text(tagArch, "x86_64")
		fill(&m)
		return m.blob()
	}
	tests := map[string]struct {
		header []byte
		there  bool
	}{
		"empty":          {nil, false},
		"no tags":        {make([]byte, 8), false},
		"sizes":          {append(slices.Clone(sound), 0), false},
		"name":           {made{name: "a/b", arch: "x", version: "1-1"}.header(), false},
		"name of number": {func() []byte { var m headerMaker; m.ints(tagName, 5); return m.blob() }(), false},
		"indexes lack": {named(func(m *headerMaker) {
			m.array(tagBaseNames, "a", "b")
			m.array(tagDirNames, "/")
			m.ints(tagDirIndexes, 0)
		}), true},
		"index too far": {named(func(m *headerMaker) {
			m.array(tagBaseNames, "a", "b")
			m.array(tagDirNames, "/")
			m.ints(tagDirIndexes, 0, 1)
		}), true},
		"relative": {named(func(m *headerMaker) { m.array(tagBaseNames, "a"); m.array(tagDirNames, "x/"); m.ints(tagDirIndexes, 0) }), true},
		"not ended": {named(func(m *headerMaker) {
			m.array(tagDirNames, "/")
			m.ints(tagDirIndexes, make([]uint32, 20)...)
			m.add(tagBaseNames, typeStringArray, 20, []byte("a\x00bcdefghijklm"))
		}), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "var/lib/rpm/Packages.db", ndbOf([][]byte{tt.header, sound}))
			d := open(t, dir)
			checkTold(t, d.Problems(), "var/lib/rpm/Packages.db")
			if there := slices.ContainsFunc(d.Packages(), func(p owner.Package) bool { return p.Name == "odd" }); there != tt.there {
				t.Errorf("packages %v", d.Packages())
			}
			if got, _ := d.Owners([]string{"/usr/bin/sound"}); len(got) != 1 {
				t.Errorf("owners %v", got)
			}
		})
	}
}

// TestOldFileNames: packages that list whole paths.
func TestOldFileNames(t *testing.T) {
	var m headerMaker
	m.text(tagName, "old")
	m.text(tagVersion, "1")
	m.text(tagRelease, "1")
	m.text(tagArch, "i386")
	m.array(tagOldFileNames, "/usr/bin/a", "/usr/lib/a")
	m.array(tagFileDigests, "0123456789abcdef0123456789ABCDEF", "")
	dir := t.TempDir()
	write(t, dir, "var/lib/rpm/Packages.db", ndbOf([][]byte{m.blob()}))
	d := open(t, dir)
	got, err := d.Owners([]string{"/usr/bin/a", "/usr/lib/a", "/usr/bin/", "/usr/bin"})
	if err != nil || len(got) != 2 {
		t.Fatalf("owners %v, %v", got, err)
	}
	if sum, ok, err := d.Checksum(got["/usr/bin/a"]); !ok || err != nil || sum.Sum != "0123456789abcdef0123456789abcdef" {
		t.Errorf("checksum %+v, %v, %v", sum, ok, err)
	}
	if sum, ok, err := d.Checksum(got["/usr/lib/a"]); ok || err != nil {
		t.Errorf("checksum %+v, %v", sum, err)
	}
	noProblems(t, d)
}
