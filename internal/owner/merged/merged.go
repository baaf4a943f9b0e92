// Package merged sees through directories that are symbolic links to others, below which
// package databases list files by names that are not canonical.
package merged

import (
	"path"
	"strings"
)

// Alias is a directory that is a symbolic link: packages may list files below Dir that
// canonically lie below Target.
type Alias struct{ Dir, Target string } // "/lib64", "/usr/lib64"

// Root reads the symbolic links of a root.
type Root interface {
	Readlink(name string) (string, error)
}

// Directories finds those of the given directories that are links to others. A link may
// lead to another one of them.
func Directories(root Root, dirs []string) []Alias {
	links := make(map[string]string)
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
	var out []Alias
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
			out = append(out, Alias{dir, target})
		}
	}
	return out
}

// Spellings returns the ways in which a package may list a canonical path, the
// canonical one first.
func Spellings(canonical string, merged []Alias) []string {
	out := []string{canonical}
	for _, a := range merged {
		if rest, ok := strings.CutPrefix(canonical, a.Target); ok && strings.HasPrefix(rest, "/") {
			out = append(out, a.Dir+rest)
		}
	}
	return out
}
