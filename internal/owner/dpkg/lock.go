package dpkg

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// lockFiles are what whoever changes the database holds locked, relative to
// admin: apt the first one from before its first dpkg until after its last,
// dpkg both, and the second one alone before 1.19.1 (lib/dpkg/dbmodify.c,
// modstatdb_lock; apt-pkg/deb/debsystem.cc, debSystem::Lock).
var lockFiles = [...]string{"lock-frontend", "lock"}

// Busy reports whether dpkg, apt or another front end holds the database of
// root locked, so that what it says is about to change. It neither waits nor
// creates or changes anything. A lock file that is missing is not held; one
// that cannot be asked, such as a FIFO, is an *owner.Error unless the other one
// is held.
//
// The locks are those of fcntl(2), on the whole file. F_OFD_GETLK needs no more
// than a descriptor open for reading, and sees the locks of every process,
// whatever its namespaces, on this very inode. It does not see
//
//   - a lock taken through another file system that shows the same file: on the
//     upper directory of an overlay, or through another overlay over it. The root
//     must be the one in which the package manager runs, such as
//     /proc/PID/root.
//   - a lock of another machine on a network file system that keeps locks to
//     itself (nolock, local_lock).
//
// The locks of /var/lib/apt/lists and /var/cache/apt/archives are not looked
// at: they are held while indexes and packages are fetched, which changes
// nothing that is installed.
//
// A program may hold the lock for ever, by accident or to hide what it does, so
// nothing must wait for Busy to become false without a bound.
func Busy(root *file.Root) (bool, error) {
	var first error
	for _, n := range lockFiles {
		held, err := locked(root, admin+n)
		if held {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && first == nil {
			first = owner.Defect(admin+n, -1, err)
		}
	}
	return false, first
}

// locked reports whether a process, this one included, has a lock on a file
// that would keep another from locking it for writing.
func locked(root *file.Root, name string) (bool, error) {
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
		lock   = unix.Flock_t{Type: unix.F_WRLCK} // from the start, length 0: to the end
		failed error
	)
	err = raw.Control(func(fd uintptr) { failed = unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lock) })
	if err = errors.Join(err, failed); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}
