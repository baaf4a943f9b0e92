package kernel

import (
	"slices"
	"strings"
	"testing"
)

func TestSplitRelease(t *testing.T) {
	tests := []struct{ release, version, flavour string }{
		{"6.1.0-35-amd64", "6.1.0-35", "amd64"},
		{"6.1.0-35-cloud-amd64", "6.1.0-35", "cloud-amd64"},
		{"6.1.0-35-rt-amd64", "6.1.0-35", "rt-amd64"},
		{"6.1.0-35-686-pae", "6.1.0-35", "686-pae"},
		{"6.1.0-35-4kc-malta", "6.1.0-35", "4kc-malta"},
		{"6.1.0-0.deb11.28-amd64", "6.1.0-0.deb11.28", "amd64"},
		{"5.10.0-0.bpo.15-cloud-arm64", "5.10.0-0.bpo.15", "cloud-arm64"},
		{"6.12.48+deb13-amd64", "6.12.48+deb13", "amd64"},
		{"6.12.48+deb13+1-cloud-amd64", "6.12.48+deb13+1", "cloud-amd64"},
		{"6.10-rc6-amd64", "6.10-rc6", "amd64"},
		{"6.8.0-45-generic", "6.8.0-45", "generic"},
		{"6.8.0-45-generic-64k", "6.8.0-45", "generic-64k"},
		{"6.8.0-1015-aws", "6.8.0-1015", "aws"},
		{"5.15.0-1075-azure-fde", "5.15.0-1075", "azure-fde"},
		{"6.10.0-061000rc6-generic", "6.10.0-061000rc6", "generic"},
		{"6.8.8-2-pve", "6.8.8-2", "pve"},
		{"6.6.31+rpt-rpi-v8", "6.6.31+rpt", "rpi-v8"},
		{"3.10.0-1160.119.1.el7.x86_64", "3.10.0-1160.119.1.el7", "x86_64"},
		{"5.14.0-427.13.1.el9_4.x86_64+debug", "5.14.0-427.13.1.el9_4", "x86_64+debug"},
		{"5.14.0-427.13.1.el9_4.aarch64+64k", "5.14.0-427.13.1.el9_4", "aarch64+64k"},
		{"5.14.0-427.13.1.el9_4.x86_64+rt", "5.14.0-427.13.1.el9_4", "x86_64+rt"},
		{"4.18.0-553.rt7.342.el8_10.x86_64", "4.18.0-553.rt7.342.el8_10", "rt.x86_64"},
		{"5.15.0-206.153.7.el9uek.x86_64", "5.15.0-206.153.7.el9uek", "uek.x86_64"},
		{"6.9.7-1.el9.elrepo.x86_64", "6.9.7-1.el9.elrepo", "elrepo.x86_64"},
		{"6.9.7-200.fc40.x86_64", "6.9.7-200.fc40", "x86_64"},
		{"6.9.7-200.fc40.i686.debug", "6.9.7-200.fc40", "i686.debug"},
		{"6.1.102-111.182.amzn2023.x86_64", "6.1.102-111.182.amzn2023", "x86_64"},
		{"6.6.41-0-lts", "6.6.41-0", "lts"},
		{"6.6.41-0-virt", "6.6.41-0", "virt"},
		{"5.14.21-150500.55.62-default", "5.14.21-150500.55.62", "default"},
		{"6.4.0-150600.10.5-rt", "6.4.0-150600.10.5", "rt"},
		{"6.9.7-arch1-1", "6.9.7-arch1-1", "arch"},
		{"6.9.7-zen1-1-zen", "6.9.7-zen1-1", "zen"},
		{"6.6.36-1-lts", "6.6.36-1", "lts"},
		{"6.6.30-gentoo-dist", "6.6.30", "gentoo-dist"},
		{"6.6.43-flatcar", "6.6.43", "flatcar"},
		{"5.15.153.1-microsoft-standard-WSL2", "5.15.153.1", "microsoft-standard-WSL2"},
		{"6.18.44", "6.18.44", ""},
		{"6.18.44-dirty", "6.18.44", "dirty"},
		{"", "", ""},
		{"-", "", ""},
	}
	for _, test := range tests {
		version, flavour := SplitRelease(test.release)
		if version != test.version || flavour != test.flavour || Flavour(test.release) != flavour {
			t.Errorf("%q: %q, %q", test.release, version, flavour)
		}
	}
}

