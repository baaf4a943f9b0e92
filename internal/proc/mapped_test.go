package proc

import (
	"github.com/patchsensor/patchsensor/internal/snapshot"

	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// mapped maps a file executable into the test until its end, and returns its area.
func mapped(t testing.TB, f *os.File) (start, end uint64) {
	t.Helper()
	before := selfAreas(t)
	b, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	for a := range selfAreas(t) {
		if !before[a] {
			return a.Start, a.End
		}
	}
	t.Fatal("the area is not in maps")
	return 0, 0
}

func selfAreas(t testing.TB) map[Area]bool {
	t.Helper()
	areas := make(map[Area]bool)
	if err := open(t, os.Getpid()).TextMaps(func(a Area) { areas[a] = true }); err != nil {
		t.Fatal(err)
	}
	return areas
}

func TestMappedFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "code\n(deleted)")
	if err := os.WriteFile(name, []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := file.StatFD(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	start, end := mapped(t, f)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("new"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := open(t, os.Getpid())
	if got, err := p.NameOf(snapshot.Mapping{Start: start, End: end}); got != name+" (deleted)" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	info, err := p.StatOf(snapshot.Mapping{Start: start, End: end})
	if os.Geteuid() != 0 {
		if err != nil && !errors.Is(err, os.ErrPermission) {
			t.Error(err)
		}
		return
	}
	if err != nil || info.ID != want.ID || info.Nlink != 0 {
		t.Errorf("%+v, %v; want %+v", info, err, want)
	}
	m, err := p.OpenOf(snapshot.Mapping{Start: start, End: end})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if b, err := io.ReadAll(m); string(b) != "old" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := p.StatOf(snapshot.Mapping{Start: start, End: end + 1}); err == nil {
		t.Error("another area answers")
	}
}

// A path may be longer than any system call takes. The area is listed without it
// and those after it are too.
func TestMappedLongPath(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // 5,000 bytes, in single steps
		step := strings.Repeat("d", 250)
		if err := unix.Mkdirat(fd, step, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, step, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	long, err := unix.Openat(fd, "code", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	f := os.NewFile(uintptr(long), "code")
	defer f.Close()
	info, err := file.StatFD(long)
	if err != nil {
		t.Fatal(err)
	}
	start, end := mapped(t, f)
	p := open(t, os.Getpid())
	for name, list := range map[string]func(func(Area)) error{"maps": p.TextMaps, "procmap": p.QueryMaps} {
		var got []Area
		err := list(func(a Area) { got = append(got, a) })
		if name == "procmap" && errors.Is(err, ErrNoQuery) && !hasQuery() {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := false
		for _, a := range got {
			if a.Start == start && a.End == end {
				found = a.Path == "" && a.Inode == info.ID.Ino
			} else if a.Path == "" {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if !found || len(got) != len(selfAreas(t)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestBuildID(t *testing.T) {
	cmd := sleeper(t)
	p := open(t, cmd.Process.Pid)
	compared := 0
	if err := p.TextMaps(func(a Area) {
		got, err := p.BuildID(a.Start)
		if errors.Is(err, ErrNoQuery) && !hasQuery() {
			return
		}
		f, err2 := os.Open(a.Path)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		elf, err := file.ReadELF(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		compared++
		if hex.EncodeToString(got) != elf.BuildID {
			t.Errorf("%s: %x; want %x", a.Path, got, elf.BuildID)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if compared == 0 && hasQuery() {
		t.Error("nothing was compared")
	}
}

// TestRelocatedBytesLive truncates a library under a process, as an update in
// place does.
func TestRelocatedBytesLive(t *testing.T) {
	// A library of the C library's own, which the program does not use.
	var libm string
	if err := open(t, sleeper(t).Process.Pid).TextMaps(func(a Area) {
		if strings.HasPrefix(filepath.Base(a.Path), "libc.") {
			libm = filepath.Join(filepath.Dir(a.Path), "libm.so.6")
		}
	}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(libm)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "libm.so.6")
	if err := os.WriteFile(name, b, 0o755); err != nil {
		t.Fatal(err)
	}
	p := open(t, sleeper(t, "LD_PRELOAD="+name).Process.Pid)
	var at uint64
	if err := p.TextMaps(func(a Area) {
		if a.Path == name {
			at = a.Start
		}
	}); err != nil || at == 0 {
		t.Fatalf("%s is not mapped: %v", name, err)
	}
	if n, ok, err := relocatedBytes(p, at); n == 0 || !ok || err != nil {
		t.Errorf("before: %d, %t, %v", n, ok, err)
	}
	if err := os.WriteFile(name, b, 0o755); err != nil { // truncates first
		t.Fatal(err)
	}
	if n, ok, err := relocatedBytes(p, at); n != 0 || !ok || err != nil {
		t.Errorf("after: %d, %t, %v", n, ok, err)
	}
}
