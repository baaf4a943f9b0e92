package main

import (
	"cmp"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// purl is the package URL of a package, as ECMA-427 and the definitions of its types
// (github.com/package-url/purl-spec, types-doc) say.
func purl(p *sensor.ListedPackage) string {
	vendor, name, version := purlVendor(p.Distribution), p.Name, p.Version
	lower := strings.ToLower
	qualifiers := [][2]string{{"arch", p.Arch}, {"distro", purlDistro(p)}} // by name
	kind := ""
	switch p.Manager {
	case "dpkg":
		kind, name = "deb", lower(name)
	case "rpm":
		kind = "rpm"
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			version = rest
			if epoch != "0" {
				qualifiers = append(qualifiers, [2]string{"epoch", epoch})
			}
		}
	case "apk":
		kind, name = "apk", lower(name)
	case "pacman":
		kind, name, vendor = "alpm", lower(name), cmp.Or(vendor, "arch")
	case "go":
		kind, vendor, name = "golang", "", strings.Trim(lower(name), "/")
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			vendor, name = name[:i], name[i+1:]
		}
		if version == "(devel)" {
			version = "" // It was built from a working tree.
		}
		qualifiers = nil
	case "cargo":
		kind, vendor, qualifiers = "cargo", "", nil
	default:
		kind, vendor, qualifiers = "generic", "", nil
	}
	var b strings.Builder
	b.WriteString("pkg:" + kind)
	for segment := range strings.SplitSeq(vendor, "/") {
		if segment != "" {
			b.WriteString("/" + purlEscape(segment))
		}
	}
	b.WriteString("/" + purlEscape(cmp.Or(name, "unknown"))) // A purl has to have one.
	if version != "" {
		b.WriteString("@" + purlEscape(version))
	}
	separator := "?"
	for _, q := range qualifiers {
		if q[1] != "" {
			b.WriteString(separator + q[0] + "=" + purlEscape(q[1]))
			separator = "&"
		}
	}
	return b.String()
}

// purlVendor is the namespace for the ID of a distribution (os-release(5)): the examples
// of the rpm type say opensuse, and Red Hat and SUSE write redhat and suse themselves.
func purlVendor(id string) string {
	id = strings.ToLower(id)
	switch {
	case id == "rhel":
		return "redhat"
	case strings.HasPrefix(id, "sle") || id == "sl-micro":
		return "suse"
	case strings.HasPrefix(id, "opensuse-"):
		return "opensuse"
	}
	return id
}

func purlDistro(p *sensor.ListedPackage) string {
	if p.Distribution == "" || p.Release == "" {
		return p.Distribution
	}
	return p.Distribution + "-" + p.Release
}

// purlEscape percent-encodes all but what ECMA-427 leaves as it is: letters and digits of
// ASCII, ".-_~", and ":".
func purlEscape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
