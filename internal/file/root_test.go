package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newRoot makes a directory with a root in it, and beside the root a file that
// nothing in the root may reach.
func newRoot(t *testing.T) (*Root, string) {
	t.Helper()
	outer := t.TempDir()
	dir := filepath.Join(outer, "root")
	put(t, filepath.Join(outer, "secret"), "outside")
	put(t, filepath.Join(dir, "usr/lib/libone.so"), "inside")
	return openRoot(t, dir), dir
}

func openRoot(t *testing.T, dir string) *Root {
	t.Helper()
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestRootReadFile(t *testing.T) {
	r, dir := newRoot(t)
	outer := filepath.Dir(dir)
	put(t, filepath.Join(dir, "secret"), "decoy") // where an escape by ".." must end
	put(t, filepath.Join(dir, "a b\nc\t\x1b[31m\xff (deleted)"), "odd name")
	link(t, "usr/lib", filepath.Join(dir, "lib"))
	link(t, "/usr/lib/libone.so", filepath.Join(dir, "etc/absolute"))
	link(t, filepath.Join(outer, "secret"), filepath.Join(dir, "etc/escape-absolute"))
	link(t, "../../../../../secret", filepath.Join(dir, "etc/escape-dots"))
	link(t, "..", filepath.Join(dir, "up"))
	link(t, "loop2", filepath.Join(dir, "loop1"))
	link(t, "loop1", filepath.Join(dir, "loop2"))
	link(t, "nowhere", filepath.Join(dir, "dangling"))
	tests := []struct {
		name, text string
		err        error
	}{
		{"/usr/lib/libone.so", "inside", nil},
		{"usr/lib/libone.so", "inside", nil},
		{"//usr/./lib//libone.so", "inside", nil},
		{"/lib/libone.so", "inside", nil},
		{"/etc/absolute", "inside", nil},
		{"/a b\nc\t\x1b[31m\xff (deleted)", "odd name", nil},
		{"/etc/escape-absolute", "", unix.ENOENT},
		{"/etc/escape-dots", "decoy", nil},
		{"/../secret", "decoy", nil},
		{"../secret", "decoy", nil},
		{"/up/secret", "decoy", nil},
		{"/loop1", "", unix.ELOOP},
		{"/dangling", "", unix.ENOENT},
		{"/gone", "", fs.ErrNotExist},
		{"", "", fs.ErrNotExist},
		{"/usr/lib/libone.so/x", "", unix.ENOTDIR},
		{"/usr/lib", "", ErrNotRegular},
		{"/", "", ErrNotRegular},
		{"/usr/\x00", "", unix.EINVAL},
		{"/" + strings.Repeat("x", 256), "", unix.ENAMETOOLONG},
	}
	for _, test := range tests {
		got, err := r.ReadFile(test.name, 100)
		if string(got) != test.text || !errors.Is(err, test.err) {
			t.Errorf("%q: %q, %v; want %q, %v", test.name, got, err, test.text, test.err)
		}
		if _, ok := errors.AsType[*fs.PathError](err); err != nil && !ok {
			t.Errorf("%q: error names no file: %v", test.name, err)
		}
	}
}

func TestRootReadFileLimit(t *testing.T) {
	r, dir := newRoot(t)
	for _, size := range []int{0, 1, 4095, 4096, 4097, 3 << 20} {
		put(t, filepath.Join(dir, "file"), strings.Repeat("x", size))
		if got, err := r.ReadFile("/file", int64(size)); err != nil || len(got) != size {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
		if got, err := r.ReadFile("/file", int64(size)-1); got != nil || !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes, one too many: %d, %v", size, len(got), err)
		}
	}
	put(t, filepath.Join(dir, "sparse"), "")
	if err := os.Truncate(filepath.Join(dir, "sparse"), 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadFile("/sparse", 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a sparse tebibyte: %v", err)
	}
	// Its size is 0, its content is not: the limit is for what is read.
	proc := openRoot(t, "/proc")
	if got, err := proc.ReadFile("self/maps", 1<<20); err != nil || len(got) < 100 {
		t.Errorf("maps: %d bytes, %v", len(got), err)
	}
	if _, err := proc.ReadFile("self/maps", 99); !errors.Is(err, ErrTooLarge) {
		t.Errorf("maps, limited: %v", err)
	}
}

// Nothing that has side effects when it is opened is opened.
func TestRootOpenNotRegular(t *testing.T) {
	r, dir := newRoot(t)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	link(t, "fifo", filepath.Join(dir, "to-fifo"))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	// The name of a socket is limited to 108 bytes: bind it in the directory.
	at := fmt.Sprintf("/proc/self/fd/%d/socket", r.fd)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: at}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/fifo", "/to-fifo", "/socket", "/usr"} {
		if f, err := r.Open(name); f != nil || !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	if _, err := openRoot(t, "/dev").Open("null"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("device: %v", err)
	}
}

func TestRootOpen(t *testing.T) {
	r, dir := newRoot(t)
	f, err := r.Open("/usr/lib/libone.so")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(filepath.Join(dir, "usr/lib/libone.so")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != "inside" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("the file is writable")
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v", flags, err)
	}
}

func TestRootMagicLinks(t *testing.T) {
	proc := openRoot(t, "/proc")
	if _, err := proc.Stat("self/status"); err != nil {
		t.Errorf("an ordinary link: %v", err)
	}
	for _, name := range []string{"self/exe", "self/root/etc", "self/cwd/elf.go", "self/fd/0"} {
		if _, err := proc.Open(name); !errors.Is(err, unix.ELOOP) {
			t.Errorf("Open %s: %v", name, err)
		}
		if _, err := proc.Stat(name); !errors.Is(err, unix.ELOOP) {
			t.Errorf("Stat %s: %v", name, err)
		}
	}
	if info, err := proc.Lstat("self/exe"); err != nil || !info.Symlink() {
		t.Errorf("Lstat: %+v, %v", info, err)
	}
	want, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := proc.Readlink("self/exe"); err != nil || got != want {
		t.Errorf("Readlink: %q, %v", got, err)
	}

	// Entering another view follows them.
	fd, err := unix.Open("/proc/self", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, err := OpenRootAt(fd, "root")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Stat(filepath.Join(here, "root_test.go")); err != nil {
		t.Error(err)
	}
}

func TestRootStat(t *testing.T) {
	r, dir := newRoot(t)
	link(t, "usr/lib/libone.so", filepath.Join(dir, "link"))
	want, err := StatAt(unix.AT_FDCWD, filepath.Join(dir, "usr/lib/libone.so"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := r.Stat("/link"); err != nil || info != want || !info.Regular() {
		t.Errorf("Stat: %+v, %v; want %+v", info, err, want)
	}
	if info, err := r.Lstat("/link"); err != nil || !info.Symlink() || info.ID == want.ID || info.Size != int64(len("usr/lib/libone.so")) {
		t.Errorf("Lstat: %+v, %v", info, err)
	}
	link(t, "gone", filepath.Join(dir, "dangling"))
	if _, err := r.Stat("/dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
	if info, err := r.Lstat("/dangling"); err != nil || !info.Symlink() {
		t.Errorf("Lstat: %+v, %v", info, err)
	}
	for _, name := range []string{"/gone", ""} {
		if _, err := r.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lstat %q: %v", name, err)
		}
	}
}

func TestRootReadlink(t *testing.T) {
	r, dir := newRoot(t)
	long := strings.Repeat("0123456/", 511) + "1234567"
	for _, target := range []string{"/usr/lib", "../../out of\nhere", long} {
		path := filepath.Join(dir, "link")
		link(t, target, path)
		if got, err := r.Readlink("/link"); err != nil || got != target {
			t.Errorf("%q, %v; want %q", got, err, target)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{"/usr": unix.EINVAL, "/usr/lib/libone.so": unix.EINVAL, "/gone": unix.ENOENT, "": unix.ENOENT} {
		if _, err := r.Readlink(name); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
}

func TestRootReadDir(t *testing.T) {
	r, dir := newRoot(t)
	want := []string{"a b", "c\nd"}
	for i := range 300 {
		want = append(want, fmt.Sprintf("%03d", i))
	}
	for _, name := range want {
		put(t, filepath.Join(dir, "many", name), "")
	}
	link(t, "/many", filepath.Join(dir, "link"))
	slices.Sort(want)
	for _, name := range []string{"/many", "/link"} {
		for _, limit := range []int{0, len(want), 1000} {
			got, err := r.ReadDir(name, limit)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s, limit %d: %d names, %v", name, limit, len(got), err)
			}
		}
		if got, err := r.ReadDir(name, 7); err != nil || len(got) != 7 {
			t.Errorf("%s, limit 7: %q, %v", name, got, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{0, 1} {
		if got, err := r.ReadDir("/empty", limit); err != nil || len(got) != 0 {
			t.Errorf("empty, limit %d: %q, %v", limit, got, err)
		}
	}
	if _, err := r.ReadDir("/usr/lib/libone.so", 0); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
	if _, err := r.ReadDir("/gone", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestOpenRoot(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	for name, want := range map[string]error{"file": unix.ENOTDIR, "gone": fs.ErrNotExist} {
		if _, err := OpenRoot(filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if _, err := OpenRootAt(unix.AT_FDCWD, filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("at %s: %v, want %v", name, err, want)
		}
	}
	r := openRoot(t, dir)
	if r.Name() != dir {
		t.Errorf("name %q", r.Name())
	}
}

// A root opened before its directory is renamed goes with the directory.
func TestRootMoves(t *testing.T) {
	r, dir := newRoot(t)
	if err := os.Rename(dir, dir+".moved"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.ReadFile("/usr/lib/libone.so", 100); err != nil || string(got) != "inside" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClean(t *testing.T) {
	for name, want := range map[string]string{
		"": "/", "/": "/", ".": "/", "usr/bin": "/usr/bin", "/usr//bin/": "/usr/bin",
		"/usr/./lib/../bin": "/usr/bin", "../../etc": "/etc", "/a b\n": "/a b\n",
	} {
		if got := Clean(name); got != want {
			t.Errorf("Clean(%q) = %q, want %q", name, got, want)
		}
	}
}
