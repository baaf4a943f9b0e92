package apk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// lockFiles are what apk holds locked while it changes a database
// (src/database.c, apk_db_open), beside the database.
var lockFiles = [...]string{"lib/apk/db/lock", "usr/lib/apk/db/lock"}

const (
	// kernelLocks is where the kernel lists the locks that are held.
	kernelLocks = "/proc/locks"
	// maxLocks bounds that list, in bytes: some 100,000 locks.
	maxLocks = 8 << 20
)

// Busy reports whether apk holds the database of root locked, so that what it
// says is about to change. It neither waits nor takes, creates or changes
// anything. A lock file that is missing is not held; one that is not a regular
// file is an *owner.Error unless the other one is held.
//
// The lock is that of flock(2), which can be asked about only by taking it, and
// an apk that starts at that moment would fail. So the kernel's list is read
// instead (/proc/locks, proc(5)). It does not show
//
//   - a lock of a process that is outside the PID namespace of /proc;
//   - a lock taken through another file system that shows the same file: the
//     root must be the one in which apk runs, such as /proc/PID/root.
//
// The list names the kernel's own numbers of file system and inode, which stat(2)
// does not show of file systems without a device, such as overlay and btrfs:
// of those the inode's number alone decides, so that another file's lock may be
// taken for this one's.
//
// A program may hold the lock for ever, so nothing must wait for Busy to become
// false without a bound.
func Busy(root *file.Root) (bool, error) {
	var first error
	var ids []file.ID
	for _, name := range lockFiles {
		info, err := root.Stat(name)
		if err == nil && !info.Regular() {
			err = file.ErrNotRegular
		}
		switch {
		case err == nil:
			ids = append(ids, info.ID)
		case !errors.Is(err, fs.ErrNotExist) && first == nil:
			first = owner.Defect(name, -1, err)
		}
	}
	if len(ids) == 0 {
		return false, first
	}
	f, err := os.Open(kernelLocks)
	if err != nil {
		return false, fmt.Errorf("whether apk is at work: %w", err)
	}
	defer f.Close()
	held, err := locked(f, ids)
	if err != nil {
		return false, fmt.Errorf("whether apk is at work: %s: %w", kernelLocks, err)
	}
	if held {
		return true, nil
	}
	return false, first
}

// locked reports whether a list of locks has an exclusive one of flock(2) on one
// of the files. Its lines are
//
//	NUMBER: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF
//
// with the device in hexadecimal digits (fs/locks.c, lock_get_status). Those of
// processes that wait have "->" after the number.
func locked(r io.Reader, ids []file.ID) (bool, error) {
	in := bufio.NewScanner(io.LimitReader(r, maxLocks))
	for in.Scan() {
		words := bytes.Fields(in.Bytes())
		if len(words) < 6 || string(words[1]) != "FLOCK" || string(words[3]) != "WRITE" {
			continue
		}
		major, minor, ino, ok := lockedFile(string(words[5]))
		if !ok {
			continue
		}
		for _, id := range ids {
			dev := uint64(id.Dev)
			same := unix.Major(dev) == major && (unix.Minor(dev) == minor || major == 0)
			if id.Ino == ino && same {
				return true, nil
			}
		}
	}
	return false, in.Err()
}

func lockedFile(s string) (major, minor uint32, ino uint64, ok bool) {
	parts := bytes.Split([]byte(s), []byte(":"))
	if len(parts) != 3 {
		return 0, 0, 0, false
	}
	ma, err1 := strconv.ParseUint(string(parts[0]), 16, 32)
	mi, err2 := strconv.ParseUint(string(parts[1]), 16, 32)
	ino, err3 := strconv.ParseUint(string(parts[2]), 10, 64)
	return uint32(ma), uint32(mi), ino, err1 == nil && err2 == nil && err3 == nil
}
