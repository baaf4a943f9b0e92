package merged

import (
	"io/fs"
	"slices"
	"testing"
)

type links map[string]string

func (l links) Readlink(name string) (string, error) {
	if to, ok := l[name]; ok {
		return to, nil
	}
	return "", fs.ErrNotExist
}

func TestDirectories(t *testing.T) {
	dirs := []string{"/usr/sbin", "/bin", "/sbin", "/lib"}
	for _, c := range []struct {
		what  string
		links links
		path  string
		want  []string
	}{
		{"nothing merged", nil, "/usr/bin/a", []string{"/usr/bin/a"}},
		{"relative and absolute", links{"/bin": "usr/bin", "/lib": "/usr/lib"}, "/usr/lib/a", []string{"/usr/lib/a", "/lib/a"}},
		{"a link to a link", links{"/sbin": "usr/sbin", "/usr/sbin": "bin", "/bin": "usr/bin"}, "/usr/bin/a",
			[]string{"/usr/bin/a", "/usr/sbin/a", "/bin/a", "/sbin/a"}},
		{"only whole names", links{"/lib": "usr/lib"}, "/usr/lib64/a", []string{"/usr/lib64/a"}},
		{"to itself and to the root", links{"/bin": "bin", "/lib": "/"}, "/usr/bin/a", []string{"/usr/bin/a"}},
		{"in a circle", links{"/bin": "sbin", "/sbin": "bin"}, "/usr/bin/a", []string{"/usr/bin/a"}},
		{"above the root", links{"/lib": "../../usr/lib"}, "/usr/lib/a", []string{"/usr/lib/a", "/lib/a"}},
	} {
		if got := Spellings(c.path, Directories(c.links, dirs)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
