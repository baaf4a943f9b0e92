package rpm

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// lockFile is the file that rpm holds locked while it changes the database, beside it
// (rpm's lib/rpmlock.c, macro _rpmlock_path).
const lockFile = ".rpm.lock"

// Busy reports whether rpm changes the database of root, so that what it says is about
// to change. It neither waits nor creates or changes anything. A lock file that is
// missing is not held; one that cannot be asked, such as a FIFO, is an *owner.Error
// unless another one is held.
//
// rpm holds a lock of fcntl(2) on .rpm.lock while a transaction runs, whichever front
// end runs it: for reading it asks for a shared one, which does not count. What was said
// of dpkg.Busy holds here too: locks through another file system that shows the same
// file are not seen, and whoever holds one may do so for ever.
//
// That dnf, yum or zypper download packages or ask questions is not looked at: it
// changes nothing that is installed.
func Busy(root *file.Root) (bool, error) {
	var first error
	for _, dir := range directories {
		for _, name := range [...]string{dir + lockFile, dir + "Packages"} {
			held, err := locked(root, name)
			if held {
				return true, nil
			}
			if err != nil && !absent(err) && first == nil {
				first = owner.Defect(name, -1, err)
			}
		}
	}
	return false, first
}

// transaction reports whether one of the files is known to be locked for writing.
func transaction(root Root, names ...string) bool {
	for _, n := range names {
		if held, err := locked(root, n); held && err == nil {
			return true
		}
	}
	return false
}

// locked reports whether a process has a lock on a file that would keep another from
// reading.
func locked(root interface {
	Open(name string) (*os.File, error)
}, name string) (bool, error) {
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var (
		lock   = unix.Flock_t{Type: unix.F_RDLCK} // from the start, length 0: to the end
		failed error
	)
	err = raw.Control(func(fd uintptr) { failed = unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lock) })
	if err = errors.Join(err, failed); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}
