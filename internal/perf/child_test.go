package perf

import (
	"bufio"
	"errors"
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
)

// The test binary is its own child: with childEnv set it does its arguments one
// after the other, says "ready", and ends when its standard input does.
const (
	childEnv = "PERF_TEST_CHILD"
	nobody   = 65534
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	for _, op := range os.Args[1:] {
		if err := do(op); err != nil {
			fmt.Fprintln(os.Stderr, op, err)
			os.Exit(1)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

var page = os.Getpagesize()

// do does one thing, "what=argument". What is mapped gets an address that is
// printed.
func do(op string) error {
	what, arg, _ := strings.Cut(op, "=")
	switch what {
	case "exec": // map a file's second page executable
		return mapFile(arg, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	case "shared":
		return mapFile(arg, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	case "data":
		return mapFile(arg, unix.PROT_READ, unix.MAP_PRIVATE)
	case "mprotect":
		b, err := mapped(arg, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	case "unlink": // open, unlink, map
		f, err := os.Open(arg)
		if err != nil {
			return err
		}
		if err := os.Remove(arg); err != nil {
			return err
		}
		_, err = unix.Mmap(int(f.Fd()), 0, page, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		return err
	case "memfd":
		fd, err := unix.MemfdCreate(arg, unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		if err := unix.Ftruncate(fd, int64(page)); err != nil {
			return err
		}
		_, err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		return err
	case "anon":
		_, err := unix.Mmap(-1, 0, page, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	case "chroot":
		return errors.Join(unix.Chroot(arg), unix.Chdir("/"))
	case "overlay": // mounts the directories lower and empty of one on its merged
		lower := "lowerdir=" + filepath.Join(arg, "lower") + ":" + filepath.Join(arg, "empty")
		return unix.Mount("overlay", filepath.Join(arg, "merged"), "overlay", 0, lower)
	case "stat":
		var st unix.Stat_t
		if err := unix.Stat(arg, &st); err != nil {
			return err
		}
		fmt.Println(st.Dev, st.Ino)
		return nil
	case "cpu":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		var set unix.CPUSet
		set.Set(n)
		return unix.SchedSetaffinity(0, &set)
	case "repeat": // times:file
		times, name, _ := strings.Cut(arg, ":")
		n, err := strconv.Atoi(times)
		if err != nil {
			return err
		}
		for range n {
			b, err := mapped(name, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			if err := unix.Munmap(b); err != nil {
				return err
			}
		}
		return nil
	case "thread": // begins and ends one
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and never unlocks: the thread ends with it
			close(done)
		}()
		<-done
		return nil
	case "rename":
		return os.WriteFile("/proc/self/comm", []byte(arg), 0)
	case "wait": // for a line
		fmt.Println("waiting")
		var b [1]byte
		_, err := os.Stdin.Read(b[:])
		return err
	case "watch":
		return watch(arg)
	}
	return fmt.Errorf("unknown")
}

func mapped(name string, prot, flags int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.Mmap(int(f.Fd()), int64(page), page, prot, flags)
}

func mapFile(name string, prot, flags int) error {
	b, err := mapped(name, prot, flags)
	if err == nil {
		fmt.Println(uintptr(unsafe.Pointer(&b[0])))
	}
	return err
}

// watch opens a Reader, waits for a line, and prints the counts and then the PIDs
// of what it read.
func watch(pages string) error {
	n, err := strconv.Atoi(pages)
	if err != nil {
		return err
	}
	r, err := Open(Options{Pages: n, Tasks: true})
	if errors.Is(err, os.ErrPermission) {
		fmt.Println("refused")
		return nil
	}
	if err != nil {
		return err
	}
	if err := do("wait"); err != nil {
		return err
	}
	pids := make(map[int]bool)
	for _, rec := range r.Drain(nil, Now()) {
		if rec.Kind != Lost {
			pids[rec.PID] = true
		}
	}
	s := r.Stats()
	fmt.Println(s.Foreign, s.Maps, s.Bytes)
	for pid := range pids {
		fmt.Print(pid, " ")
	}
	fmt.Println()
	return r.Close()
}

// child is a running test binary.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// self is the test binary as a child.
func self(ops ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", ops...)
	// The race detector sleeps a second before it lets a process end.
	cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

func start(t testing.TB, cmd *exec.Cmd) *child {
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
		_ = cmd.Wait()
	})
	return &child{cmd, in, bufio.NewScanner(out)}
}

// line is the next line of output.
func (c *child) line(t testing.TB) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("child ended: %v", c.out.Err())
	}
	return c.out.Text()
}

// until returns the lines before one.
func (c *child) until(t testing.TB, last string) (lines []string) {
	t.Helper()
	for l := c.line(t); l != last; l = c.line(t) {
		lines = append(lines, l)
	}
	return lines
}

// end lets the child end by itself.
func (c *child) end(t testing.TB) {
	t.Helper()
	c.in.Close()
	for c.out.Scan() {
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// run runs a child to its end and returns its output and number.
func run(t testing.TB, cmd *exec.Cmd) (pid int, lines []string) {
	t.Helper()
	c := start(t, cmd)
	lines = c.until(t, "ready")
	c.end(t)
	return c.Process.Pid, lines
}

// code writes a file of three pages and returns its name.
func code(t testing.TB, dir, name string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, make([]byte, 3*page), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// open opens a Reader for the time of the test. A machine on which that is not
// possible for root cannot run the test.
func open(t testing.TB, o Options) *Reader {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	r, err := Open(o)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// of drains a Reader and returns the records of one process. What a process did
// before this one learnt of its end is in the rings.
func of(r *Reader, pid int) (records []Record) {
	for _, rec := range r.Drain(nil, 1<<63-1) {
		if rec.PID == pid {
			records = append(records, rec)
		}
	}
	return records
}

// named returns the records that carry a name.
func named(records []Record, kind Kind, name string) (found []Record) {
	for _, rec := range records {
		if rec.Kind == kind && rec.Name == name {
			found = append(found, rec)
		}
	}
	return found
}

// deadline bounds waiting for what must come.
const deadline = 30 * time.Second
