package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
)

// Where the definition of a type has an example, it stands here.
func TestPurl(t *testing.T) {
	for _, c := range []struct {
		p    sensor.ListedPackage
		want string
	}{
		{sensor.ListedPackage{Manager: "dpkg", Name: "curl", Version: "7.50.3-1", Arch: "i386", Distribution: "debian", Release: "8"}, "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=debian-8"},
		{sensor.ListedPackage{Manager: "dpkg", Name: "dpkg", Version: "1.19.0.4", Arch: "amd64", Distribution: "debian"}, "pkg:deb/debian/dpkg@1.19.0.4?arch=amd64&distro=debian"},
		{sensor.ListedPackage{Manager: "dpkg", Name: "libstdc++6", Version: "1:12.2.0-14+deb12u1~x", Arch: "amd64", Distribution: "ubuntu", Release: "24.04"},
			"pkg:deb/ubuntu/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=ubuntu-24.04"},
		{sensor.ListedPackage{Manager: "dpkg", Name: "a", Version: "1"}, "pkg:deb/a@1"},
		{sensor.ListedPackage{Manager: "rpm", Name: "curl", Version: "7.50.3-1.fc25", Arch: "i386", Distribution: "fedora", Release: "25"}, "pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25"},
		{sensor.ListedPackage{Manager: "rpm", Name: "ImageMagick", Version: "1:6.9-1^git", Arch: "x86_64", Distribution: "rhel", Release: "9.4"},
			"pkg:rpm/redhat/ImageMagick@6.9-1%5Egit?arch=x86_64&distro=rhel-9.4&epoch=1"},
		{sensor.ListedPackage{Manager: "rpm", Name: "a", Version: "0:1-1", Distribution: "opensuse-leap", Release: "15.6"}, "pkg:rpm/opensuse/a@1-1?distro=opensuse-leap-15.6"},
		{sensor.ListedPackage{Manager: "rpm", Name: "a", Version: "1-1", Distribution: "sles", Release: "15.5"}, "pkg:rpm/suse/a@1-1?distro=sles-15.5"},
		{sensor.ListedPackage{Manager: "apk", Name: "Curl", Version: "7.83.0-r0", Arch: "x86", Distribution: "alpine", Release: "3.16.0"}, "pkg:apk/alpine/curl@7.83.0-r0?arch=x86&distro=alpine-3.16.0"},
		{sensor.ListedPackage{Manager: "pacman", Name: "pacman", Version: "6.0.1-1", Arch: "x86_64", Distribution: "arch"}, "pkg:alpm/arch/pacman@6.0.1-1?arch=x86_64&distro=arch"},
		{sensor.ListedPackage{Manager: "pacman", Name: "containers-common", Version: "1:0.47.4-4", Arch: "x86_64"}, "pkg:alpm/arch/containers-common@1:0.47.4-4?arch=x86_64"},
		{sensor.ListedPackage{Manager: "go", Name: "google.golang.org/genproto", Version: "abcdedf", Distribution: "debian"}, "pkg:golang/google.golang.org/genproto@abcdedf"},
		{sensor.ListedPackage{Manager: "go", Name: "github.com/Azure//go-autorest/", Version: "v14.2.0+incompatible"}, "pkg:golang/github.com/azure/go-autorest@v14.2.0%2Bincompatible"},
		{sensor.ListedPackage{Manager: "go", Name: "stdlib", Version: "(devel)"}, "pkg:golang/stdlib"},
		{sensor.ListedPackage{Manager: "cargo", Name: "structOpt", Version: "0.3.11", Arch: "x"}, "pkg:cargo/structOpt@0.3.11"},
		{sensor.ListedPackage{Manager: "odd", Name: "a/b", Version: "1 2", Distribution: "x"}, "pkg:generic/a%2Fb@1%202"},
		{sensor.ListedPackage{Manager: "rpm", Name: "é@?#", Version: "%", Distribution: "a/b"}, "pkg:rpm/a/b/%C3%A9%40%3F%23@%25?distro=a%2Fb"},
	} {
		if got := purl(&c.p); got != c.want {
			t.Errorf("%+v: %s, want %s", c.p, got, c.want)
		}
	}
}

// Whatever a package is called, its purl can be taken apart again.
func FuzzPurl(f *testing.F) {
	f.Add("dpkg", "libstdc++6", "1:2~3+4", "amd64", "debian", "12")
	f.Add("go", "a//b/", "v1?x#y@z", "", "", "")
	f.Add("rpm", "\x1b\xff", ":", "&=", "rhel", "%")
	f.Fuzz(func(t *testing.T, manager, name, version, arch, distribution, release string) {
		p := sensor.ListedPackage{Manager: manager, Name: name, Version: version, Arch: arch, Distribution: distribution, Release: release}
		s := purl(&p)
		rest, ok := strings.CutPrefix(s, "pkg:")
		if !ok || strings.Trim(strings.ToLower(rest), "abcdefghijklmnopqrstuvwxyz0123456789.-_~:%/@?=&") != "" || strings.Count(s, "?") > 1 || strings.Count(s, "@") > 1 {
			t.Fatalf("%q", s)
		}
		path, query, _ := strings.Cut(rest, "?")
		path, end, _ := strings.Cut(path, "@")
		_, last, _ := strings.Cut(path, "/")
		last = last[strings.LastIndexByte(last, '/')+1:]
		gotName, err := url.PathUnescape(last)
		if err != nil || name != "" && (manager == "cargo" || manager == "rpm") && gotName != name {
			t.Fatalf("%q: name %q, %v", s, gotName, err)
		}
		if got, err := url.PathUnescape(end); err != nil || manager == "dpkg" && got != version {
			t.Fatalf("%q: version %q, %v", s, got, err)
		}
		for pair := range strings.SplitSeq(query, "&") {
			key, value, ok := strings.Cut(pair, "=")
			if got, err := url.PathUnescape(value); query != "" && (!ok || err != nil || key == "arch" && got != arch) {
				t.Fatalf("%q: %s", s, pair)
			}
		}
	})
}
