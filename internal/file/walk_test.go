package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCanonical(t *testing.T) {
	r, dir := newRoot(t)
	outer := filepath.Dir(dir)
	put(t, filepath.Join(dir, "opt/a b\n (deleted)"), "odd")
	put(t, filepath.Join(dir, "secret"), "decoy")
	link(t, "usr/lib", filepath.Join(dir, "lib"))
	link(t, "/lib/libone.so", filepath.Join(dir, "etc/alternatives/one"))
	link(t, "../etc/alternatives/one", filepath.Join(dir, "bin/one"))
	link(t, "../../../../secret", filepath.Join(dir, "etc/escape-dots"))
	link(t, filepath.Join(outer, "secret"), filepath.Join(dir, "etc/escape-absolute"))
	link(t, "loop2", filepath.Join(dir, "loop1"))
	link(t, "loop1", filepath.Join(dir, "loop2"))
	link(t, "/", filepath.Join(dir, "usr/self"))
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	roots := map[string]*Root{"opened": r}
	link(t, dir, filepath.Join(outer, "link"))
	roots["opened by a symbolic link"] = openRoot(t, filepath.Join(outer, "link"))
	moved := filepath.Join(outer, "moved root (deleted)")
	roots["opened by a magic link"] = openRoot(t, "/proc/self/fd/"+strconv.Itoa(r.fd))
	tests := []struct {
		name, want string
		err        error
	}{
		{"/usr/lib/libone.so", "/usr/lib/libone.so", nil},
		{"usr/lib/libone.so", "/usr/lib/libone.so", nil},
		{"//usr/./lib//../lib/libone.so", "/usr/lib/libone.so", nil},
		{"/lib/libone.so", "/usr/lib/libone.so", nil},
		{"/bin/one", "/usr/lib/libone.so", nil},
		{"/usr/self/usr/self/bin/one", "/usr/lib/libone.so", nil},
		{"/lib", "/usr/lib", nil},
		{"/lib/..", "/usr", nil},
		{"/", "/", nil},
		{"/../..", "/", nil},
		{"/usr/self", "/", nil},
		{"/opt/a b\n (deleted)", "/opt/a b\n (deleted)", nil},
		{"/etc/escape-dots", "/secret", nil},
		{"/fifo", "/fifo", nil}, // looked at, not opened
		{"/etc/escape-absolute", "", fs.ErrNotExist},
		{"/gone", "", fs.ErrNotExist},
		{"/loop1", "", unix.ELOOP},
		{"", "", fs.ErrNotExist},
		{"/usr/lib/libone.so/", "", unix.ENOTDIR},
	}
	check := func(how string, r *Root) {
		for _, test := range tests {
			got, err := r.Canonical(test.name)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("%s, %q: %q, %v; want %q, %v", how, test.name, got, err, test.want, test.err)
			}
		}
	}
	for how, r := range roots {
		check(how, r)
	}
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	check("moved since", r)
}

// In the root of all the canonical name is that of realpath(3).
func TestCanonicalHost(t *testing.T) {
	r := openRoot(t, "/")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/", "/bin/sh", "/usr/bin/env", self} {
		want, err := filepath.EvalSymlinks(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Canonical(name); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

// linkLater makes a symbolic link whose ctime is later than that of any other
// one made so, whatever the granularity of the file system's clock.
func linkLater(t *testing.T, latest *time.Time, target, path string) time.Time {
	t.Helper()
	link(t, target, path)
	for {
		ctime, err := ctimeOf(path)
		if err != nil {
			t.Fatal(err)
		}
		if ctime.After(*latest) {
			*latest = ctime
			return ctime
		}
		if err := os.Lchown(path, os.Getuid(), os.Getgid()); err != nil {
			t.Fatal(err)
		}
	}
}

// ctimeOf is the ctime of path itself.
func ctimeOf(path string) (time.Time, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return time.Unix(st.Ctim.Unix()), err
}

func TestTops(t *testing.T) {
	r, dir := newRoot(t)
	put(t, filepath.Join(dir, "usr/lib/x/libone.so"), "1")
	for _, l := range [][2]string{{"usr/lib", "lib"}, {"/etc/choice", "usr/lib/chosen"}, {"../lib/x", "etc/choice"}, {"/", "up"}} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, l[1])), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(l[0], filepath.Join(dir, l[1])); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ name, tops, end string }{
		{"/usr/lib/x/libone.so", "[usr]", "/usr/lib/x/libone.so"},
		{"lib/x/libone.so", "[lib usr]", "/usr/lib/x/libone.so"},
		{"/lib/chosen/libone.so", "[etc lib usr]", "/usr/lib/x/libone.so"},
		{"/up/lib/../../usr/./lib", "[lib up usr]", "/usr/lib"},
		{"/gone/x", "[gone]", "/gone/x"},
		{"/", "[]", "/"},
	} {
		tops, end, err := r.Tops(test.name)
		if fmt.Sprint(tops) != test.tops || end != test.end || err != nil {
			t.Errorf("Tops(%q) = %v, %q, %v", test.name, tops, end, err)
		}
	}
}

