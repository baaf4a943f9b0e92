package lab

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds how long a daemon may take to say that it is ready.
const startTimeout = 20 * time.Second

// Command is how a daemon of the lab is started.
type Command struct {
	Path  string   // inside Root
	Args  []string // without the program's name
	Root  string   // chroot(2) to this directory; empty for none
	Dir   string   // working directory, "/" if empty
	Env   []string
	Flags uintptr // CLONE_NEW… namespaces to start it in
	// Via is a command that becomes the daemon, such as Host.Via, with its
	// arguments; Root is then its own business.
	Via []string
}

// Daemon is a running process of the lab. It keeps the agreement of
// testdata/daemon.c: it says READY on its standard output and lives as long as
// its descriptor 3, so none survives a test that dies.
type Daemon struct {
	PID  int
	Exe  string // the path it was started by, inside its own root
	Comm string
	// Began and Ready bound the moment of its start.
	Began, Ready time.Time

	cmd      *exec.Cmd
	lifeline *os.File
	lines    chan string
}

// Start starts a daemon and waits until it is ready. It ends with the test.
func Start(t testing.TB, c Command) *Daemon {
	t.Helper()
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	d := &Daemon{Exe: c.Path, Comm: comm(c.Path), Began: time.Now(), lifeline: ours, lines: make(chan string, 16)}
	d.cmd = &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: cmp.Or(c.Dir, "/"),
		Stderr: os.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Chroot: c.Root, Cloneflags: c.Flags},
	}
	if len(c.Via) > 0 {
		if d.cmd.Path, err = exec.LookPath(c.Via[0]); err != nil {
			t.Fatal(err)
		}
		d.cmd.Args = slices.Concat(c.Via, d.cmd.Args)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		ours.Close()
		t.Fatalf("start %q: %v", c.Path, err)
	}
	d.PID = d.cmd.Process.Pid
	t.Cleanup(d.Stop)
	go d.read(stdout)
	if word := d.Line(t); word != "READY" {
		t.Fatalf("%q said %q instead of READY", c.Path, word)
	}
	d.Ready = time.Now()
	return d
}

func (d *Daemon) read(r io.Reader) {
	defer close(d.lines)
	for s := bufio.NewScanner(r); s.Scan(); {
		d.lines <- s.Text()
	}
}

// Line is the next line that the daemon prints.
func (d *Daemon) Line(t testing.TB) string {
	t.Helper()
	select {
	case line, ok := <-d.lines:
		if !ok {
			t.Fatalf("%q ended", d.Exe)
		}
		return line
	case <-time.After(startTimeout):
		t.Fatalf("%q said nothing for %v", d.Exe, startTimeout)
	}
	return ""
}

// Do has a daemon that reads commands from its lifeline, as test/live has them,
// carry out one, and returns what it answers.
func (d *Daemon) Do(t testing.TB, command string) string {
	t.Helper()
	if _, err := fmt.Fprintln(d.lifeline, command); err != nil {
		t.Fatalf("%q: %v", d.Exe, err)
	}
	return d.Line(t)
}

// Fork lets the daemon fork without exec and returns the child, which lives as
// long as its parent's lifeline.
func (d *Daemon) Fork(t testing.TB) *Daemon {
	t.Helper()
	child := &Daemon{Exe: d.Exe, Comm: d.Comm, Began: time.Now()}
	if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	line := d.Line(t)
	if _, err := fmt.Sscanf(line, "FORKED %d", &child.PID); err != nil {
		t.Fatalf("%q said %q instead of FORKED: %v", d.Exe, line, err)
	}
	child.Ready = time.Now()
	return child
}

// Stop ends the daemon and waits for its end. A stopped daemon stays stopped.
func (d *Daemon) Stop() {
	if d.cmd == nil || d.cmd.ProcessState != nil {
		return
	}
	d.lifeline.Close()
	_ = d.cmd.Process.Kill()
	for range d.lines { // Wait closes the pipe that read still reads
	}
	_ = d.cmd.Wait()
}

// comm is what the kernel calls a program started from the given path: at most
// 15 bytes of its last element (PR_SET_NAME in prctl(2)).
func comm(name string) string {
	base := path.Base(strings.TrimRight(name, "/"))
	return base[:min(len(base), 15)]
}
