package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// siblings are the files that SQLite keeps beside a database
// (sqlite.org/tempfiles.html).
func siblings() []string { return []string{"-wal", "-shm", "-journal"} }

// place is where a store lives, held by a lock.
type place struct {
	path string
	lock *os.File
}

// occupy checks the place, makes its directory and takes the lock.
//
// The lock is flock on a file of its own: the kernel drops it with the process,
// however that ends; it covers moving the database aside, which a lock on the
// database itself could not; and unlike a POSIX lock it is not lost when
// something in the process opens and closes the same file. The file stays: to
// remove it would be a race.
func occupy(path string) (*place, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", full(err))
	}
	if err := safeDir(dir); err != nil {
		return nil, err
	}
	lock, err := openOwn(path + ".lock")
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s is held by %s", ErrLocked, path, holder(lock))
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	// For the error message of the next one only; a full disk must not matter.
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	for _, suffix := range append([]string{""}, siblings()...) {
		if err := ownFile(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			lock.Close()
			return nil, err
		}
	}
	return &place{path, lock}, nil
}

func (p *place) leave() error { return p.lock.Close() }

func holder(lock *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(lock, 0, 32))
	if err == nil {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil {
			return "process " + strconv.Itoa(pid)
		}
	}
	return "another process"
}

// create makes sure that the database file is there, ours, and for our eyes only.
// SQLite gives its siblings the same mode. An empty file is an empty database.
func (p *place) create() error {
	f, err := openOwn(p.path)
	if err != nil {
		return err
	}
	return f.Close()
}

// openOwn opens or creates a file that must be a plain one of this user.
func openOwn(path string) (*os.File, error) {
	if err := ownFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Not blocking: whatever took the name since would otherwise keep us waiting.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, full(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = own(path, info)
	}
	if err == nil && info.Mode().Perm() != 0o600 {
		err = f.Chmod(0o600)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func ownFile(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return own(path, info)
}

func own(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is a %s, not a plain file", ErrUnsafe, path, kind(info.Mode()))
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to user %d, this is user %d", ErrUnsafe, path, st.Uid, os.Geteuid())
	}
	return nil
}

// safeDir refuses a directory in which others could put a file in the store's
// place.
func safeDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the store's directory: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: directory %s belongs to user %d", ErrUnsafe, dir, st.Uid)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%w: everybody may write to directory %s", ErrUnsafe, dir)
	}
	return nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	}
	return "special file"
}

// full adds ErrFull to what the system says of a full disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
