package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

type f = [2]string

// Each case is also held against a real overlay.
func TestMerge(t *testing.T) {
	needRoot(t)
	const opaque, redirect = "trusted.overlay.opaque=y", "trusted.overlay.redirect="
	tests := []struct {
		title  string
		layers [][]f // topmost first
		name   string
		text   string // of the file; with err it does not count
		index  int
		err    error
	}{
		{"topmost", [][]f{{{"a", "0"}}, {{"a", "1"}}}, "/a", "0", 0, nil},
		{"below", [][]f{{{"d/b", "0"}}, {{"d/a", "1"}}}, "/d/a", "1", 1, nil},
		{"whiteout", [][]f{{{"a", "whiteout"}}, {{"a", "1"}}}, "/a", "", 0, unix.ENOENT},
		{"whiteout in between", [][]f{{{"b", "0"}}, {{"a", "whiteout"}}, {{"a", "1"}}}, "/a", "", 0, unix.ENOENT},
		{"whiteout of a directory", [][]f{{{"d", "whiteout"}}, {{"d/a", "1"}}}, "/d/a", "", 0, unix.ENOENT},
		{"directory over a file over a directory", [][]f{{{"d/b", "0"}}, {{"d", "1"}}, {{"d/a", "2"}}}, "/d/a", "", 0, unix.ENOENT},
		{"directory over a whiteout", [][]f{{{"d/b", "0"}}, {{"d", "whiteout"}}, {{"d/a", "2"}}}, "/d/a", "", 0, unix.ENOENT},
		{"opaque", [][]f{{{"d/", opaque}, {"d/b", "0"}}, {{"d/a", "1"}}}, "/d/a", "", 0, unix.ENOENT},
		{"opaque, itself", [][]f{{{"d/", opaque}, {"d/b", "0"}}, {{"d/b", "1"}}}, "/d/b", "0", 0, nil},
		{"opaque root is not", [][]f{{{"./", opaque}, {"b", "0"}}, {{"a", "1"}}}, "/a", "1", 1, nil},
		{"link over a directory", [][]f{{{"d", "-> e"}}, {{"d/a", "1"}, {"e/a", "2"}}}, "/d/a", "2", 1, nil},
		{"link to another layer", [][]f{{{"lib", "-> usr/lib"}}, {{"usr/lib/b", "1"}}, {{"usr/lib/a", "2"}}}, "/lib/a", "2", 2, nil},
		{"absolute link", [][]f{{{"x/l", "-> /d"}}, {{"d/a", "1"}}}, "/x/l/a", "1", 1, nil},
		{"up and out", [][]f{{{"x/l", "-> ../../../../d"}}, {{"d/a", "1"}}}, "/x/l/a", "1", 1, nil},
		{"loop", [][]f{{{"l", "-> m"}}, {{"m", "-> l"}}}, "/l", "", 0, unix.ELOOP},
		{"dangling", [][]f{{{"l", "-> m"}}, {{"b", ""}}}, "/l", "", 0, unix.ENOENT},
		{"file as directory", [][]f{{{"a", "0"}}, {{"a/b", "1"}}}, "/a/b", "", 0, unix.ENOTDIR},
		{"relative redirect", [][]f{{{"n/", redirect + "o"}}, {{"o/a", "1"}}}, "/n/a", "1", 1, nil},
		{"absolute redirect", [][]f{{{"x/n/", redirect + "/y/o"}}, {{"y/b", "1"}}, {{"y/o/a", "2"}}}, "/x/n/a", "2", 2, nil},
		{"redirect in an opaque directory", [][]f{{{"x/", opaque}, {"x/n/", redirect + "/y"}}, {{"x/c", ""}, {"y/a", "1"}}}, "/x/n/a", "1", 1, nil},
		{"redirect of a redirect", [][]f{{{"x/n/", redirect + "/y/o"}}, {{"y/", redirect + "z"}, {"y/b", ""}}, {{"z/o/a", "2"}}}, "/x/n/a", "2", 2, nil},
		{"redirect below an opaque directory that was redirected to", [][]f{{{"x/n/", redirect + "/y/o"}}, {{"y/", opaque}, {"y/o/", redirect + "/z"}}, {{"z/a", "2"}, {"y/o/a", "3"}}}, "/x/n/a", "2", 2, nil},
		{"redirect from the middle", [][]f{{{"x/b", ""}}, {{"x/", redirect + "/y"}}, {{"y/a", "2"}, {"x/a", "3"}}}, "/x/a", "2", 2, nil},
		{"redirect to a link", [][]f{{{"n/", redirect + "/l/o"}}, {{"l", "-> y"}, {"y/o/a", "1"}}}, "/n/a", "", 0, unix.ENOENT},
		{"whiteout by attribute", [][]f{{{"d/a", ""}, {"d/", "trusted.overlay.opaque=x"}}, {{"d/a", "1"}}}, "/d/a", "", 0, unix.ENOENT},
		{"too long", [][]f{{{"a", "0"}}}, "/" + strings.Repeat("x", 256), "", 0, unix.ENAMETOOLONG},
	}
	for _, test := range tests {
		t.Run(test.title, func(t *testing.T) {
			var dirs []string
			for _, files := range test.layers {
				dirs = append(dirs, tree(t, files...))
			}
			if test.title == "whiteout by attribute" {
				must(t, unix.Setxattr(filepath.Join(dirs[0], "d/a"), "trusted.overlay.whiteout", []byte("y"), 0))
			}
			s := newStack(t, "", dirs...)
			where, info, err := s.Find(test.name)
			if !errors.Is(err, test.err) || err == nil && (where != Where{Index: test.index} || !info.Regular()) {
				t.Errorf("%+v, %+v, %v; want %d, %v", where, info, err, test.index, test.err)
			}
			got, err := s.ReadFile(test.name, 100)
			if string(got) != test.text || !errors.Is(err, test.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, test.text, test.err)
			}
			if len(dirs) == 1 {
				return // no overlay
			}
			real, err := file.OpenRoot(overlay(t, "redirect_dir=on", "", dirs))
			must(t, err)
			defer real.Close()
			want, err := real.ReadFile(test.name, 100)
			if string(got) != string(want) || !errors.Is(err, test.err) {
				t.Errorf("the overlay has %q, %v", want, err)
			}
		})
	}
}

