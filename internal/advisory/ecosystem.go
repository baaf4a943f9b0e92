package advisory

import (
	"fmt"
	"strconv"
	"strings"
)

// Ecosystem returns OSV's name for the packages of one manager on one
// distribution, with its release, as in ossf.github.io/osv-schema ("Defined
// ecosystems"): "Debian:12", "Ubuntu:22.04:LTS", "Alpine:v3.20", "Rocky Linux:9",
// "Red Hat:enterprise_linux:9", "SUSE:Linux Enterprise Server 15 SP5". osID and
// versionID are ID and VERSION_ID of os-release(5), manager is "dpkg", "rpm" or
// "apk"; "go" and "cargo" are the same on every distribution.
//
// It returns false where OSV has no such ecosystem or os-release does not tell the
// release, as for Debian's testing. Derivatives (ID_LIKE) number their releases and
// versions by themselves, so they are not what they derive from.
func Ecosystem(osID, versionID string, manager string) (string, bool) {
	switch manager {
	case "go":
		return "Go", true
	case "cargo":
		return "crates.io", true
	}
	major, minor, _ := strings.Cut(versionID, ".")
	number := isNumber(major)
	whole := number && (minor == "" || isNumber(minor))
	switch manager + " " + osID {
	case "dpkg debian":
		return "Debian:" + major, number
	case "dpkg ubuntu":
		return ubuntu(major, minor)
	case "apk alpine":
		// VERSION_ID is 3.20.3; that of edge is 3.21_alpha20240923.
		branch, _, _ := strings.Cut(minor, ".")
		return "Alpine:v" + major + "." + branch, number && isNumber(branch)
	case "apk wolfi":
		return "Wolfi", true
	case "apk chainguard":
		return "Chainguard", true
	case "apk minimos":
		return "MinimOS", true
	case "apk alpaquita":
		return "Alpaquita:" + versionID, number || versionID == "stream"
	case "rpm rocky":
		return "Rocky Linux:" + major, whole
	case "rpm almalinux":
		return "AlmaLinux:" + major, whole
	case "rpm rhel":
		return redHat(major, minor), whole
	case "rpm mageia":
		return "Mageia:" + major, whole
	case "rpm azurelinux":
		return "Azure Linux:" + major, whole
	case "rpm opensuse-leap":
		return "openSUSE:Leap " + versionID, whole && minor != ""
	case "rpm opensuse-leap-micro":
		return "openSUSE:Leap Micro " + versionID, whole && minor != ""
	case "rpm opensuse-tumbleweed":
		return "openSUSE:Tumbleweed", true
	case "rpm sles":
		return "SUSE:Linux Enterprise Server " + servicePack(major, minor), whole
	case "rpm sles_sap":
		return "SUSE:Linux Enterprise Server for SAP Applications " + servicePack(major, minor), whole
	case "rpm sled":
		return "SUSE:Linux Enterprise Desktop " + servicePack(major, minor), whole
	case "rpm sle-micro":
		return "SUSE:Linux Enterprise Micro " + versionID, whole && minor != ""
	case "rpm sl-micro":
		return "SUSE:Linux Micro " + versionID, whole && minor != ""
	}
	return "", false
}

func isNumber(s string) bool { return s != "" && len(s) <= 8 && digits(s) == len(s) }

// ubuntu adds the mark of the releases with long support: every second year's in
// April (wiki.ubuntu.com/Releases), and 6.06, which was late.
func ubuntu(year, month string) (string, bool) {
	month, _, _ = strings.Cut(month, ".")
	y, err := strconv.Atoi(year)
	if err != nil || !isNumber(year) || !isNumber(month) {
		return "", false
	}
	name := "Ubuntu:" + year + "." + month
	if y%2 == 0 && month == "04" || name == "Ubuntu:6.06" {
		name += ":LTS"
	}
	return name, true
}