// TestCompare holds that each list is in order.
func TestCompare(t *testing.T) {
	for _, list := range [][]string{
		{"5.10.0-9-amd64", "5.10.0-35-amd64", "6.1.0-5-amd64", "6.1.0-35-amd64", "6.10.0-1-amd64", "6.12.9+deb13-amd64", "6.12.48+deb13-amd64", "6.12.48+deb13+1-amd64"},
		{"6.8.0-45-generic", "6.8.0-100-generic", "6.11.0-8-generic"},
		{"5.14.0-70.el9.x86_64", "5.14.0-70.13.1.el9_0.x86_64", "5.14.0-427.13.1.el9_4.x86_64"},
		{"6.9.6-200.fc40.x86_64", "6.9.7-200.fc39.x86_64", "6.9.7-200.fc40.x86_64", "6.9.7-201.fc39.x86_64"},
		{"6.6.41-0-lts", "6.6.41-1-lts", "6.6.100-0-lts"},
		{"6.10.0-rc3", "6.10.0-rc10", "6.10.0", "6.10.1"},
		{"6.10.0-061000rc6-generic", "6.10.0-061000-generic"},
		{"6.9.7-arch1-1", "6.9.7-arch1-2", "6.9.10-arch1-1"},
		{"5.14.21-150500.55.62-default", "5.14.21-150500.55.100-default"},
		{"1.0", "1.99999999999999999999999", "1.100000000000000000000000"},
	} {
		for i, a := range list {
			for j, b := range list {
				if got := Compare(a, b); got < 0 != (i < j) || got == 0 != (i == j) {
					t.Errorf("%s, %s: %d", a, b, got)
				}
			}
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add("6.1.0-35-amd64", "6.9.7-arch1-1", "6.10.0-rc3")
	f.Add("5.15.0-206.153.7.el9uek.x86_64", "a-b1-1-", "-1-")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		version, flavour := SplitRelease(a)
		if !strings.HasPrefix(a, version) || len(version) > len(a) {
			t.Errorf("%q: version %q, flavour %q", a, version, flavour)
		}
		if Compare(a, b) != -Compare(b, a) || Compare(a, a) != 0 {
			t.Errorf("%q, %q: no order", a, b)
		}
		if compareVersions(a, b) != -compareVersions(b, a) || compareVersions(a, a) != 0 {
			t.Errorf("%q, %q: no order of versions", a, b)
		}
		list := []string{a, b, c}
		slices.SortFunc(list, Compare)
		if Compare(list[0], list[1]) > 0 || Compare(list[1], list[2]) > 0 || Compare(list[0], list[2]) > 0 {
			t.Errorf("%q: not in order", list)
		}
	})
}

// TestCompareVersions has the examples of UAPI.10.
func TestCompareVersions(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"11", "11", 0}, {"systemd-123", "systemd-123", 0}, {"bar-123", "foo-123", -1}, {"123a", "123", 1},
		{"123.a", "123", 1}, {"123.a", "123.b", -1}, {"123a", "123.a", 1}, {"11α", "11β", 0}, {"A", "a", -1},
		{"", "0", -1}, {"0.", "0", 1}, {"0.0", "0", 1}, {"0", "~", 1}, {"", "~", 1}, {"1_", "1", 0}, {"_1", "1", 0},
		{"1_", "1.2", -1}, {"1_2_3", "1.3.3", 1}, {"1+", "1", 0}, {"+1", "1", 0}, {"1+", "1.2", -1},
		{"122.1", "123~rc1-1", -1}, {"123~rc1-1", "123", -1}, {"123", "123-a", -1}, {"123-a", "123-a.1", -1},
		{"123-a.1", "123-1", -1}, {"123-1", "123-1.1", -1}, {"123-1.1", "123^post1", -1}, {"123^post1", "123.a-1", -1},
		{"123.a-1", "123.1-1", -1}, {"123.1-1", "123a-1", -1}, {"123a-1", "124-1", -1},
	} {
		if got := compareVersions(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
