package pacman

import (
	"crypto"
	_ "crypto/md5" // what databases record
	_ "crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

func describe(o owner.Owned) string {
	p := o.Package
	return strings.Join([]string{p.Name, p.Version, p.Arch, p.Source, p.State, o.Path}, " ")
}

func TestOwners(t *testing.T) {
	tests := map[string]map[string]string{ // fixture: path: "package version arch source state listed-path", "" for nobody
		"pacman-7.0": {
			"/usr/lib/libc.so.6":         "glibc 2.40+r16+gaa533d58ff-2 x86_64 glibc installed /usr/lib/libc.so.6",
			"/usr/lib/libgcc_s.so.1":     "gcc-libs 14.2.1+r134+gab884fffe3fc-1 x86_64 gcc installed /usr/lib/libgcc_s.so.1",
			"/usr/lib/libgomp.so":        "gcc-libs 14.2.1+r134+gab884fffe3fc-1 x86_64 gcc installed /usr/lib/libgomp.so",
			"/usr/share/odd [name/a":     "gcc-libs 14.2.1+r134+gab884fffe3fc-1 x86_64 gcc installed /usr/share/odd [name/a",
			"/usr/lib/libz.so.1.3.1":     "zlib 1:1.3.1-2 x86_64 zlib installed /usr/lib/libz.so.1.3.1", // not the forced package's
			"/usr/lib":                   "",
			"/usr/lib/":                  "",
			"/etc":                       "",
			"/lib/libc.so.6":             "",
			"usr/lib/libc.so.6":          "",
			"/usr/lib/../lib/libc.so.6":  "",
			"/.PKGINFO":                  "",
			"/usr/lib/libc.so.6\n":       "",
			"/usr/lib/libc.so.6\x00/usr": "",
		},
		"pacman-4.2": {
			"/usr/bin/bash":            "bash 4.3.039-1 i686 bash installed /usr/bin/bash",
			"/usr/bin/sh":              "bash 4.3.039-1 i686 bash installed /usr/bin/sh",
			"/usr/lib/libssl.so.1.0.0": "openssl 1.0.2.d-1 i686 openssl installed /usr/lib/libssl.so.1.0.0",
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			d := fixture(t, name)
			var paths []string
			for p := range want {
				paths = append(paths, p)
			}
			got, err := d.Owners(paths)
			if err != nil {
				t.Fatal(err)
			}
			for p, w := range want {
				have := ""
				if o, ok := got[p]; ok {
					have = describe(o)
				}
				if have != w {
					t.Errorf("%q belongs to %q, want %q", p, have, w)
				}
			}
			noProblems(t, d)
		})
	}
}

// TestMerged: a package that spells a merged directory is seen through it.
func TestMerged(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, local+"ALPM_DB_VERSION", "9\n")
	writeEntry(t, dir, "old-1-1", "sbin/a\nusr/sbin/b\nlib/c\n")
	link(t, dir, "sbin", "usr/sbin")
	link(t, dir, "usr/sbin", "bin")
	link(t, dir, "lib", "/usr/lib")
	d := open(t, dir)
	got, err := d.Owners([]string{"/usr/bin/a", "/usr/bin/b", "/usr/lib/c", "/usr/bin/c"})
	if err != nil || got["/usr/bin/a"].Path != "/sbin/a" || got["/usr/bin/b"].Path != "/usr/sbin/b" || got["/usr/lib/c"].Path != "/lib/c" || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	noProblems(t, d)
}

// writeEntry writes an entry of one package with files.
func writeEntry(t testing.TB, root, name, files string) {
	t.Helper()
	pkg, version, _ := splitEntry(name)
	write(t, root, local+name+"/desc", "%NAME%\n"+pkg+"\n\n%VERSION%\n"+version+"\n\n%ARCH%\nany\n\n")
	write(t, root, local+name+"/files", "%FILES%\n"+files+"\n")
}

