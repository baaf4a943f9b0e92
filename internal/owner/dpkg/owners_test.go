package dpkg

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

func TestOwners(t *testing.T) {
	tests := map[string]map[string]string{ // fixture: path: "package version state listed-path", "" for nobody
		"bookworm": {
			"/usr/lib/x86_64-linux-gnu/libz.so.1.2.13":  "zlib1g:amd64 1:1.2.13.dfsg-1 installed /lib/x86_64-linux-gnu/libz.so.1.2.13",
			"/usr/lib/i386-linux-gnu/libz.so.1.2.13":    "zlib1g:i386 1:1.2.13.dfsg-1 installed /lib/i386-linux-gnu/libz.so.1.2.13",
			"/lib/x86_64-linux-gnu/libz.so.1.2.13":      "zlib1g:amd64 1:1.2.13.dfsg-1 installed /lib/x86_64-linux-gnu/libz.so.1.2.13",
			"/usr/lib/x86_64-linux-gnu/libssl.so.3":     "libssl3:amd64 3.0.19-1~deb12u2 installed /usr/lib/x86_64-linux-gnu/libssl.so.3",
			"/usr/lib/x86_64-linux-gnu/libcap.so.2.66":  "libcap2:amd64 1:2.66-4+deb12u2+b2 installed /lib/x86_64-linux-gnu/libcap.so.2.66",
			"/usr/lib/x86_64-linux-gnu/libz.so.1.2.13 ": "",
			"/srv/usr/lib/x86_64-linux-gnu/libssl.so.3": "",
			"/usr/bin/dash":                              "dash:amd64 0.5.12-2 installed /bin/dash",
			"/usr/bin/sh":                                "dash:amd64 0.5.12-2 installed /bin/sh",
			"/usr/bin/sh.distrib":                        "",
			"/usr/bin/perf":                              "linux-perf:all 6.1.170-1 installed /usr/bin/perf",
			"/usr/bin/perf.wrapper":                      "linux-perf-wrapped:amd64 1.0-1 installed /usr/bin/perf",
			"/usr/bin/waiting":                           "",
			"/usr/bin/waiting.real":                      "waiting:amd64 2.0-1 unpacked /usr/bin/waiting",
			"/usr/bin/gcc":                               "gcc:amd64 4:12.2.0-3 installed /usr/bin/gcc",
			"/usr/bin/broken":                            "waiting:amd64 2.0-1 unpacked /usr/bin/broken",
			"/etc/old-daemon.conf":                       "",
			"/usr/share/doc/zlib1g/copyright":            "zlib1g:i386 1:1.2.13.dfsg-1 installed /usr/share/doc/zlib1g/copyright",
			"/usr/lib/x86_64-linux-gnu/libssl.so.3\x00a": "",
		},
		"bullseye": {
			"/lib/x86_64-linux-gnu/libc-2.31.so":             "libc6:amd64 2.31-13+deb11u11 installed /lib/x86_64-linux-gnu/libc-2.31.so",
			"/usr/lib/x86_64-linux-gnu/libc-2.31.so":         "",
			"/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so":      "libc6:amd64 2.31-13+deb11u11 installed /usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
			"/usr/lib/x86_64-linux-gnu/libssl.so.1.1":        "libssl1.1:amd64 1.1.1w-0+deb11u2 unpacked /usr/lib/x86_64-linux-gnu/libssl.so.1.1",
			"/bin/run-parts":                                 "",
			"/lib/x86_64-linux-gnu/../x86_64-linux-gnu/a.so": "",
		},
		"trixie": {
			"/usr/lib/x86_64-linux-gnu/libssl.so.3": "libssl3t64:amd64 3.5.4-1~deb13u2 installed /usr/lib/x86_64-linux-gnu/libssl.so.3",
			"/usr/sbin/reboot":                      "molly-guard:all 0.8.5 installed /usr/sbin/reboot",
			"/usr/lib/molly-guard/reboot":           "systemd-sysv:amd64 257.9-1~deb13u1 installed /usr/sbin/reboot",
		},
		"jammy": {
			"/usr/lib/x86_64-linux-gnu/libgcc_s.so.1": "libgcc-s1:amd64 12.3.0-1ubuntu1~22.04 installed /lib/x86_64-linux-gnu/libgcc_s.so.1",
		},
		"noble": {
			"/usr/lib/x86_64-linux-gnu/libtirpc.so.3.0.0":               "libtirpc3t64:amd64 1.3.4+ds-1.1build1 installed /usr/lib/x86_64-linux-gnu/libtirpc.so.3.0.0",
			"/usr/lib/x86_64-linux-gnu/libtirpc.so.3.0.0.usr-is-merged": "",
		},
		"distroless": {
			"/usr/lib/x86_64-linux-gnu/libssl.so.3":    "libssl3:amd64 3.0.17-1~deb12u2 installed /usr/lib/x86_64-linux-gnu/libssl.so.3",
			"/usr/lib/x86_64-linux-gnu/libcrypto.so.3": "libssl3:amd64 3.0.17-1~deb12u2 installed /usr/lib/x86_64-linux-gnu/libcrypto.so.3",
			"/usr/share/zoneinfo/Europe/Berlin":        "tzdata:all 2025b-0+deb12u1 installed /usr/share/zoneinfo/Europe/Berlin",
			"/usr/lib/x86_64-linux-gnu/libc.so.6":      "",
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
					have = strings.Join([]string{o.Package.Name + ":" + o.Package.Arch, o.Package.Version, o.Package.State, o.Path}, " ")
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
	got := fixture(t, "bookworm").Packages()
	var words []string
	for _, p := range got {
		words = append(words, strings.Join([]string{p.Name, p.Arch, p.Version, p.Source, p.SourceVersion, p.State}, " "))
	}
	want := []string{
		"broken amd64 1.0-1 broken 1.0-1 half-installed",
		"dash amd64 0.5.12-2 dash 0.5.12-2 installed",
		"gcc amd64 4:12.2.0-3 gcc-defaults 1.203 installed",
		"libbpf1 amd64 1:1.1.2-0+deb12u1 libbpf 1.1.2-0+deb12u1 installed",
		"libcap2 amd64 1:2.66-4+deb12u2+b2 libcap2 1:2.66-4+deb12u2 installed",
		"libssl3 amd64 3.0.19-1~deb12u2 openssl 3.0.19-1~deb12u2 installed",
		"linux-perf all 6.1.170-1 linux 6.1.170-1 installed",
		"linux-perf-wrapped amd64 1.0-1 linux-perf-wrapped 1.0-1 installed",
		"waiting amd64 2.0-1 waiting 2.0-1 unpacked",
		"zlib1g amd64 1:1.2.13.dfsg-1 zlib 1:1.2.13.dfsg-1 installed",
		"zlib1g i386 1:1.2.13.dfsg-1 zlib 1:1.2.13.dfsg-1 installed",
	}
	if !slices.Equal(words, want) {
		t.Errorf("packages:\n%s\nwant:\n%s", strings.Join(words, "\n"), strings.Join(want, "\n"))
	}
}

func TestProviders(t *testing.T) {
	tests := []struct {
		fixture, base string
		want          []string
	}{
		{"bookworm", "libz.so.1.2.13", []string{"zlib1g /lib/x86_64-linux-gnu/libz.so.1.2.13", "zlib1g /lib/i386-linux-gnu/libz.so.1.2.13"}},
		{"bookworm", "x86_64-linux-gnu", nil},
		{"bookworm", "sh", []string{"dash /bin/sh"}},
		{"bookworm", "old-daemon.conf", nil},
		{"bookworm", "usr/bin/gcc", nil},
		{"distroless", "libssl.so.3", []string{"libssl3 /usr/lib/x86_64-linux-gnu/libssl.so.3"}},
	}
	for _, tt := range tests {
		got, err := fixture(t, tt.fixture).Providers([]string{tt.base})
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, o := range got[tt.base] {
			have = append(have, o.Package.Name+" "+o.Path)
		}
		if !slices.Equal(have, tt.want) {
			t.Errorf("%s: providers of %s: %q, want %q", tt.fixture, tt.base, have, tt.want)
		}
	}
}

func TestChecksum(t *testing.T) {
	tests := []struct{ fixture, path, sum string }{
		{"bookworm", "/usr/lib/x86_64-linux-gnu/libssl.so.3", strings.Repeat("f", 32)},
		{"bookworm", "/usr/lib/i386-linux-gnu/libz.so.1.2.13", strings.Repeat("0", 31) + "1"},
		{"bookworm", "/usr/lib/x86_64-linux-gnu/libz.so.1.2.13", ""},
		{"distroless", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "1f2e3d4c5b6a79880716253443526170"},
	}
	for _, tt := range tests {
		d := fixture(t, tt.fixture)
		owners, err := d.Owners([]string{tt.path})
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := d.Checksum(owners[tt.path])
		if err != nil || ok != (tt.sum != "") || got.Sum != tt.sum || got.RecordedAt.IsZero() == ok {
			t.Errorf("%s %s: %+v, %v, %v; want %q", tt.fixture, tt.path, got, ok, err, tt.sum)
		}
	}
	if _, _, err := fixture(t, "bookworm").Checksum(owner.Owned{Package: owner.Package{Name: "stranger"}}); err == nil {
		t.Error("no error for the checksum of a package that is not in the database")
	}
}

// TestDamage holds that each defect is told with its file and offset, and that
// all that is around it is there.
func TestDamage(t *testing.T) {
	const sound = "Package: sound\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
	tests := []struct {
		name, file, content string
		problem             string // what Problems must have, and nothing else
	}{
		{"line without colon", "status", "Package: odd\nnonsense\n\n" + sound, "/var/lib/dpkg/status: offset 13: line is neither"},
		{"no name", "status", "Status: install ok installed\n\n" + sound, "/var/lib/dpkg/status: offset 0: stanza has no valid Package"},
		{"name leads elsewhere", "status", sound + "Package: ../../etc/passwd\n\n", "/var/lib/dpkg/status: offset 76: stanza has no valid Package"},
		{"bad architecture", "status", sound + "Package: a\nArchitecture: a/../b\n\n", "offset 76: stanza has no valid Architecture"},
		{"short status", "status", sound + "Package: a\nStatus: half-installed\nVersion: 1\n\n", "offset 76: stanza has a Status"},
		{"no version", "status", sound + "Package: a\nStatus: install ok half-installed\n\n", "offset 76: package has no Version"},
		{"twice", "status", sound + sound, "offset 76: package has a second stanza"},
		{"cut off", "status", sound + "Package: x\nStatus: instal", "/var/lib/dpkg/status: offset 101: file does not end"},
		{"no list", "status", sound + "Package: a\nStatus: install ok installed\nVersion: 1\n\n", "/var/lib/dpkg/info/a.list: package has no file list"},
		{"list cut off", "info/sound.list", "/.\n/usr/bin/sound\n/usr/bin/so", "/var/lib/dpkg/info/sound.list: offset 29: file does not end"},
		{"bad sums", "info/sound.md5sums", "nonsense\n00000000000000000000000000000001  usr/bin/sound\n", "/var/lib/dpkg/info/sound.md5sums: offset 0: line is not"},
		{"cut diversions", "diversions", "/a\n/b\nc\n/d\n", "/var/lib/dpkg/diversions: offset 8: diversion is not three"},
		{"relative diversion", "diversions", "a\n/b\nc\n", "/var/lib/dpkg/diversions: offset 0: diversion of or to"},
		{"diverted twice", "diversions", "/a\n/b\nc\n/a\n/e\nf\n", "/var/lib/dpkg/diversions: offset 8: path is in a second"},
		{"long diversion", "diversions", strings.Repeat("x", lines.Max+1) + "\n/b\nc\n", "/var/lib/dpkg/diversions: offset 0: line is too long"},
		{"bad update", "updates/0001", "nonsense\n", "/var/lib/dpkg/updates/0001: offset 0: line is neither"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range map[string]string{
				"status": sound, "info/sound.list": "/.\n/usr/bin/sound\n",
				"info/sound.md5sums": "00000000000000000000000000000001  usr/bin/sound\n", tt.file: tt.content,
			} {
				write(t, dir, admin+name, content)
			}
			d := open(t, dir)
			for range 2 { // each defect is told once
				owners, err := d.Owners([]string{"/usr/bin/sound"})
				if err != nil || owners["/usr/bin/sound"].Package.Name != "sound" {
					t.Errorf("owners %v, %v", owners, err)
				}
				if _, ok, err := d.Checksum(owners["/usr/bin/sound"]); !ok || err != nil {
					t.Errorf("checksum: %v, %v", ok, err)
				}
			}
			problems := d.Problems()
			var oe *owner.Error
			if len(problems) == 0 || !errors.As(problems[0], &oe) || !strings.Contains(problems[0].Error(), tt.problem) {
				t.Errorf("problems %v, want %q", problems, tt.problem)
			}
			if len(problems) > 1 && tt.name != "cut off" { // of which the last stanza is short, too
				t.Errorf("more problems than one: %v", problems)
			}
		})
	}
}

// TestNoLists: when nothing is known, no answer must look like "nobody's".
func TestNoLists(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, admin+"status", "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n")
	d := open(t, dir)
	if got, err := d.Owners([]string{"/usr/bin/a"}); err == nil {
		t.Errorf("owners %v without a list, want an error", got)
	}
	if got, err := d.Providers([]string{"a"}); err == nil {
		t.Errorf("providers %v without a list, want an error", got)
	}
}
