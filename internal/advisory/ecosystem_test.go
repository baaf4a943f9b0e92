package advisory

import (
	"slices"
	"testing"
)

func TestEcosystem(t *testing.T) {
	for _, c := range []struct{ id, version, manager, want string }{
		{"debian", "12", "dpkg", "Debian:12"}, {"debian", "8", "dpkg", "Debian:8"}, {"debian", "", "dpkg", ""},
		{"ubuntu", "22.04", "dpkg", "Ubuntu:22.04:LTS"}, {"ubuntu", "24.10", "dpkg", "Ubuntu:24.10"},
		{"ubuntu", "23.04", "dpkg", "Ubuntu:23.04"}, {"ubuntu", "6.06", "dpkg", "Ubuntu:6.06:LTS"}, {"ubuntu", "22", "dpkg", ""},
		{"linuxmint", "21", "dpkg", ""}, {"kali", "2024.1", "dpkg", ""},
		{"alpine", "3.20.3", "apk", "Alpine:v3.20"}, {"alpine", "3.9.6", "apk", "Alpine:v3.9"},
		{"alpine", "3.21_alpha20240923", "apk", ""}, {"alpine", "3", "apk", ""},
		{"wolfi", "20230201", "apk", "Wolfi"}, {"chainguard", "20230214", "apk", "Chainguard"}, {"minimos", "20241031", "apk", "MinimOS"},
		{"alpaquita", "23", "apk", "Alpaquita:23"}, {"alpaquita", "stream", "apk", "Alpaquita:stream"}, {"alpaquita", "", "apk", ""},
		{"rocky", "9.4", "rpm", "Rocky Linux:9"}, {"almalinux", "8.10", "rpm", "AlmaLinux:8"}, {"rocky", "", "rpm", ""},
		{"rhel", "9.4", "rpm", "Red Hat:enterprise_linux:9"}, {"rhel", "10.1", "rpm", "Red Hat:enterprise_linux:10.1"},
		{"centos", "9", "rpm", ""}, {"fedora", "40", "rpm", ""}, {"amzn", "2023", "rpm", ""}, {"ol", "9.4", "rpm", ""},
		{"mageia", "9", "rpm", "Mageia:9"}, {"azurelinux", "3.0", "rpm", "Azure Linux:3"},
		{"opensuse-leap", "15.6", "rpm", "openSUSE:Leap 15.6"}, {"opensuse-tumbleweed", "20241101", "rpm", "openSUSE:Tumbleweed"},
		{"opensuse-leap-micro", "5.3", "rpm", "openSUSE:Leap Micro 5.3"},
		{"sles", "15.5", "rpm", "SUSE:Linux Enterprise Server 15 SP5"}, {"sles", "15", "rpm", "SUSE:Linux Enterprise Server 15"},
		{"sles", "12.5", "rpm", "SUSE:Linux Enterprise Server 12 SP5"}, {"sles", "16.0", "rpm", "SUSE:Linux Enterprise Server 16.0"},
		{"sles_sap", "15.5", "rpm", "SUSE:Linux Enterprise Server for SAP Applications 15 SP5"},
		{"sled", "15.5", "rpm", "SUSE:Linux Enterprise Desktop 15 SP5"}, {"sle-micro", "5.5", "rpm", "SUSE:Linux Enterprise Micro 5.5"},
		{"sl-micro", "6.0", "rpm", "SUSE:Linux Micro 6.0"},
		{"arch", "", "pacman", ""}, {"debian", "12", "rpm", ""}, {"rocky", "9", "dpkg", ""}, {"", "", "dpkg", ""},
		{"debian", "12", "go", "Go"}, {"", "", "cargo", "crates.io"}, {"debian", "12/../x", "dpkg", ""},
	} {
		got, ok := Ecosystem(c.id, c.version, c.manager)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%+v: %q, %v", c, got, ok)
		}
	}
}

