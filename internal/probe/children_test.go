package probe_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/proc"
)

// The test binary is its own child: childEnv says what that one does with the
// files it gets as arguments.
const (
	childEnv    = "PROBE_TEST_CHILD"
	childWaits  = "waits"
	childLeader = "leader-exits"
	childObeys  = "obeys"
	childTraces = "traces"
	nobody      = 65534
)

func TestMain(m *testing.M) {
	role := os.Getenv(childEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := child(role, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child maps files executable and an anonymous one, says "ready", and ends when
// its standard input does.
func child(role string, files []string) error {
	switch role {
	case childObeys:
		return obey(os.Stdin, os.Stdout)
	case childTraces:
		return traceAndTell(files)
	}
	runtime.LockOSThread()
	if role == childLeader && unix.Gettid() != unix.Getpid() {
		return unix.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := mapExecutable(int(f.Fd())); err != nil {
			return fmt.Errorf("map %q: %w", name, err)
		}
	}
	fd, err := unix.MemfdCreate("probe test", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(fd, int64(os.Getpagesize())); err != nil {
		return err
	}
	if err := mapExecutable(fd); err != nil {
		return err
	}
	if role == childLeader {
		leaderExits()
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// obey says "ok", does what it is told to, line by line, and says "ok" to each.
func obey(in io.Reader, out io.Writer) error {
	fmt.Fprintln(out, "ok")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		word, arg, _ := strings.Cut(lines.Text(), " ")
		if err := obeyOne(word, arg); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Fprintln(out, "ok")
	}
	return nil
}

func obeyOne(word, name string) error {
	if word == "exec" {
		os.Setenv(childEnv, childObeys)
		return unix.Exec(name, []string{"obedient"}, os.Environ())
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size := os.Getpagesize()
	switch word {
	case "map":
		return mapExecutable(int(f.Fd()))
	case "unmap":
		b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Munmap(b)
	case "read":
		_, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
		return err
	case "protect":
		b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	case "touch": // the same inode with another change time
		return os.Chmod(name, 0o700)
	}
	return fmt.Errorf("what?")
}

// obedient is a child that obeys.
type obedient struct {
	*exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startObedient(t testing.TB, cmd *exec.Cmd) *obedient {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		in.Close()
		_ = cmd.Wait()
	})
	o := &obedient{cmd, in, bufio.NewReader(out)}
	o.waitOK(t)
	return o
}

func (o *obedient) waitOK(t testing.TB) {
	t.Helper()
	if line, err := o.out.ReadString('\n'); line != "ok\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

func (o *obedient) do(t testing.TB, word, name string) {
	t.Helper()
	if _, err := fmt.Fprintln(o.in, word, name); err != nil {
		t.Fatal(err)
	}
	o.waitOK(t)
}

func mapExecutable(fd int) error {
	_, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	return err
}

// leaderExits ends the main thread, as pthread_exit(3) in main does, and leaves
// others behind. The runtime does not know that it lost a thread and the
// processor it held, so what remains makes raw system calls only.
func leaderExits() {
	runtime.GOMAXPROCS(4)
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(started)
		for buf := make([]byte, 1); ; {
			n, _, errno := unix.RawSyscall(unix.SYS_READ, 0, uintptr(unsafe.Pointer(&buf[0])), 1)
			if errno != unix.EINTR && n != 1 {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
	}()
	<-started
	fmt.Println("ready")
	unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}

// start runs a command until the end of the test. It waits for a line of output
// where the command prints one, and returns it.
func start(t testing.TB, cmd *exec.Cmd, prints bool) string {
	t.Helper()
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var line string
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		stdin.Close()
		_ = cmd.Wait()
	})
	if prints {
		if line, err = bufio.NewReader(stdout).ReadString('\n'); err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
	return strings.TrimSpace(line)
}

// self is the test binary as a child.
func self(role string, files ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", files...)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	return cmd
}

// sleeper is a dynamically linked program that every Debian has.
func sleeper(t testing.TB) *exec.Cmd {
	t.Helper()
	name, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(name, "1000000")
}

// forked starts a process that has not called execve, and returns its number.
func forked(t testing.TB) int {
	t.Helper()
	line := start(t, exec.Command("/bin/sh", "-c", `exec 3<&0; (read x) <&3 & echo $!; wait`), true)
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// copyOf copies the program name to dir under a name of its own.
func copyOf(t testing.TB, name, dir, as string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, as)
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// settle waits until a process meets a condition.
func settle(t testing.TB, pid int, what string, ok func(proc.Stat) bool) {
	t.Helper()
	p := open(t, pid)
	for range 2000 {
		st, err := p.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if ok(st) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("process %d: %s did not come", pid, what)
}

func procfs(t testing.TB) proc.FS {
	t.Helper()
	fs, err := proc.NewFS("/proc")
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func open(t testing.TB, pid int) *proc.Process {
	t.Helper()
	p, err := procfs(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
