package dpkg

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
const lockEnv = "DPKG_TEST_LOCK"

func TestMain(m *testing.M) {
	if name := os.Getenv(lockEnv); name != "" {
		os.Exit(holdLock(name))
	}
	os.Exit(m.Run())
}

// holdLock locks a file as dpkg does (lib/dpkg/file.c, file_lock) and holds it
// until standard input ends.
func holdLock(name string) int {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return 2
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
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
			write(t, dir, admin+"status", "")
			busy(t, root, false)
			release := lockByChild(t, filepath.Join(dir, admin, n))
			busy(t, root, true)
			release()
			busy(t, root, false)
			if entries, err := os.ReadDir(filepath.Join(dir, admin)); len(entries) != 2 || err != nil {
				t.Errorf("%v, %v, want status and the child's lock file only", entries, err)
			}
		})
	}
}

// TestBusyInRoot: a link out of the root does not lead to a lock of the host's.
func TestBusyInRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "lock")
	release := lockByChild(t, outside)
	defer release()
	dir := t.TempDir()
	root := openRoot(t, dir)
	link(t, dir, admin+"lock", outside)
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
			write(t, dir, admin+"status", "")
			if err := mk(t, filepath.Join(dir, admin, "lock-frontend")); err != nil {
				t.Fatal(err)
			}
			held, err := Busy(root)
			var oe *owner.Error
			if held || !errors.Is(err, file.ErrNotRegular) || !errors.As(err, &oe) || oe.File != "/"+admin+"lock-frontend" {
				t.Errorf("busy %v, %v", held, err)
			}
			if err != nil && strings.Contains(err.Error(), dir) {
				t.Errorf("%v names the root", err)
			}
			release := lockByChild(t, filepath.Join(dir, admin, "lock"))
			busy(t, root, true)
			release()
		})
	}
}

// TestBusyDpkg asks while a real dpkg runs, held up by a maintainer script.
func TestBusyDpkg(t *testing.T) {
	dir, tree := t.TempDir(), t.TempDir()
	root := openRoot(t, dir)
	write(t, dir, admin+"status", "")
	write(t, dir, admin+"available", "")
	for _, d := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(dir, admin, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, tree, "DEBIAN/control", "Package: held\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: waits\n")
	// The script runs in the tester's root; its own standard input is what it
	// waits for.
	write(t, tree, "DEBIAN/postinst", "#!/bin/sh\necho running\nread line\nexit 0\n")
	if err := os.Chmod(filepath.Join(tree, "DEBIAN/postinst"), 0o755); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(t.TempDir(), "held.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", tree, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	cmd := exec.Command("dpkg", "--root="+dir, "--log="+filepath.Join(dir, "log"), "--force-script-chrootless", "-i", deb)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C"}
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
	var said strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(said.String(), "running\n"); {
		n, err := stdout.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Errorf("dpkg ended: %v: %q", err, said.String())
			break
		}
	}
	busy(t, root, true)
	if p := open(t, dir).Packages(); len(p) != 1 || p[0].State == owner.StateInstalled {
		t.Errorf("while a package is being configured: %v", p)
	}
	stdin.Close()
	io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Errorf("dpkg: %v", err)
	}
	busy(t, root, false)
	d := open(t, dir)
	if p := d.Packages(); len(p) != 1 || p[0].State != owner.StateInstalled {
		t.Errorf("afterwards: %v", p)
	}
	noProblems(t, d)
}