func TestPackages(t *testing.T) {
	tests := map[string][]string{
		"pacman-7.0": {"base 3-2 any", "forced 1-1 any", "gcc-libs 14.2.1+r134+gab884fffe3fc-1 x86_64", "glibc 2.40+r16+gaa533d58ff-2 x86_64", "openssl 3.3.2-1 x86_64", "zlib 1:1.3.1-2 x86_64"},
		"pacman-4.2": {"bash 4.3.039-1 i686", "openssl 1.0.2.d-1 i686"},
	}
	for name, want := range tests {
		d := fixture(t, name)
		var got []string
		for _, p := range d.Packages() {
			got = append(got, p.Name+" "+p.Version+" "+p.Arch)
			if p.Manager != "pacman" || p.Source == "" || p.SourceVersion != p.Version {
				t.Errorf("%s: %+v", name, p)
			}
			if _, err := d.Changelog(p, "1"); !errors.Is(err, owner.ErrNoChangelog) {
				t.Errorf("%s: changelog: %v", name, err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: packages %q", name, got)
		}
		noProblems(t, d)
	}
}

func TestProviders(t *testing.T) {
	d := fixture(t, "pacman-7.0")
	got, err := d.Providers([]string{"libz.so.1.3.1", "libgomp.so", "lib", "usr", "nothing", "", "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for base, owned := range got {
		for _, o := range owned {
			have = append(have, base+" "+o.Package.Name+" "+o.Path)
		}
	}
	slices.Sort(have)
	if want := []string{
		"libgomp.so gcc-libs /usr/lib/libgomp.so",
		"libz.so.1.3.1 forced /usr/lib/libz.so.1.3.1",
		"libz.so.1.3.1 zlib /usr/lib/libz.so.1.3.1",
	}; !slices.Equal(have, want) {
		t.Errorf("providers %q", have)
	}
	noProblems(t, d)
}

func TestChecksums(t *testing.T) {
	tests := []struct {
		fixture, pkg, path string
		hash               crypto.Hash
		content            string // "" if none is recorded
	}{
		{"pacman-7.0", "glibc", "/usr/lib/libc.so.6", crypto.SHA256, "glibc 2.40"},
		{"pacman-7.0", "gcc-libs", "/usr/share/odd [name/a", crypto.SHA256, "odd"},
		{"pacman-7.0", "gcc-libs", "/usr/lib/libgomp.so", 0, ""}, // a link
		{"pacman-7.0", "gcc-libs", "/usr/lib", 0, ""},
		{"pacman-7.0", "gcc-libs", "/usr/lib/libc.so.6", 0, ""}, // another's
		{"pacman-7.0", "forced", "/usr/lib/libz.so.1.3.1", 0, ""},
		{"pacman-4.2", "bash", "/usr/bin/bash", crypto.SHA256, "bash 4.3"},
	}
	for _, tt := range tests {
		d := fixture(t, tt.fixture)
		i := slices.IndexFunc(d.packages, func(r record) bool { return r.Name == tt.pkg })
		got, ok, err := d.Checksum(owner.Owned{Package: d.packages[i].Package, Path: tt.path})
		if err != nil || ok != (tt.content != "") {
			t.Errorf("%s %s: %+v, %v, %v", tt.pkg, tt.path, got, ok, err)
			continue
		}
		if !ok {
			continue
		}
		h := tt.hash.New()
		h.Write([]byte(tt.content))
		if got.Hash != tt.hash || got.Sum != hex.EncodeToString(h.Sum(nil)) || got.RecordedAt.IsZero() {
			t.Errorf("%s %s: %+v", tt.pkg, tt.path, got)
		}
		noProblems(t, d)
	}
	d := fixture(t, "pacman-4.2")
	var oe *owner.Error
	for _, p := range []owner.Package{{Name: "none", Arch: "any"}, {Name: "bash", Arch: "any"}} {
		if _, _, err := d.Checksum(owner.Owned{Package: p, Path: "/x"}); !errors.As(err, &oe) {
			t.Errorf("checksum of a package that is not there: %v", err)
		}
	}
}

func TestHistory(t *testing.T) {
	tests := map[string][]string{
		"pacman-7.0": {
			"glibc x86_64 2.39-1 -> 2.40+r16+gaa533d58ff-2 2024-01-02 03:04:00 2024-01-02 03:04:03",
			"openssl x86_64 3.2.0-1 -> 3.2.1-1 2024-01-02 03:04:02 2024-01-02 03:04:06",
			"old-library  0.9-1 ->  2024-01-02 03:04:05 2024-01-02 03:04:07",
			"openssl x86_64 3.2.1-1 -> 3.3.2-1 2024-01-05 10:00:01 2024-01-05 10:00:03",
			"zlib x86_64 1:1.3.1-2 -> 1:1.3.1-2 2024-01-06 10:00:01 2024-01-06 10:00:03",
			"gcc-libs x86_64 14.2.2-1 -> 14.2.1+r134+gab884fffe3fc-1 2024-01-06 10:00:02 2024-01-06 10:00:04",
			"forced any  -> 1-1 2024-01-06 10:00:03 2024-01-06 10:00:04",
		},
		"pacman-4.2": {
			"kernel26  2.6.33.2-1 -> 2.6.33.3-1 2010-05-01 10:00:00 2010-05-01 10:02:00",
			"bash i686 4.1.005-1 -> 4.1.005-1 2010-05-01 10:01:00 2010-05-01 10:03:00",
			"openssl i686 1.0.1.h-1 -> 1.0.1.i-1 2014-08-03 15:21:00 2014-08-03 15:32:00",
			"openssl i686 1.0.1.i-1 -> 1.0.2.d-1 2015-07-09 15:00:00 2015-07-09 15:01:00",
		},
	}
	for name, want := range tests {
		d := fixture(t, name)
		got, err := d.History()
		var have []string
		for _, c := range got {
			have = append(have, strings.Join([]string{c.Name, c.Arch, c.From, "->", c.To, c.Begin.UTC().Format(time.DateTime), c.End.UTC().Format(time.DateTime)}, " "))
		}
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("%s: %v, history\n%s\nwant\n%s", name, err, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
		noProblems(t, d)
	}
	got, _ := fixture(t, "pacman-7.0").History()
	started := time.Date(2024, 1, 3, 0, 0, 0, 0, time.UTC)
	if v, ok := owner.LoadedVersion(got, "openssl", "x86_64", "3.3.2-1", started, time.Time{}); v != "3.2.1-1" || !ok {
		t.Errorf("loaded version %q, %v", v, ok)
	}
}
