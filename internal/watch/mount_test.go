package watch

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRootByDescriptor: a root may be given by a descriptor that the caller holds.
func TestRootByDescriptor(t *testing.T) {
	w := newWorld(t, quick)
	fd, err := unix.Open(w.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	w.must(err)
	defer unix.Close(fd)
	w.add(Target{Root: fmt.Sprintf("/proc/self/fd/%d", fd)})
	w.start()
	w.told(func() { w.rename(dbDir+"/status", "a") })
}

// TestOtherNamespace watches a database that only a process in a mount namespace
// of its own can see, by the root of that process. The watch does not keep its
// file system from being unmounted.
func TestOtherNamespace(t *testing.T) {
	opts := quick
	opts.Sweep = 20 * time.Millisecond
	w := newWorld(t, opts)
	cmd := exec.Command("sh", "-ec", `
		mount -t tmpfs none "$1"; echo mounted; read line
		echo a > "$1/new"; mv "$1/new" "$1/status"; echo changed; read line
		umount "$1"; echo unmounted; read line`, "sh", w.path(dbDir))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	w.must(err)
	stdout, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	lines := bufio.NewScanner(stdout)
	// step lets the process go on to what it says next.
	step := func(want string) {
		if want != "mounted" {
			_, err := stdin.Write([]byte("\n"))
			w.must(err)
		}
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("%q, want %q", lines.Text(), want)
		}
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			stdin.Close()
			_ = cmd.Wait() // read fails at the end of the input
		}
	}
	defer end()

	step("mounted")
	w.add(Target{Root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid), Paths: []string{w.path(dbDir) + "/status"}})
	w.start()
	w.told(func() { step("changed") })
	w.told(func() { step("unmounted") })              // the database below it is another one
	w.told(func() { w.rename(dbDir+"/status", "b") }) // and seen in both namespaces
	end()
	if c := w.next(); !errors.Is(c.Err, os.ErrNotExist) {
		t.Errorf("of a process that is gone: %+v", c)
	}
}
