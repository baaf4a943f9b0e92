package sentinel

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAfter(t *testing.T) {
	boot := time.Date(2026, 11, 20, 8, 0, 0, 500, time.UTC)
	at := func(seconds int) time.Time { return boot.Add(time.Duration(seconds) * time.Second) }
	packages := []Package{
		{"kernel", nil, at(-100)},
		{"kernel", nil, at(100)}, // several versions stay installed
		{"kernel", nil, at(200)},
		{"kernel-default", []string{"kernel", "kernel-default"}, at(5)},
		{"systemd", nil, at(-1)},
		{"glibc", []string{"libc.so.6()(64bit)"}, at(1)},
		{"glibc-common", nil, at(1)},
		{"udev", nil, boot.Add(400 * time.Nanosecond)}, // the same second
		{"dbus-daemon", nil, time.Time{}},
		{"libfoo", []string{"installhint(reboot-needed)"}, at(9)},
		{"installhint(reboot-needed)", nil, at(9)},
	}
	if got := RedHat().After(boot, packages); !slices.Equal(got, []string{"glibc", "kernel"}) {
		t.Errorf("Red Hat: %q", got)
	}
	if got := SUSE().After(boot, packages); !slices.Equal(got, []string{"installhint(reboot-needed)", "kernel", "kernel-default", "libfoo"}) {
		t.Errorf("SUSE: %q", got)
	}
	if got := (List{}).After(boot, packages); got != nil {
		t.Errorf("no list: %q", got)
	}
}

// The lists of dnf 4.14 and yum-utils 1.1.31 are parts of the one that is built in.
func TestRedHatHasOlderLists(t *testing.T) {
	for _, name := range []string{
		"kernel", "kernel-core", "kernel-rt", "glibc", "linux-firmware", "systemd", "dbus", "dbus-broker", "dbus-daemon",
		"udev", "openssl-libs", "gnutls",
	} {
		if !RedHat().Has(Package{Name: name}) {
			t.Errorf("%s is missing", name)
		}
	}
}

// suse is /etc/zypp/needreboot of libzypp 17.25.7.
const suse = `##
## This file contains packages which will trigger the needreboot hint.
##
## Example:
##         provides:kernel
##         glibc
##
provides:kernel
dbus-1
glibc

gnutls
kernel-firmware
libopenssl1_0_0
systemd
`

func TestReadLists(t *testing.T) {
	root := rootOf(t, map[string]string{
		"etc/dnf/plugins/needs-restarting.d/a.conf": "openssl\nnginx  \n\n",
		"etc/dnf/plugins/needs-restarting.d/b.conf": "# a comment\nlast",
		"etc/dnf/plugins/needs-restarting.d/c":      "other",
		"etc/dnf/plugins/needs-restarting.d/d.conf": "dir",
		"etc/zypp/needreboot":                       suse,
		"etc/zypp/needreboot.d/mine":                "provides: kernel-rt >= 5\n",
		"etc/zypp/needreboot.d/mine.rpmnew":         "other",
		"etc/zypp/needreboot.d/.mine":               "other",
	})
	l, err := ReadRedHat(root)
	for _, name := range []string{"kernel", "openssl", "nginx", "last"} {
		if !l.Has(Package{Name: name}) {
			t.Errorf("%s is missing in %q", name, l)
		}
	}
	if l.Has(Package{Name: "other"}) || err == nil || !strings.Contains(err.Error(), "b.conf: offset 0: not the name") || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%v", err)
	}

	l, err = ReadSUSE(root)
	if want := []string{"dbus-1", "glibc", "gnutls", "kernel-firmware", "libopenssl1_0_0", "systemd"}; !slices.Equal(l.Names, want) {
		t.Errorf("names %q", l.Names)
	}
	if want := []string{"installhint(reboot-needed)", "kernel", "kernel-rt"}; !slices.Equal(l.Provides, want) || err != nil {
		t.Errorf("capabilities %q, %v", l.Provides, err)
	}

	empty := rootOf(t, nil)
	if l, err := ReadRedHat(empty); err != nil || len(l.Names) != len(RedHat().Names) {
		t.Errorf("%q, %v", l, err)
	}
	if l, err := ReadSUSE(empty); err != nil || len(l.Names) != 1 {
		t.Errorf("%q, %v", l, err)
	}
}

func TestReadListsAreBounded(t *testing.T) {
	files := map[string]string{}
	for i := range 4 {
		var b strings.Builder
		for j := range maxNames / 2 {
			b.WriteString(strings.Repeat("x", j%100+1) + strings.Repeat("y", j/100) + strings.Repeat("z", i) + "\n")
		}
		files["etc/zypp/needreboot.d/"+strings.Repeat("a", i+1)] = b.String()
	}
	files["etc/zypp/needreboot"] = strings.Repeat("x", maxList+1)
	l, err := ReadSUSE(rootOf(t, files))
	if len(l.Names) > maxNames || err == nil || !strings.Contains(err.Error(), "more than 4096 names") || !strings.Contains(err.Error(), "larger than allowed") {
		t.Errorf("%d names, %v", len(l.Names), err)
	}
}

func FuzzParseLists(f *testing.F) {
	f.Add(suse)
	f.Add("provides:\nprovides: a = 1\n# x\n\x1b\nkernel\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		for _, parse := range []func(io.Reader) (List, error){ParseRedHat, ParseSUSE} {
			l, _ := parse(strings.NewReader(in))
			if len(l.Names)+len(l.Provides) > maxNames {
				t.Fatalf("%d and %d", len(l.Names), len(l.Provides))
			}
			for _, name := range l.Names {
				if !isName(name) || !l.Has(Package{Name: name}) {
					t.Fatalf("%q", name)
				}
			}
			for _, c := range l.Provides {
				if !isName(c) || !l.Has(Package{Name: "x", Provides: []string{"y", c}}) {
					t.Fatalf("%q", c)
				}
			}
		}
	})
}
