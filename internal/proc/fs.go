// Package proc reads a procfs (proc(5)) under a given root: processes, their
// mappings, memory and names. Reading and parsing are separate; nothing here
// decides anything.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// ErrGone says that the process ended, or that its number now belongs to
// another one.
var ErrGone = errors.New("process is gone")

// Tick is the unit of the start time in /proc/PID/stat: USER_HZ is 100 on every
// architecture of Linux that the kernel supports today (AT_CLKTCK, getauxval(3)).
const Tick = 10 * time.Millisecond

// FS is a mounted procfs.
type FS struct {
	dir string
}

// NewFS opens the procfs mounted at dir.
func NewFS(dir string) (FS, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return FS{}, fmt.Errorf("procfs: %w", err)
	}
	if !fi.IsDir() {
		return FS{}, fmt.Errorf("procfs: %s: %w", dir, unix.ENOTDIR)
	}
	return FS{dir}, nil
}

// Dir is where the procfs is mounted.
func (f FS) Dir() string { return f.dir }

// PIDs lists the processes, in the numbers of the PID namespace for which the
// procfs was mounted.
func (f FS) PIDs() ([]int, error) {
	d, err := os.Open(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return numbers(names), nil
}

func numbers(names []string) []int {
	pids := make([]int, 0, len(names))
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Process is an open /proc/PID directory. It stays with the process it was
// opened for: when that one ends, reads fail with ErrGone even if the number is
// given to another.
type Process struct {
	fs  FS
	pid int
	fd  int
}

// Process opens the directory of a process, or of a thread: a procfs answers to
// thread numbers too, which is the way to a process whose main thread has ended.
func (f FS) Process(pid int) (*Process, error) {
	name := f.dir + "/" + strconv.Itoa(pid)
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone(&fs.PathError{Op: "open", Path: name, Err: err})
	}
	return &Process{f, pid, fd}, nil
}

// Close releases the directory.
func (p *Process) Close() error { return unix.Close(p.fd) }

// PID is the number by which the process was opened.
func (p *Process) PID() int { return p.pid }

// FD is the descriptor of the directory, for the *at system calls.
func (p *Process) FD() int { return p.fd }

// gone turns the errors of a dead process into ErrGone.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

func (p *Process) error(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: fmt.Sprintf("%s/%d/%s", p.fs.dir, p.pid, name), Err: err}
}

// open opens a file of the process for reading.
func (p *Process) open(name string) (*os.File, error) {
	fd, err := unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, p.error("open", name, err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("%s/%d/%s", p.fs.dir, p.pid, name)), nil
}

// read reads a whole small file of the process into buf and returns the filled
// part; what does not fit is left out. Regular procfs files answer at once, so
// no poller is needed.
func (p *Process) read(name string, buf []byte) ([]byte, error) {
	fd, err := unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, p.error("open", name, err)
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, p.error("read", name, err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return buf[:n], nil
}

// Stat reads /proc/PID/stat.
func (p *Process) Stat() (Stat, error) {
	var buf [1024]byte
	b, err := p.read("stat", buf[:])
	if err != nil {
		return Stat{}, gone(err)
	}
	st, err := ParseStat(bytes.NewReader(b))
	if err != nil {
		return Stat{}, p.error("parse", "stat", err)
	}
	return st, nil
}

// Verify reports with ErrGone when the process is not the one that started at
// start (CLOCK_BOOTTIME).
func (p *Process) Verify(start time.Duration) error {
	st, err := p.Stat()
	if err != nil {
		return err
	}
	if st.Start != start/Tick*Tick {
		return fmt.Errorf("%w: process %d started at another time", ErrGone, p.pid)
	}
	return nil
}

// VerifyThread reports with ErrGone when p, opened by the number of a thread, is
// not one of the process pid.
func (p *Process) VerifyThread(pid int) error {
	st, err := p.Status()
	if err != nil {
		return err
	}
	if st.TGID != pid {
		return fmt.Errorf("%w: %d is not a thread of process %d", ErrGone, p.pid, pid)
	}
	return nil
}

// Threads lists the threads of the process.
func (p *Process) Threads() ([]int, error) {
	d, err := p.open("task")
	if err != nil {
		return nil, gone(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(1 << 16)
	if err != nil {
		return nil, gone(err)
	}
	return numbers(names), nil
}

// Status reads /proc/PID/status.
func (p *Process) Status() (Status, error) {
	var buf [8 << 10]byte
	b, err := p.read("status", buf[:])
	if err == nil && len(b) == len(buf) { // a process in very many groups
		b, err = p.read("status", make([]byte, maxStatus+1))
	}
	if err != nil {
		return Status{}, gone(err)
	}
	st, err := ParseStatus(bytes.NewReader(b))
	if err != nil {
		return Status{}, p.error("parse", "status", err)
	}
	return st, nil
}

// Cgroup reads /proc/PID/cgroup, unparsed, into buf and returns the filled part;
// what does not fit is left out.
func (p *Process) Cgroup(buf []byte) ([]byte, error) { return p.read("cgroup", buf) }

// Cmdline reads the arguments of the process, each ended by a NUL, as far as it has
// not written over them, at most 128 KiB (proc_pid_cmdline(5)).
func (p *Process) Cmdline() ([]byte, error) {
	b, err := p.read("cmdline", make([]byte, 128<<10))
	if err != nil {
		return nil, gone(err)
	}
	return b, nil
}

// Environ reads the environment that the process was started with, as far as it
// has not written over it, at most 128 KiB (proc_pid_environ(5)).
func (p *Process) Environ() ([]byte, error) {
	b, err := p.read("environ", make([]byte, 128<<10))
	if err != nil {
		return nil, gone(err)
	}
	return b, nil
}

// Readlink returns the text of a link of the process: "exe", "root", "cwd",
// "map_files/START-END".
func (p *Process) Readlink(name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(p.fd, name, buf[:])
	if err != nil {
		return "", p.error("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// Root enters the process's root directory.
func (p *Process) Root() (*file.Root, error) {
	r, err := file.OpenRootAt(p.fd, "root")
	if err != nil {
		return nil, p.error("open", "root", errors.Unwrap(err))
	}
	return r, nil
}

// MntNS is the inode number of the process's mount namespace.
func (p *Process) MntNS() (uint32, error) { return p.namespace("ns/mnt") }

// PIDNS is the inode number of the PID namespace of the process's children,
// which is its own unless it called unshare(2).
func (p *Process) PIDNS() (uint32, error) { return p.namespace("ns/pid") }

func (p *Process) namespace(name string) (uint32, error) {
	// The link reads "mnt:[4026531841]" (namespaces(7)).
	text, err := p.Readlink(name)
	if err != nil {
		return 0, err
	}
	i, j := bytes.IndexByte([]byte(text), '['), bytes.IndexByte([]byte(text), ']')
	if i < 0 || j < i {
		return 0, p.error("parse", name, fmt.Errorf("unexpected link %q", text))
	}
	n, err := strconv.ParseUint(text[i+1:j], 10, 32)
	if err != nil {
		return 0, p.error("parse", name, err)
	}
	return uint32(n), nil
}

// mapFile is the name of a mapping in map_files (proc_pid_map_files(5)).
func mapFile(start, end uint64) string {
	b := make([]byte, 0, 48)
	b = append(b, "map_files/"...)
	b = strconv.AppendUint(b, start, 16)
	b = append(b, '-')
	b = strconv.AppendUint(b, end, 16)
	return string(b)
}
