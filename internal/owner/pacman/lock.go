package pacman

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// lockName is the file that pacman makes before a transaction and removes after it.
const lockName = "var/lib/pacman/db.lck"

// bootSlack is how much earlier than the boot a lock may seem to be made: the
// clock is set while the machine starts.
const bootSlack = 5 * time.Minute

// Busy reports whether pacman is at work in root, so that what its database says is
// about to change. It neither waits nor creates or changes anything.
//
// The lock is that the file exists (lib/libalpm/handle.c, _alpm_handle_lock): it
// names no process and nothing holds it, so that of a pacman that was killed looks
// like any other, and pacman itself refuses to work until it is removed. Only one
// that was made before the machine was started is surely dead. So nothing must wait
// for Busy to become false without a bound.
func Busy(root *file.Root) (bool, error) {
	info, err := root.Stat(lockName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, owner.Defect(lockName, -1, err)
	}
	if !info.Regular() {
		return false, owner.Defect(lockName, -1, file.ErrNotRegular)
	}
	boot, err := bootTime()
	if err != nil {
		return false, fmt.Errorf("whether pacman is at work: %w", err)
	}
	return alive(info.Mtime, boot), nil
}

// alive reports whether a lock of that time can be held.
func alive(made, boot time.Time) bool { return !made.Before(boot.Add(-bootSlack)) }

func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
