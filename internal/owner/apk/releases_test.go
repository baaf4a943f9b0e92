package apk

import (
	"crypto"
	_ "crypto/sha1" // what databases record
	_ "crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/owner"
)

func describe(o owner.Owned) string {
	p := o.Package
	return strings.Join([]string{p.Name, p.Version, p.Arch, p.Source, p.State, o.Path}, " ")
}

func TestOwners(t *testing.T) {
	tests := map[string]map[string]string{ // fixture: path: "package version arch source state listed-path", "" for nobody
		"alpine-3.10": {
			"/lib/ld-musl-x86_64.so.1":   "musl 1.1.22-r4 x86_64 musl installed /lib/ld-musl-x86_64.so.1",
			"/lib/libssl.so.1.1":         "libssl1.1 1.1.1k-r0 x86_64 openssl installed /lib/libssl.so.1.1",
			"/usr/lib/libssl.so.1.1":     "libssl1.1 1.1.1k-r0 x86_64 openssl installed /usr/lib/libssl.so.1.1",
			"/usr/lib/ld-musl-x86_64.so": "",
			"/bin/busybox":               "busybox 1.30.1-r5 x86_64 busybox installed /bin/busybox",
			"/etc/securetty":             "busybox 1.30.1-r5 x86_64 busybox installed /etc/securetty",
			"/tmp":                       "",
			"/usr":                       "",
			"/":                          "",
			"/lib/":                      "",
			"//lib/libssl.so.1.1":        "",
		},
		"alpine-3.23": {
			"/usr/lib/ld-musl-aarch64.so.1": "musl 1.2.5-r10 aarch64 musl installed /lib/ld-musl-aarch64.so.1",
			"/usr/lib/libz.so.1.3.1":        "zlib 1.3.1-r2 aarch64 zlib installed /lib/libz.so.1.3.1",
			"/usr/lib/libcrypto.so.3":       "libcrypto3 3.5.1-r0 aarch64 openssl installed /usr/lib/libcrypto.so.3",
			"/usr/lib/libtorn.so":           "torn 0.1_git20250101-r0 aarch64 torn broken-files /usr/lib/libtorn.so",
			"/init":                         "third-party 2.0.0-r1 aarch64 third-party installed /init",
			"/opt/third/program":            "third-party 2.0.0-r1 aarch64 third-party installed /opt/third/program",
			"init":                          "",
		},
		"apko": {
			"/usr/sbin/worldd":         "worldd 1.0-r0 x86_64 worldd installed /usr/sbin/worldd",
			"/usr/lib/libworld.so.1":   "libworld 1.0.0-r1 x86_64 libworld installed /usr/lib/libworld.so.1",
			"/lib/ld-musl-x86_64.so.1": "musl 1.2.3-r0 x86_64 musl installed /lib/ld-musl-x86_64.so.1",
			"/bin/busybox":             "busybox 1.35.0-r0 x86_64 busybox installed /bin/busybox",
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

func TestPackages(t *testing.T) {
	tests := map[string][]string{
		"alpine-3.10": {".build-deps 20190811.090000 noarch", "busybox 1.30.1-r5 x86_64", "libssl1.1 1.1.1k-r0 x86_64", "musl 1.1.22-r4 x86_64"},
		"alpine-3.23": {"libcrypto3 3.5.1-r0 aarch64", "musl 1.2.5-r10 aarch64", "third-party 2.0.0-r1 aarch64", "torn 0.1_git20250101-r0 aarch64", "zlib 1.3.1-r2 aarch64"},
		"apko":        {"busybox 1.35.0-r0 x86_64", "libworld 1.0.0-r1 x86_64", "musl 1.2.3-r0 x86_64", "worldd 1.0-r0 x86_64"},
	}
	for name, want := range tests {
		d := fixture(t, name)
		var got []string
		for _, p := range d.Packages() {
			got = append(got, p.Name+" "+p.Version+" "+p.Arch)
			if p.Manager != "apk" || p.Source == "" || p.SourceVersion != p.Version {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: packages %q", name, got)
		}
		if _, err := d.Changelog(d.Packages()[0], "1"); !errors.Is(err, owner.ErrNoChangelog) {
			t.Errorf("%s: changelog: %v", name, err)
		}
		noProblems(t, d)
	}
}

func TestProviders(t *testing.T) {
	d := fixture(t, "alpine-3.23")
	got, err := d.Providers([]string{"libcrypto.so.3", "init", "third", "lib", "opt", "nothing", strings.Repeat("x", 300)})
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
		"init third-party /init",
		"libcrypto.so.3 libcrypto3 /usr/lib/libcrypto.so.3",
		"libcrypto.so.3 torn /usr/lib/libcrypto.so.3",
	}; !slices.Equal(have, want) {
		t.Errorf("providers %q", have)
	}
	noProblems(t, d)
}

func TestChecksums(t *testing.T) {
	tests := []struct {
		fixture, pkg, path string
		hash               crypto.Hash
		content            string // "" if none is recorded of a content
	}{
		{"alpine-3.10", "musl", "/lib/ld-musl-x86_64.so.1", crypto.SHA1, "musl 1.1.22"},
		{"alpine-3.10", "musl", "/lib/libc.musl-x86_64.so.1", 0, ""}, // a link
		{"alpine-3.10", "busybox", "/etc/securetty", crypto.SHA1, "tty1"},
		{"alpine-3.10", "busybox", "/bin/sh", 0, ""},
		{"alpine-3.10", "libssl1.1", "/lib/libssl.so.1.1", crypto.SHA1, "libssl 1.1.1k"},
		{"alpine-3.10", "libssl1.1", "/usr/lib/libssl.so.1.1", 0, ""},
		{"alpine-3.10", "busybox", "/lib/libssl.so.1.1", 0, ""}, // another's
		{"alpine-3.23", "third-party", "/init", 0, ""},          // cut to 160 bits
		{"alpine-3.23", "zlib", "/lib/libz.so.1.3.1", crypto.SHA256, "zlib 1.3.1"},
		{"alpine-3.23", "zlib", "/lib/no-checksum", 0, ""},
		{"alpine-3.23", "torn", "/usr/lib/libcrypto.so.3", crypto.SHA1, "of the torn package"},
		{"alpine-3.23", "libcrypto3", "/usr/lib/libcrypto.so.3", crypto.SHA1, "libcrypto 3.5.1"},
	}
	for _, tt := range tests {
		d := fixture(t, tt.fixture)
		i, ok := d.find(tt.pkg)
		if !ok {
			t.Fatal(tt.pkg)
		}
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
		if got.Hash != tt.hash || got.Sum != hex.EncodeToString(h.Sum(nil)) || !got.RecordedAt.Equal(d.packages[i].source.ctime) || got.RecordedAt.IsZero() {
			t.Errorf("%s %s: %+v", tt.pkg, tt.path, got)
		}
		noProblems(t, d)
	}
	d := fixture(t, "apko")
	var oe *owner.Error
	for _, p := range []owner.Package{{Name: "none", Arch: "x86_64"}, {Name: "musl", Arch: "s390x"}} {
		if _, _, err := d.Checksum(owner.Owned{Package: p, Path: "/x"}); !errors.As(err, &oe) {
			t.Errorf("checksum of a package that is not there: %v", err)
		}
	}
}

// TestLinkNow: what is a link in the root has no content, whatever its mode in
// the database.
func TestLinkNow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, places[0], "P:a\nV:1\nF:lib\nR:a\na:0:0:755\nZ:"+digest("elsewhere")+"\n\n")
	link(t, dir, "lib/a", "elsewhere")
	d := open(t, dir)
	if got, ok, err := d.Checksum(owner.Owned{Package: d.Packages()[0], Path: "/lib/a"}); ok || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	noProblems(t, d)
}
