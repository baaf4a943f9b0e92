package apk

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// lockEnv names the file that the test binary, run again, is to lock.
const lockEnv = "APK_TEST_LOCK"

func TestMain(m *testing.M) {
	if name := os.Getenv(lockEnv); name != "" {
		os.Exit(holdLock(name))
	}
	os.Exit(m.Run())
}

// holdLock locks a file as apk does (src/database.c, apk_db_open) and holds it
// until standard input ends.
func holdLock(name string) int {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return 2
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return 3
	}
	os.Stdout.WriteString("locked\n")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// lockByChild has a child process lock a file and returns what ends it.
func lockByChild(t *testing.T, name string) (release func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{lockEnv + "=" + name}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("child that locks: %v", err)
		}
	}
	if line, err := io.ReadAll(io.LimitReader(stdout, int64(len("locked\n")))); string(line) != "locked\n" {
		release()
		t.Fatalf("child that locks said %q, %v", line, err)
	}
	return release
}

func busy(t *testing.T, root *file.Root, want bool) {
	t.Helper()
	if got, err := Busy(root); got != want || err != nil {
		t.Errorf("busy %v, %v, want %v", got, err, want)
	}
}

func TestBusy(t *testing.T) {
	for _, n := range lockFiles {
		t.Run(n, func(t *testing.T) {
			dir := t.TempDir()
			root := openRoot(t, dir)
			busy(t, root, false) // there is not even a database
			for _, p := range places {
				write(t, dir, p, "")
			}
			busy(t, root, false)
			release := lockByChild(t, filepath.Join(dir, n))
			busy(t, root, true)
			release()
			busy(t, root, false)
		})
	}
}

// TestBusyOverlay: the lock of a container is seen, of whose file stat(2) and the
// kernel's list name different devices.
func TestBusyOverlay(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"lower", "upper", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount := func(kind, name, options string) {
		t.Helper()
		name = filepath.Join(dir, name)
		err := unix.Mount(kind, name, kind, 0, options)
		if errors.Is(err, unix.EPERM) {
			t.Skip("SKIPPED, NOT TESTED: file systems can be mounted by root only")
		}
		if err != nil {
			t.Fatalf("%s on %s: %v", kind, name, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(name, unix.MNT_DETACH); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	mount("tmpfs", "lower", "")
	mount("tmpfs", "upper", "")
	for _, d := range []string{"upper/upper", "upper/work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range lockFiles {
		write(t, filepath.Join(dir, "lower"), n, "")
	}
	mount("overlay", "root", "lowerdir="+dir+"/lower,upperdir="+dir+"/upper/upper,workdir="+dir+"/upper/work")
	root := openRoot(t, filepath.Join(dir, "root"))
	for _, n := range lockFiles {
		busy(t, root, false)
		release := lockByChild(t, filepath.Join(dir, "root", n))
		busy(t, root, true)
		release()
		busy(t, root, false)
	}
}

// TestBusyInRoot: a link out of the root does not lead to a lock of the host's.
func TestBusyInRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "lock")
	release := lockByChild(t, outside)
	defer release()
	dir := t.TempDir()
	root := openRoot(t, dir)
	link(t, dir, lockFiles[0], outside) // and nowhere inside
	busy(t, root, false)
	write(t, dir, outside, "")
	busy(t, root, false)
	releaseInside := lockByChild(t, filepath.Join(dir, outside))
	busy(t, root, true)
	releaseInside()
}

// TestBusyHostile: what is no regular file is neither waited for nor believed.
func TestBusyHostile(t *testing.T) {
	plant := map[string]func(t *testing.T, name string) error{
		"fifo":      func(_ *testing.T, name string) error { return unix.Mkfifo(name, 0o640) },
		"directory": func(_ *testing.T, name string) error { return os.Mkdir(name, 0o750) },
		"device": func(t *testing.T, name string) error {
			return unix.Mknod(name, unix.S_IFCHR|0o640, int(unix.Mkdev(5, 0))) // /dev/tty
		},
	}
	for what, mk := range plant {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			root := openRoot(t, dir)
			for _, p := range places {
				write(t, dir, p, "")
			}
			if err := mk(t, filepath.Join(dir, lockFiles[0])); err != nil {
				t.Fatal(err)
			}
			held, err := Busy(root)
			var oe *owner.Error
			if held || !errors.Is(err, file.ErrNotRegular) || !errors.As(err, &oe) || oe.File != "/"+lockFiles[0] {
				t.Errorf("busy %v, %v", held, err)
			}
			if err != nil && strings.Contains(err.Error(), dir) {
				t.Errorf("%v names the root", err)
			}
			release := lockByChild(t, filepath.Join(dir, lockFiles[1]))
			busy(t, root, true)
			release()
		})
	}
}

func TestLocked(t *testing.T) {
	id := file.StatID(unix.Mkdev(0xfd, 0x1a), 4711)
	overlay := file.StatID(unix.Mkdev(0, 0x30), 42)
	tests := []struct {
		list string
		want bool
	}{
		{"", false},
		{"1: FLOCK  ADVISORY  WRITE 1234 fd:1a:4711 0 EOF\n", true},
		{"1: FLOCK  ADVISORY  WRITE 1234 fd:1a:4711 0 EOF", true},
		{"9: POSIX  ADVISORY  WRITE 1 00:01:2 0 EOF\n1: FLOCK  ADVISORY  WRITE -1 fd:1a:4711 0 EOF\n", true},
		{"1: FLOCK  ADVISORY  WRITE 1234 00:31:42 0 EOF\n", true}, // the kernel's own number
		{"1: FLOCK  ADVISORY  READ  1234 fd:1a:4711 0 EOF\n", false},
		{"1: POSIX  ADVISORY  WRITE 1234 fd:1a:4711 0 EOF\n", false},
		{"1: OFDLCK ADVISORY  WRITE -1 fd:1a:4711 0 EOF\n", false},
		{"1: -> FLOCK  ADVISORY  WRITE 1234 fd:1a:4711 0 EOF\n", false},
		{"1: FLOCK  ADVISORY  WRITE 1234 fd:1b:4711 0 EOF\n", false},
		{"1: FLOCK  ADVISORY  WRITE 1234 fd:1a:4712 0 EOF\n", false},
		{"1: FLOCK  ADVISORY  WRITE 1234 fd:1a 0 EOF\n", false},
		{"1: FLOCK  ADVISORY  WRITE 1234 <none>:0 0 EOF\n", false},
		{"1: FLOCK  ADVISORY  WRITE 1234 zz:1a:4711 0 EOF\n\n:\n", false},
	}
	for _, tt := range tests {
		if got, err := locked(strings.NewReader(tt.list), []file.ID{id, overlay}); got != tt.want || err != nil {
			t.Errorf("%q: %v, %v", tt.list, got, err)
		}
	}
	if _, err := locked(strings.NewReader(strings.Repeat("x", 1<<20)), []file.ID{id}); err == nil {
		t.Error("a line without an end is no error")
	}
}
