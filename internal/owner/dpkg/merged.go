package dpkg

import (
	"path"
	"strings"
)

// alias is a top-level directory that is a symbolic link: package lists may
// spell dir where the canonical path has target (usr-merge, Debian
// DEP 17, and the TC's decision in bug 978636).
type alias struct{ dir, target string } // "/lib", "/usr/lib"

// mergedDirectories finds the merged directories of a root.
func mergedDirectories(root Root) []alias {
	var out []alias
	for _, dir := range [...]string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libo32", "/libx32"} {
		to, err := root.Readlink(dir)
		if err != nil {
			continue // a directory of its own, or none
		}
		if target := path.Clean("/" + to); target != "/" && target != dir {
			out = append(out, alias{dir, target})
		}
	}
	return out
}

// spellings returns the ways in which a package list may spell a canonical
// path, the canonical one first.
func spellings(canonical string, merged []alias) []string {
	out := []string{canonical}
	for _, a := range merged {
		if rest, ok := strings.CutPrefix(canonical, a.target); ok && strings.HasPrefix(rest, "/") {
			out = append(out, a.dir+rest)
		}
	}
	return out
}
