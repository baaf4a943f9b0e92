package containerd

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types"
)

func TestOverlayDirs(t *testing.T) {
	for _, c := range []struct {
		options []string
		upper   string
		lower   []string
	}{
		{nil, "", nil},
		{[]string{"index=off", "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"}, "/s/3/fs", []string{"/s/2/fs", "/s/1/fs"}},
		{[]string{"index=off,upperdir=/u,lowerdir=/a:/b", "volatile"}, "/u", []string{"/a", "/b"}},
		{[]string{"lowerdir=/a"}, "", []string{"/a"}},
		// A backslash takes the meaning of what is behind it.
		{[]string{`upperdir=/u\,v`, `lowerdir=/a\:b:/c\,d:/e\\f`}, "/u,v", []string{"/a:b", "/c,d", `/e\f`}},
		{[]string{`upperdir=/u:v`}, "/u:v", nil},
		{[]string{`upperdir=/u\`}, `/u\`, nil},
		// The last of equal options counts, as with the kernel.
		{[]string{"lowerdir=/a:/b", "upperdir=/u", "lowerdir=/c", "upperdir=/v"}, "/v", []string{"/c"}},
		{[]string{"lowerdir+=/a:b", "lowerdir+=/c"}, "", []string{"/a:b", "/c"}},
		// One directory that is not certain leaves the order uncertain.
		{[]string{"upperdir=u", "lowerdir=/a:b"}, "", nil},
		{[]string{"upperdir=/u/../x", "lowerdir=/a:/b/../c"}, "", nil},
		{[]string{"lowerdir=/a::/b"}, "", nil},
		{[]string{"lowerdir=/a/"}, "", nil},
		{[]string{"lowerdir=/"}, "", nil},
		{[]string{"lowerdir=/a\x00"}, "", nil},
		{[]string{"lowerdir=/a", "datadir+=/b"}, "", nil},
		{[]string{"lowerdir=/" + strings.Repeat("a", maxDir)}, "", nil},
		{[]string{"lowerdir=/a" + strings.Repeat(":/a", maxLayers)}, "", nil},
		{[]string{"upperdir=/u", strings.Repeat("x", maxOptions)}, "", nil},
		{[]string{"lowerdir", "upperdir", "=", ""}, "", nil},
	} {
		upper, lower := overlayDirs(c.options)
		if upper != c.upper || !slices.Equal(lower, c.lower) {
			t.Errorf("%.100q: %q, %q, want %q, %q", c.options, upper, lower, c.upper, c.lower)
		}
	}
}

func TestDirectories(t *testing.T) {
	overlay := &types.Mount{Type: "overlay", Source: "overlay", Options: []string{"upperdir=/u", "lowerdir=/a:/b"}}
	fuse := &types.Mount{Type: "fuse3.fuse-overlayfs", Source: "overlay", Options: []string{"lowerdir=/a:/b"}}
	writable := &types.Mount{Type: "bind", Source: "/d", Options: []string{"rw", "rbind"}}
	readonly := &types.Mount{Type: "bind", Source: "/d", Options: []string{"ro", "rbind"}}
	for name, c := range map[string]struct {
		mounts      []*types.Mount
		snapshotter string
		parent      bool
		upper       string
		lower       []string
	}{
		"none":             {nil, "overlayfs", true, "", nil},
		"overlay":          {[]*types.Mount{overlay}, "overlayfs", true, "/u", []string{"/a", "/b"}},
		"overlay by other": {[]*types.Mount{overlay}, "nydus", true, "/u", []string{"/a", "/b"}},
		"fuse":             {[]*types.Mount{fuse}, "fuse-overlayfs", true, "", []string{"/a", "/b"}},
		"two":              {[]*types.Mount{overlay, writable}, "overlayfs", true, "", nil},
		"nil":              {[]*types.Mount{nil}, "overlayfs", true, "", nil},
		"scratch":          {[]*types.Mount{writable}, "overlayfs", false, "/d", nil},
		"view":             {[]*types.Mount{readonly}, "overlayfs", true, "", []string{"/d"}},
		"empty view":       {[]*types.Mount{readonly}, "overlayfs", false, "", nil},
		"native":           {[]*types.Mount{writable}, "native", true, "", nil},
		"native view":      {[]*types.Mount{readonly}, "native", true, "", nil},
		"relative":         {[]*types.Mount{{Type: "bind", Source: "d"}}, "overlayfs", false, "", nil},
		"device":           {[]*types.Mount{{Type: "ext4", Source: "/dev/mapper/x"}}, "devmapper", true, "", nil},
	} {
		upper, lower := directories(c.mounts, c.snapshotter, c.parent)
		if upper != c.upper || !slices.Equal(lower, c.lower) {
			t.Errorf("%s: %q, %q, want %q, %q", name, upper, lower, c.upper, c.lower)
		}
	}
}

// FuzzOverlayDirs: whatever the options, directories are absolute, clean and few;
// and what was read is read again from options made of it.
func FuzzOverlayDirs(f *testing.F) {
	f.Add("index=off\nworkdir=/w\nupperdir=/u\nlowerdir=/a:/b")
	f.Add(`upperdir=/u\,v` + "\n" + `lowerdir=/a\:b:/c\,d:/e\\f`)
	f.Add("lowerdir=/a::/b")
	f.Add("lowerdir+=/a:b,lowerdir+=/c")
	f.Add("lowerdir=/a\\")
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	f.Fuzz(func(t *testing.T, options string) {
		upper, lower := overlayDirs(strings.Split(options, "\n"))
		if len(lower) > maxLayers {
			t.Errorf("%d directories", len(lower))
		}
		again := []string{"upperdir=" + escape.Replace(upper)}
		var dirs []string
		for i, dir := range append([]string{upper}, lower...) {
			if i == 0 && dir == "" {
				continue
			}
			if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || len(dir) > maxDir || strings.Contains(dir, "\x00") {
				t.Errorf("%q", dir)
			}
			if i > 0 {
				dirs = append(dirs, escape.Replace(dir))
			}
		}
		again = append(again, "lowerdir="+strings.Join(dirs, ":"))
		if u, l := overlayDirs(again); u != upper || !slices.Equal(l, lower) {
			t.Errorf("%q, %q from %q, and %q, %q from %q", upper, lower, options, u, l, again)
		}
	})
}
