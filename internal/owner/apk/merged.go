package apk

import (
	"path"
	"strings"
)

// alias is a directory that is a symbolic link: the database may spell dir where
// the canonical path has target (merged /usr).
type alias struct{ dir, target string } // "/lib", "/usr/lib"

// mergedDirectories finds the merged directories of a root. A link that leads
// through another one of them, as /sbin to /usr/sbin to /usr/bin, is followed.
func mergedDirectories(root Root) []alias {
	var out []alias
	for _, dir := range [...]string{"/usr/sbin", "/usr/lib64", "/bin", "/sbin", "/lib", "/lib64"} {
		to, err := root.Readlink(dir)
		if err != nil {
			continue // a directory of its own, or none
		}
		if !strings.HasPrefix(to, "/") {
			to = path.Join(path.Dir(dir), to)
		}
		target := path.Clean(to)
		for _, a := range out {
			if target == a.dir {
				target = a.target
			}
		}
		if target != "/" && target != dir {
			out = append(out, alias{dir, target})
		}
	}
	return out
}

// spellings returns the ways in which a database may spell a canonical path, the
// canonical one first.
func spellings(canonical string, merged []alias) []string {
	out := []string{canonical}
	for _, a := range merged {
		if rest, ok := strings.CutPrefix(canonical, a.target); ok && strings.HasPrefix(rest, "/") {
			out = append(out, a.dir+rest)
		}
	}
	return out
}
