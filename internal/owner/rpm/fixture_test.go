package rpm

import (
	"archive/tar"
	"compress/gzip"
	"crypto"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// unpack makes a root from testdata/NAME.tar.gz.
func unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, h.Name, content)
	}
}

// fixtures are databases of every format, as releases of rpm wrote them.
var fixtures = []struct{ name, file string }{
	{"bookworm-sqlite", "var/lib/rpm/rpmdb.sqlite"},
	{"trixie-sqlite", "var/lib/rpm/rpmdb.sqlite"},
	{"trixie-ndb", "var/lib/rpm/Packages.db"},
	{"bullseye-bdb", "var/lib/rpm/Packages"},
}

func fixturePackage(name, arch, version string) owner.Package {
	return owner.Package{Manager: "rpm", Name: name, Arch: arch, Version: version, Source: name, SourceVersion: version,
		Vendor: "Fixture Vendor", State: owner.StateInstalled}
}

func TestFixtures(t *testing.T) {
	alpha := fixturePackage("alpha", "x86_64", "1:2.0-1")
	beta := fixturePackage("beta", "noarch", "2:4.0~rc1-1.el9")
	old, new := fixturePackage("kernel-core", "x86_64", "6.1.1-1.fc40"), fixturePackage("kernel-core", "x86_64", "6.1.2-1.fc40")
	modular := fixturePackage("modular", "x86_64", "1.0-3.module+el9")
	modular.Module = "stream:9:20260101:abcd"
	for _, tt := range fixtures {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t, unpack(t, tt.name))
			if got, want := d.Packages(), []owner.Package{alpha, beta, old, new, modular}; !reflect.DeepEqual(got, want) {
				t.Errorf("packages\n%+v, want\n%+v", got, want)
			}
			owners := map[string]owner.Package{
				"/usr/lib64/libalpha.so.2.0":         alpha,
				"/usr/lib64/libalpha.so.1":           alpha,
				"/usr/lib64/alpha":                   alpha,
				"/etc/beta.conf":                     beta,
				"/run/beta.pid":                      beta,
				"/usr/lib64/libkernel-core.so.1":     new, // the older one's was replaced
				"/usr/bin/kernel-core":               new, // both have it
				"/usr/lib64/libkernel-core.so.6.1.1": old,
				"/usr/share/shared/common":           new, // all have it
				"/usr/bin/modular":                   modular,
			}
			paths := []string{"/usr/lib64/libalpha.so.1.0", "/usr", "/usr/lib64/alpha/", "/usr/lib64/"}
			for p := range owners {
				paths = append(paths, p)
			}
			got, err := d.Owners(paths)
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range owners {
				if got[p] != (owner.Owned{Package: want, Path: p}) {
					t.Errorf("%s is of %+v", p, got[p])
				}
			}
			if len(got) != len(owners) {
				t.Errorf("owners of other files: %v", got)
			}
			providers, err := d.Providers([]string{"libkernel-core.so.1", "alpha", "beta.pid", "common"})
			if err != nil {
				t.Fatal(err)
			}
			if p := providers["libkernel-core.so.1"]; len(p) != 1 || p[0].Package != new {
				t.Errorf("providers of a link: %v", p)
			}
			if p := providers["alpha"]; len(p) != 1 || p[0].Path != "/usr/bin/alpha" {
				t.Errorf("providers of a program: %v", p)
			}
			if len(providers["common"]) != 5 || len(providers) != 3 {
				t.Errorf("providers %v", providers)
			}
			sum, ok, err := d.Checksum(got["/usr/lib64/libkernel-core.so.6.1.1"])
			if err != nil || !ok || sum.Hash != crypto.SHA256 || time.Since(sum.RecordedAt) < 0 && sum.RecordedAt.Year() < 2026 ||
				sum.Sum != "2fa228a0ddc005239e50019e28ae50827930fa903e227654027d6e9291d6bfa4" {
				t.Errorf("checksum %+v, %v, %v", sum, ok, err)
			}
			for _, p := range []string{"/usr/lib64/alpha", "/usr/lib64/libalpha.so.1", "/run/beta.pid"} {
				if sum, ok, err := d.Checksum(got[p]); ok || err != nil {
					t.Errorf("checksum of %s: %+v, %v", p, sum, err)
				}
			}
			log, err := d.Changelog(alpha, "1:1.0-1")
			want := owner.Changelog{File: "/" + tt.file, Complete: true, Entries: []owner.Entry{
				{Version: "1:2.0-1", CVEs: []string{"CVE-2026-0002", "CVE-2026-0003"}},
				{Version: "1.5-2", CVEs: []string{"CVE-2025-1111", "CVE-2026-0001"}},
			}}
			if err != nil || !reflect.DeepEqual(log, want) {
				t.Errorf("changelog %+v, %v", log, err)
			}
			if h, err := d.History(); len(h) > 0 || err != nil {
				t.Errorf("history %v, %v", h, err)
			}
			noProblems(t, d)
		})
	}
}