func TestLinksChanged(t *testing.T) {
	r, dir := newRoot(t)
	var latest time.Time
	changed := make(map[string]time.Time)
	put(t, filepath.Join(dir, "opt/app-1/bin/run"), "1")
	for _, l := range [][2]string{ // in this order
		{"usr/lib", "lib"},
		{"/lib/libone.so", "etc/early"},
		{"app-1", "opt/app"},
		{"../opt/app/bin", "srv/bin"},
		{"early", "etc/late"},
		{"/", "up"},
		{"../../../opt/app", "etc/dots"},
		{"gone/x", "etc/dangling"},
		{"loop2", "loop1"},
		{"loop1", "loop2"},
		{"/later/x", "sub/absolute"},
		{"usr", "later"},
		{"nothing leads here", "etc/unused"},
	} {
		changed[l[1]] = linkLater(t, &latest, l[0], filepath.Join(dir, l[1]))
	}
	// One more link than a resolution may have.
	put(t, filepath.Join(dir, "chain/0"), "end")
	for n := maxLinks + 1; n > 0; n-- {
		name := filepath.Join("chain", strconv.Itoa(n))
		changed[name] = linkLater(t, &latest, strconv.Itoa(n-1), filepath.Join(dir, name))
	}
	tests := []struct {
		name, want string // the link that changed last; empty for none
	}{
		{"/usr/lib/libone.so", ""},
		{"/lib/libone.so", "lib"},
		{"lib/libone.so", "lib"},
		{"//lib/./libone.so", "lib"},
		{"/lib", "lib"},
		{"/etc/early", "etc/early"},
		{"/etc/late", "etc/late"}, // by way of early and lib
		{"/opt/app/bin/run", "opt/app"},
		{"/opt/app-1/bin/run", ""},
		{"/srv/bin/run", "srv/bin"},                 // and opt/app, which is older
		{"/srv/bin/../../app-1/bin/run", "srv/bin"}, // ".." of where the link leads
		{"/lib/../../up/opt/app/bin/run", "up"},
		{"/etc/dots/bin/run", "etc/dots"},
		{"/../../lib/libone.so", "lib"},
		{"/etc/dangling", "etc/dangling"},
		{"/lib/gone/x", "lib"},
		{"/gone/lib", ""},
		{"/lib/libone.so/x", "lib"},
		{"/loop1/x", "loop2"},
		{"/sub/absolute", "later"},
		{"/chain/40", "chain/1"},
		{"/chain/41", "chain/2"},
		{"/", ""},
		{"", ""},
		{"/" + strings.Repeat("x", 300), ""},
	}
	for _, test := range tests {
		if got := r.LinksChanged(test.name); !got.Equal(changed[test.want]) {
			by := "nothing known"
			for name, when := range changed {
				if when.Equal(got) {
					by = name
				}
			}
			t.Errorf("%q: %v (%s); want %v (%s)", test.name, got, by, changed[test.want], test.want)
		}
	}
}

func TestFSType(t *testing.T) {
	r, dir := newRoot(t)
	link(t, "usr/lib/libone.so", filepath.Join(dir, "link"))
	link(t, "/proc/self/stat", filepath.Join(dir, "outside"))
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	var want unix.Statfs_t
	if err := unix.Statfs(dir, &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/", "/usr/lib/libone.so", "/link", "/fifo"} {
		if got, err := r.FSType(name); got != int64(want.Type) || err != nil {
			t.Errorf("%s: %#x, %v; want %#x", name, got, err, want.Type)
		}
	}
	for _, name := range []string{"/gone", "/outside", ""} {
		if _, err := r.FSType(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if got, err := openRoot(t, "/").FSType("/proc/self/stat"); got != unix.PROC_SUPER_MAGIC || err != nil {
		t.Errorf("%#x, %v", got, err)
	}
}
