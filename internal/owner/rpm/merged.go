package rpm

import (
	"path"
	"strings"
)

// alias is a directory that is a symbolic link: packages may list files below dir that
// canonically lie below target.
type alias struct{ dir, target string } // "/lib64", "/usr/lib64"

// mergedDirectories finds those of the directories of a root that are links to others:
// merged ones (Fedora's UsrMove and Unify_bin_and_sbin), and those that rpm-ostree
// keeps in /var.
func mergedDirectories(root Root) []alias {
	links := make(map[string]string)
	dirs := [...]string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr/sbin", "/usr/bin", "/usr/lib64",
		"/opt", "/srv", "/home", "/root", "/usr/local", "/var/run", "/var/lock"}
	for _, dir := range dirs {
		to, err := root.Readlink(dir)
		if err != nil {
			continue // a directory of its own, or none
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(dir), to)
		}
		links[dir] = path.Clean("/" + to)
	}
	var out []alias
	for _, dir := range dirs {
		target, ok := links[dir]
		for range links { // a link may lead to one: /sbin to /usr/sbin to /usr/bin
			next, more := links[target]
			if !more {
				break
			}
			target = next
		}
		if ok && target != "/" && target != dir {
			out = append(out, alias{dir, target})
		}
	}
	return out
}

// spellings returns the ways in which a package may list a canonical path, the
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