// What may or may not count is not known, and never another directory's file.
func TestNotKnown(t *testing.T) {
	needRoot(t)
	mark := func(dir, name, key, value string) {
		must(t, unix.Setxattr(filepath.Join(dir, name), key, []byte(value), 0))
	}
	for _, test := range []struct{ key, value string }{
		{"user.overlay.opaque", "y"}, {"user.overlay.redirect", "/x"}, {"trusted.overlay.redirect", "a/b"},
		{"trusted.overlay.redirect", "/a/../.."}, {"trusted.overlay.redirect", ".."}, {"trusted.overlay.redirect", ""},
		{"trusted.overlay.redirect", "/" + strings.Repeat("x", 3000)},
	} {
		upper, lower := tree(t, f{"d/b", "0"}), tree(t, f{"d/a", "1"}, f{"x/a", "2"})
		mark(upper, "d", test.key, test.value)
		s := newStack(t, upper, lower)
		where, info, err := s.Find("/d/a")
		if len(test.value) > 2000 { // valid, and leads nowhere
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("long: %+v, %v", where, err)
			}
			continue
		}
		if !errors.Is(err, ErrNotKnown) || where != (Where{}) || !info.Regular() {
			t.Errorf("%s=%s: %+v, %+v, %v", test.key, test.value, where, info, err)
		}
		if !s.Is(where, "/d/a", layerID(info)) || s.Is(Where{Upper: true}, "/d/a", layerID(info)) {
			t.Errorf("%s=%s: Is", test.key, test.value)
		}
		if w, ok := s.Holder("/d/a", layerID(info)); !ok || w != where {
			t.Errorf("%s=%s: held by %+v, %v", test.key, test.value, w, ok)
		}
		for _, name := range []string{"/d/a", "/d/none", "/d/a/.."} {
			if _, err := s.Stat(name); !errors.Is(err, ErrNotKnown) {
				t.Errorf("%s=%s: %s: %v", test.key, test.value, name, err)
			}
		}
		if _, err := s.ReadDir("/d", 0); !errors.Is(err, ErrNotKnown) {
			t.Errorf("%s=%s: names: %v", test.key, test.value, err)
		}
		// What stands above the doubt is certain.
		if where, _, err := s.Find("/d/b"); err != nil || !where.Upper {
			t.Errorf("%s=%s: %+v, %v", test.key, test.value, where, err)
		}
	}

	// A mount inside a directory is not what the overlay sees.
	lower := tree(t, f{"m/", ""}, f{"b", "1"})
	must(t, unix.Mount("none", filepath.Join(lower, "m"), "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(lower, "m"), unix.MNT_DETACH) })
	s := newStack(t, "", lower)
	if _, err := s.Stat("/m"); !errors.Is(err, ErrNotKnown) {
		t.Errorf("mount: %v", err)
	}
	// Metadata with data nowhere.
	upper := tree(t, f{"a", ""})
	must(t, os.Truncate(filepath.Join(upper, "a"), 5))
	mark(upper, "a", "trusted.overlay.metacopy", "")
	s = newStack(t, upper, lower)
	if _, err := s.Open("/a"); !errors.Is(err, ErrNotKnown) {
		t.Errorf("no data: %v", err)
	}
}

func TestHolderOfReplaced(t *testing.T) {
	needRoot(t)
	lower := tree(t, f{"usr/lib/a", "old"}, f{"lib", "-> usr/lib"})
	upper := tree(t, f{"usr/lib/b", ""})
	s := newStack(t, upper, lower)
	_, mapped, err := s.Find("/lib/a")
	must(t, err)
	for _, now := range []string{"new", "whiteout"} {
		name := filepath.Join(upper, "usr/lib/a")
		os.Remove(name)
		if now == "whiteout" {
			must(t, unix.Mknod(name, unix.S_IFCHR, 0))
		} else {
			must(t, os.WriteFile(name, []byte(now), 0o644))
		}
		if w, ok := s.Holder("/lib/a", layerID(mapped)); !ok || w != (Where{}) {
			t.Errorf("%s: held by %+v, %v", now, w, ok)
		}
	}
	if s.Is(Where{}, "/lib/a", mapped.ID) {
		t.Error("identities of two views were compared")
	}
	other := layerID(mapped)
	other.Dev++
	if _, ok := s.Holder("/lib/a", other); ok {
		t.Error("another device")
	}
	for _, w := range []Where{{Index: -1}, {Index: 1}, {Upper: true, Index: 1}} {
		if s.Is(w, "/lib/a", layerID(mapped)) || s.Dir(w) != "" {
			t.Errorf("%+v is no directory", w)
		}
	}
}

func TestOpenStack(t *testing.T) {
	dir := shortTemp(t)
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	must(t, os.Symlink("/d", filepath.Join(dir, "link")))
	r, err := file.OpenRoot(dir)
	must(t, err)
	defer r.Close()
	for _, test := range []struct {
		upper string
		lower []string
		err   error
	}{
		{"/d", []string{"/d"}, nil},
		{"", []string{"/link"}, nil}, // inside of the root
		{"", []string{"/../d"}, nil},
		{"", nil, ErrNoStack},
		{"", []string{"d"}, ErrNoStack},
		{"", []string{""}, ErrNoStack},
		{"", []string{"/d\x00"}, ErrNoStack},
		{"", slices.Repeat([]string{"/d"}, 500), nil},
		{"/d", slices.Repeat([]string{"/d"}, 501), ErrNoStack},
		{"/d", []string{"/gone"}, fs.ErrNotExist},
		{"/file", []string{"/d"}, unix.ENOTDIR},
	} {
		before := descriptors(t)
		s, err := Open(r, test.upper, test.lower)
		if !errors.Is(err, test.err) {
			t.Errorf("%q, %d: %v, want %v", test.upper, len(test.lower), err, test.err)
		}
		if err == nil {
			if s.Lowers() != len(test.lower) {
				t.Errorf("%d lowers, want %d", s.Lowers(), len(test.lower))
			}
			must(t, s.Close())
			if _, err := s.Stat("/"); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		}
		if after := descriptors(t); after != before {
			t.Errorf("%q: %d descriptors, were %d", test.upper, after, before)
		}
	}
	// Another process's view, entered by its root.
	view, err := file.OpenRoot("/proc/self/root")
	must(t, err)
	defer view.Close()
	s, err := Open(view, "", []string{filepath.Join(dir, "d")})
	must(t, err)
	must(t, s.Close())
	r.Avoid([]string{"/d"})
	if _, err := Open(r, "", []string{"/d"}); !errors.Is(err, file.ErrAvoided) {
		t.Errorf("avoided: %v", err)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}

func TestHostile(t *testing.T) {
	needRoot(t)
	lower := tree(t, f{"fifo", "fifo"}, f{"d/x", ""}, f{"huge", ""}, f{"out", "-> /etc/passwd"}, f{"up", "-> ../../../../etc/passwd"},
		f{"many", "-> " + strings.Repeat("d/../", 800)})
	must(t, unix.Mknod(filepath.Join(lower, "zero"), unix.S_IFCHR, int(unix.Mkdev(1, 5))))
	must(t, os.Truncate(filepath.Join(lower, "huge"), 10<<30))
	for i := range 60 {
		must(t, os.Symlink(fmt.Sprintf("l%d", i+1), filepath.Join(lower, fmt.Sprintf("l%d", i))))
	}
	must(t, os.Symlink("d/x", filepath.Join(lower, "l60")))
	deep(t, lower, 10000)
	upper := tree(t, f{"d/y", ""})
	s := newStack(t, upper, lower)
	before := descriptors(t)
	for name, want := range map[string]error{
		"/fifo": file.ErrNotRegular, "/zero": file.ErrNotRegular, "/d": file.ErrNotRegular, "/out": fs.ErrNotExist, "/up": fs.ErrNotExist,
		"/huge": file.ErrTooLarge, "/l0": unix.ELOOP, "/l21": nil, "/many": file.ErrNotRegular,
		strings.Repeat("/n", 2000) + "/x": fs.ErrNotExist, strings.Repeat("/n", 3000): unix.ENAMETOOLONG, "/a\x00": unix.EINVAL, "": fs.ErrNotExist,
	} {
		_, err := s.ReadFile(name, 1<<20)
		if !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", name, err, want)
		}
	}
	f, info, err := s.OpenFile("/huge")
	if err != nil || info.Size != 10<<30 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("the file is writable")
	}
	f.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, were %d", after, before)
	}
}

