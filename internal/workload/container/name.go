package container

import (
	"strconv"
	"strings"
)

// idLen is the length of most engines' identifiers: 32 random bytes in hexadecimal
// digits.
const idLen = 64

// splitID splits the name of a cgroup into what stands before a container's ID, with
// the separator, and the ID. It knows scopes and plain cgroups; a unit of another
// type is none, such as the "ID.service" of Podman's health checks.
func splitID(name string) (head, id string, ok bool) {
	name = strings.TrimSuffix(name, ".scope")
	if len(name) < idLen {
		return "", "", false
	}
	head, id = name[:len(name)-idLen], name[len(name)-idLen:]
	if head != "" && strings.IndexByte("-_.:", head[len(head)-1]) < 0 {
		return "", "", false
	}
	return head, id, isHex(id)
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// isUUID reports whether name has the form 8-4-4-4-12 of RFC 9562, in lower case.
func isUUID(name string) bool {
	parts := strings.Split(name, "-")
	if len(name) != 36 || len(parts) != 5 {
		return false
	}
	for i, n := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != n || !isHex(parts[i]) {
			return false
		}
	}
	return true
}

// podUID reads the identifier of a pod from the kubelet's cgroup names
// (pkg/kubelet/cm/pod_container_manager_linux.go): "podUID", and as a slice
// "kubepods-burstable-podUID.slice" with "_" in the place of "-". The UID of a pod
// from a file is 32 digits without dashes.
func podUID(name string) (string, bool) {
	if slice, ok := strings.CutSuffix(name, ".slice"); ok {
		at := strings.LastIndex(slice, "kubepods-")
		if at < 0 {
			return "", false
		}
		if at = strings.LastIndexByte(slice, '-'); at < 0 {
			return "", false
		}
		name = strings.ReplaceAll(slice[at+1:], "_", "-")
	}
	uid, ok := strings.CutPrefix(name, "pod")
	if !ok || !isUUID(uid) && !(len(uid) == 32 && isHex(uid)) {
		return "", false
	}
	return uid, true
}

// isIdentifier reports whether s is one by containerd's rule for namespaces and
// containers (pkg/identifiers/validate.go): words of ASCII letters and digits with
// single "-", "_" and "." between them, at most 76 bytes.
func isIdentifier(s string) bool {
	if s == "" || len(s) > 76 {
		return false
	}
	separated := true
	for i := range len(s) {
		switch c := s[i]; {
		case isAlphanumeric(c):
			separated = false
		case separated || c != '-' && c != '_' && c != '.':
			return false
		default:
			separated = true
		}
	}
	return !separated
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isUnit reports whether name is that of a unit which holds processes, by
// unit_name_is_valid of systemd's src/basic/unit-name.c, and can stand in a command:
// one that begins with "-" cannot.
func isUnit(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name) >= 256 || name[0] == '-' || name[0] == '@' {
		return false
	}
	switch name[dot:] {
	case ".service", ".scope", ".mount", ".socket", ".swap":
	default:
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && strings.IndexByte(`:-_.\@`, c) < 0 {
			return false
		}
	}
	at := strings.IndexByte(name, '@')
	return at < 0 || at+1 < dot
}

// unescapeUnit undoes unit_name_escape: "-" stands for "/" and "\x2d" for "-". A
// machine's name has no "/", so a "-" is left as it is.
func unescapeUnit(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