func TestScopes(t *testing.T) {
	for ecosystem, want := range map[string]string{
		"Debian:12": "Debian:12", "Go": "Go", "Ubuntu:22.04:LTS": "Ubuntu:22.04", "Ubuntu:Pro:18.04:LTS": "Ubuntu:Pro:18.04",
		"Ubuntu:Pro:FIPS-updates:20.04:LTS":     "Ubuntu:Pro:FIPS-updates:20.04",
		"Red Hat:enterprise_linux:9::appstream": "Red Hat:enterprise_linux:9", "Red Hat:rhel_eus:9.2::baseos": "Red Hat:rhel_eus:9.2",
		"SUSE:Linux Enterprise Module for Basesystem 15 SP5":    "SUSE:Linux Enterprise Module 15 SP5",
		"SUSE:Linux Enterprise Module for Python 3 15 SP4":      "SUSE:Linux Enterprise Module 15 SP4",
		"SUSE:Linux Enterprise Server 15 SP3-LTSS":              "SUSE:Linux Enterprise Server 15 SP3-LTSS",
		"SUSE:Linux Enterprise Module for Public Cloud 12":      "SUSE:Linux Enterprise Module 12",
		"SUSE:Linux Enterprise Module for Web and Scripting 12": "SUSE:Linux Enterprise Module 12",
	} {
		if got := scope(ecosystem); got != want {
			t.Errorf("%s: %q, want %q", ecosystem, got, want)
		}
	}
	for ecosystem, want := range map[string][]string{
		"Go": {"Go"}, "Debian:12": {"Debian:12", "Debian"}, "Ubuntu:22.04:LTS": {"Ubuntu:22.04", "Ubuntu"},
		"Red Hat:enterprise_linux:9":            {"Red Hat:enterprise_linux:9", "Red Hat"},
		"Red Hat:enterprise_linux:10.2::baseos": {"Red Hat:enterprise_linux:10.2", "Red Hat", "Red Hat:enterprise_linux:10", "Red Hat:enterprise_linux:10.0", "Red Hat:enterprise_linux:10.1"},
		"SUSE:Linux Enterprise Micro 5.5":       {"SUSE:Linux Enterprise Micro 5.5", "SUSE"},
	} {
		if got := scopes(ecosystem, "1", "2"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", ecosystem, got, want)
		}
	}
}

func TestDebianRelease(t *testing.T) {
	for codename, want := range map[string]string{"etch": "4", "wheezy": "7", "jessie": "8", "stretch": "9", "buster": "10",
		"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15", "sid": "sid"} {
		if got, ok := debianRelease(codename); !ok || got != want {
			t.Errorf("%s: %q, %v", codename, got, ok)
		}
	}
	if _, ok := debianRelease("bo"); ok {
		t.Error("bo")
	}
}

func TestCVEOf(t *testing.T) {
	for id, want := range map[string]string{"CVE-2024-1234": "CVE-2024-1234", "UBUNTU-CVE-2024-12345": "CVE-2024-12345",
		"DEBIAN-CVE-2024-1234": "CVE-2024-1234", "CVE-2024-123": "", "CVE-24-1234": "", "CVE-2024-1234x": "", "XCVE-2024-1234": "",
		"GHSA-aaaa-bbbb-cccc": "", "a b-CVE-2024-1234": "", "CVE-2024-": "", "": "", "TEMP-0000000-1A2B3C": "",
		"CVE-2024-12345678901234567890": ""} {
		if got, ok := cveOf(id); ok != (want != "") || got != want && ok {
			t.Errorf("%q: %q, %v", id, got, ok)
		}
	}
}

func TestCompareIDs(t *testing.T) {
	want := []string{"CVE-2023-9999", "CVE-2024-999", "CVE-2024-1000", "CVE-2024-01001", "CVE-2024-1001", "CVE-2024-10000", "GHSA-a", "GHSA-b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareIDs)
	if !slices.Equal(got, want) {
		t.Error(got)
	}
}
