// Package lock keeps a second instance from working on what belongs to a first.
package lock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrHeld says that another process holds the lock. The error around it names
// that process's PID where it is known.
var ErrHeld = errors.New("another instance is running")

// Lock is a lock that is held. It ends with the process, however that ends.
type Lock struct {
	file *os.File
}

// maxTries bounds how often a file may be replaced while it is being locked.
const maxTries = 16

// Take takes the lock on the file name, which it makes where there is none; its
// directory must exist, and nobody else should be able to write there. It does
// not wait: ErrHeld is the answer if another process holds the lock. The file
// holds the PID of its holder, as that sees itself, in decimal and a newline.
func Take(name string) (*Lock, error) {
	for range maxTries {
		l, err := take(name)
		if l != nil || err != nil {
			return l, err
		}
	}
	return nil, fmt.Errorf("lock %s: it is replaced again and again", name)
}

// take returns nothing if the file that it locked has lost its name meanwhile:
// another process might lock the new one.
func take(name string) (*Lock, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	l, err := hold(f)
	if l == nil {
		f.Close()
	}
	return l, err
}

// open opens the file without following a link or waiting for anybody.
func open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

func hold(f *os.File) (*Lock, error) {
	err := flock(f)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("%s: %w%s", f.Name(), ErrHeld, byWhom(f))
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	named, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(locked, named) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	// A full disk is no reason not to run: who holds the lock is only told less.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &Lock{f}, nil
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

func byWhom(r io.ReaderAt) string {
	if pid, ok := parse(io.NewSectionReader(r, 0, maxPID+1)); ok {
		return fmt.Sprintf(" (PID %d)", pid)
	}
	return ""
}

// maxPID bounds what is read of the file: the kernel's PIDs have at most 7
// digits (PID_MAX_LIMIT in include/linux/threads.h).
const maxPID = 16

// parse reads what a holder wrote. It may be found before that, or half way.
func parse(r io.Reader) (int, bool) {
	text, err := io.ReadAll(io.LimitReader(r, maxPID+1))
	if err != nil || len(text) > maxPID {
		return 0, false
	}
	digits, whole := strings.CutSuffix(string(text), "\n")
	pid, err := strconv.ParseUint(digits, 10, 31)
	return int(pid), whole && err == nil && pid > 0
}

// Release gives the lock back. The file stays: to remove it would let two others
// lock two files of the same name.
func (l *Lock) Release() error { return l.file.Close() }