// redHat follows the platform names (CPE) of Red Hat, which have minor releases
// from 10 on.
func redHat(major, minor string) string {
	name := "Red Hat:enterprise_linux:" + major
	if n, err := strconv.Atoi(major); err == nil && n >= 10 && minor != "" {
		name += "." + minor
	}
	return name
}

// servicePack is how SUSE names a release: 15 SP5, and 16.0 from 16 on.
func servicePack(major, minor string) string {
	switch n, err := strconv.Atoi(major); {
	case err == nil && n >= 16 && minor != "":
		return major + "." + minor
	case minor == "" || minor == "0":
		return major
	}
	return major + " SP" + minor
}

// scope is what an ecosystem is stored by: without what tells variants of one
// release apart that are installed together.
func scope(ecosystem string) string {
	family, release, ok := strings.Cut(ecosystem, ":")
	if !ok {
		return family
	}
	switch family {
	case "Ubuntu":
		release = strings.TrimSuffix(release, ":LTS")
	case "Red Hat":
		// enterprise_linux:9::appstream, enterprise_linux:9::baseos, …
		release, _, _ = strings.Cut(release, "::")
	case "SUSE":
		// SLES of 15 consists of modules: Linux Enterprise Module for Basesystem 15 SP5.
		if module, ok := strings.CutPrefix(release, "Linux Enterprise Module for "); ok {
			words := strings.Fields(module)
			i := max(len(words)-1, 0)
			if i > 0 && strings.HasPrefix(words[i], "SP") {
				i--
			}
			release = "Linux Enterprise Module " + strings.Join(words[i:], " ")
		}
	}
	return family + ":" + release
}

// scopes returns under which scopes to look up a package of an ecosystem; the
// versions tell whether the machine has a subscription that changes them.
func scopes(ecosystem string, versions ...string) []string {
	own := scope(ecosystem)
	list := []string{own}
	family, release, ok := strings.Cut(own, ":")
	if !ok {
		return list
	}
	// Records without a release are for all of them.
	list = append(list, family)
	switch family {
	case "Ubuntu":
		for _, v := range versions {
			if strings.Contains(v, "esm") && !strings.HasPrefix(release, "Pro:") {
				return append(list, "Ubuntu:Pro:"+release)
			}
		}
		if plain, ok := strings.CutPrefix(release, "Pro:"); ok {
			list = append(list, "Ubuntu:"+plain)
		}
	case "Red Hat":
		// What 10.1 took over from 10.0 was fixed there.
		base, minor, ok := strings.Cut(strings.TrimPrefix(release, "enterprise_linux:"), ".")
		n, err := strconv.Atoi(minor)
		if !ok || err != nil || !isNumber(base) {
			break
		}
		list = append(list, "Red Hat:enterprise_linux:"+base)
		for i := range min(max(n, 0), 20) {
			list = append(list, fmt.Sprintf("Red Hat:enterprise_linux:%s.%d", base, i))
		}
	case "SUSE":
		for _, product := range []string{"Linux Enterprise Server for SAP Applications ", "Linux Enterprise Server ", "Linux Enterprise Desktop "} {
			if r, ok := strings.CutPrefix(release, product); ok {
				return append(list, "SUSE:Linux Enterprise Module "+r, "SUSE:Linux Enterprise Server "+r,
					"SUSE:Linux Enterprise Server "+r+"-LTSS")
			}
		}
	}
	return list
}

// debianRelease returns the release number for a codename of Debian
// (distro-info-data, debian.csv), from the oldest that the tracker ever listed; sid
// has none and keeps its name.
func debianRelease(codename string) (string, bool) {
	names := []string{"etch", "lenny", "squeeze", "wheezy", "jessie", "stretch", "buster", "bullseye", "bookworm",
		"trixie", "forky", "duke"}
	const etch = 4
	for i, name := range names {
		if name == codename {
			return strconv.Itoa(etch + i), true
		}
	}
	return codename, codename == "sid"
}
