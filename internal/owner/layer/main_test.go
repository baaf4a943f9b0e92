package layer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// TestMain runs the tests of root in a mount namespace of their own, so that no mount
// outlives them.
func TestMain(m *testing.M) {
	const inside = "LAYER_TEST_NAMESPACE"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: marks of overlayfs and mounts need root")
	}
}

// overlay mounts one and returns where; what it needs beside the directories stands in
// a directory of its own.
func overlay(t testing.TB, options, upper string, lower []string) string {
	t.Helper()
	dir := shortTemp(t)
	at, work := filepath.Join(dir, "merged"), filepath.Join(dir, "work")
	for _, d := range []string{at, work} {
		must(t, os.Mkdir(d, 0o755))
	}
	options += ",lowerdir=" + strings.Join(lower, ":")
	if upper != "" {
		options += ",upperdir=" + upper + ",workdir=" + work
	}
	if err := unix.Mount("overlay", at, "overlay", 0, strings.TrimPrefix(options, ",")); err != nil {
		t.Fatalf("mount %s: %v", options, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

// shortTemp is t.TempDir with a name that leaves room in a mount's options, which have
// 4095 bytes.
func shortTemp(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "l")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hostRoot(t testing.TB) *file.Root {
	t.Helper()
	r, err := file.OpenRoot("/")
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func newStack(t testing.TB, upper string, lower ...string) *Stack {
	t.Helper()
	s, err := Open(hostRoot(t), upper, lower)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// tree makes files below a new directory. A name that ends in "/" is a directory, "-> x"
// is a link, "whiteout" and "fifo" are what they say, "opaque" after a directory's name
// marks it; anything else is content.
func tree(t testing.TB, files ...[2]string) string {
	t.Helper()
	dir := shortTemp(t)
	for _, f := range files {
		name := filepath.Join(dir, f[0])
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		if strings.HasSuffix(f[0], "/") {
			must(t, os.MkdirAll(name, 0o755))
			if key, value, ok := strings.Cut(f[1], "="); ok {
				must(t, unix.Setxattr(name, key, []byte(value), 0))
			}
			continue
		}
		target, link := strings.CutPrefix(f[1], "-> ")
		switch {
		case link:
			must(t, os.Symlink(target, name))
		case f[1] == "whiteout":
			must(t, unix.Mknod(name, unix.S_IFCHR, 0))
		case f[1] == "fifo":
			must(t, unix.Mkfifo(name, 0o644))
		default:
			must(t, os.WriteFile(name, []byte(f[1]), 0o644))
		}
	}
	return dir
}