// deep makes a tree of n directories, each in the one before.
func deep(t *testing.T, dir string, n int) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range n {
		must(t, unix.Mkdirat(at, "n", 0o755))
		next, err := unix.Openat(at, "n", unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
}

func TestReadDirBounds(t *testing.T) {
	needRoot(t)
	var top, low []f
	for i := range 300 {
		top = append(top, f{fmt.Sprintf("d/t%d", i), "whiteout"})
		low = append(low, f{fmt.Sprintf("d/t%d", i), ""}, f{fmt.Sprintf("d/s%d", i), ""})
	}
	s := newStack(t, tree(t, top...), tree(t, low...))
	for limit, want := range map[int]int{0: 300, 7: 7, 1000: 300} {
		if names, err := s.ReadDir("/d", limit); err != nil || len(names) != want {
			t.Errorf("limit %d: %d names, %v", limit, len(names), err)
		}
	}
	if _, err := s.ReadDir("/d/s1", 0); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
}

// While a directory is exchanged for a link to the outside, nothing outside is read.
func TestChanging(t *testing.T) {
	needRoot(t)
	secret := shortTemp(t)
	must(t, os.WriteFile(filepath.Join(secret, "a"), []byte("secret"), 0o644))
	upper, lower := tree(t, f{"d/a", "inside"}, f{"d/x", ""}), tree(t, f{"d/b", "low"})
	must(t, os.Symlink(secret, filepath.Join(upper, "e")))
	s := newStack(t, upper, lower)
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(upper, "d"), unix.AT_FDCWD, filepath.Join(upper, "e"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 5000 {
		if got, err := s.ReadFile("/d/a", 100); err == nil && string(got) != "inside" {
			t.Errorf("%q", got)
		}
		_, _ = s.ReadDir("/d", 0)
	}
	close(stop)
	<-done
}

func TestIndexOf(t *testing.T) {
	tests := []struct {
		where          Where
		lowers, layers int
		want           int
		ok             bool
	}{
		{Where{Index: 0}, 3, 3, 2, true},
		{Where{Index: 2}, 3, 3, 0, true},
		{Where{Index: 0}, 4, 3, 3, false}, // Docker's own
		{Where{Index: 1}, 4, 3, 2, true},
		{Where{Upper: true}, 3, 3, 0, false},
		{Where{Index: 3}, 3, 3, 0, false},
		{Where{Index: -1}, 3, 3, 0, false},
		{Where{Index: 0}, 5, 3, 0, false},
		{Where{Index: 0}, 2, 3, 0, false},
		{Where{}, 0, 0, 0, false},
	}
	for _, test := range tests {
		if got, ok := IndexOf(test.where, test.lowers, test.layers); ok != test.ok || ok && got != test.want {
			t.Errorf("%+v: %d, %v", test, got, ok)
		}
	}
}

func TestKey(t *testing.T) {
	image := []string{"/o/b/diff", "/o/a/diff"}
	key := Key("/o/c/diff", image)
	if key == "" || key != Key("/o/x/diff", append([]string{"/o/x-init/diff"}, image...)) {
		t.Error("containers of one image differ")
	}
	for _, other := range [][]string{{"/o/a/diff", "/o/b/diff"}, {"/o/b/diff"}, {"/o/b/diff/o/a/diff"}, {"/o/b/diff", "/o/a-init/diff", "/o/a/diff"}} {
		if Key("/o/c/diff", other) == key {
			t.Errorf("%q: the same", other)
		}
	}
	for _, none := range [][]string{nil, {"/o/x-init/diff"}} {
		if Key("/o/c/diff", none) != "" {
			t.Errorf("%q: known", none)
		}
	}
}

// FuzzFind holds that whatever the name, what is found is in one of the directories,
// and as an overlay would resolve the name where that is simple to tell.
func FuzzFind(fz *testing.F) {
	needRoot(fz)
	upper := tree(fz, f{"d/a", "in"}, f{"w", "whiteout"}, f{"od", "whiteout"}, f{"r/", "trusted.overlay.redirect=/od"}, f{"l", "-> /d/../../x"}, f{"o/", "trusted.overlay.opaque=y"})
	lower := tree(fz, f{"d/b", "in"}, f{"od/b", "in"}, f{"w/x", "in"}, f{"x/l", "-> ../l"}, f{"o/p", "in"}, f{"e", "-> /etc"}, f{"q", "fifo"}, f{"x/y/z", "in"})
	s := newStack(fz, upper, lower)
	real, err := file.OpenRoot(overlay(fz, "redirect_dir=on", upper, []string{lower}))
	must(fz, err)
	defer real.Close()
	for _, name := range []string{"/d/a", "d/b", "/l/y/z", "/x/l", "/../e/passwd", "/w/x", "/r/b", "//o/./p", "/q", "/x/l/../d", "", "\x00", "/d/a/"} {
		fz.Add(name)
	}
	fz.Fuzz(func(t *testing.T, name string) {
		got, err := s.ReadFile(name, 10)
		want, wantErr := real.ReadFile(name, 10)
		if class(err) != class(wantErr) || !bytes.Equal(got, want) {
			t.Errorf("%q, %v; the overlay has %q, %v", got, err, want, wantErr)
		}
		if err == nil && string(got) != "in" {
			t.Errorf("%q is in no directory", got)
		}
		where, info, err := s.Find(name)
		if err != nil {
			return
		}
		at, err := s.Canonical(name)
		must(t, err)
		if !strings.HasPrefix(at, "/r") {
			st, err := file.StatAt(unix.AT_FDCWD, filepath.Join(s.Dir(where), at))
			if !info.Symlink() && (err != nil || st.ID != info.ID) {
				t.Errorf("%s is not in %s: %v", at, s.Dir(where), err)
			}
		}
	})
}

func BenchmarkFind20(b *testing.B) {
	needRoot(b)
	var lower []string
	for i := range 20 {
		lower = append(lower, tree(b, f{fmt.Sprintf("usr/lib/x86_64-linux-gnu/lib%d.so", i), "x"}, f{"lib", "-> usr/lib"}))
	}
	s := newStack(b, "", lower...)
	for _, name := range []string{"/lib/x86_64-linux-gnu/lib19.so", "/usr/lib/x86_64-linux-gnu/lib0.so"} {
		b.Run(filepath.Base(name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Find(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	_, info, err := s.Find("/lib/x86_64-linux-gnu/lib19.so")
	must(b, err)
	b.Run("holder", func(b *testing.B) {
		for b.Loop() {
			if _, ok := s.Holder("/lib/x86_64-linux-gnu/lib19.so", layerID(info)); !ok {
				b.Fatal("not held")
			}
		}
	})
}
