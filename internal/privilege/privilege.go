// Package privilege gives up what the process does not need any more: after the
// kernel side is attached, the sensor reads, and never needs to change anything.
package privilege

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrCgo says that this binary cannot change the privileges of all its threads:
// Go can do so only in programs without cgo.
var ErrCgo = errors.New("the privileges of all threads cannot be changed in a binary that was built with cgo; build it with CGO_ENABLED=0")

// Held is the effective set of the calling thread, which after Drop is that of
// every thread.
func Held() (Set, error) {
	_, data, err := capget()
	if err != nil {
		return 0, err
	}
	return join(data[0].Effective, data[1].Effective), nil
}

// Drop leaves to all threads, those that exist and those to come, the
// capabilities of keep that are permitted to the process, as permitted and
// effective set, and returns them. Nothing stays inheritable or ambient. No
// capability can come back, not by executing a file either: no_new_privs is set,
// and where CAP_SETPCAP is effective the bounding set becomes the same.
//
// On a kernel that does not know one of keep but has its rights in
// CAP_SYS_ADMIN, that is kept, so that the returned set may hold it unasked.
//
// An error other than ErrCgo may leave some of the privileges dropped.
func Drop(keep []Cap) (Set, error) {
	// prctl(2) refuses the call if an unused argument is not zero.
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return 0, fmt.Errorf("set no_new_privs: %w", err)
	}
	header, data, err := capget()
	if err != nil {
		return 0, err
	}
	known, err := bounding()
	if err != nil {
		return 0, err
	}
	kept := choose(keep, join(data[0].Permitted, data[1].Permitted), known.knows)
	if join(data[0].Effective, data[1].Effective).Has(SetPCap) {
		for c := range (known.set &^ kept).All() {
			if err := prctl(unix.PR_CAPBSET_DROP, uintptr(c)); err != nil {
				return 0, fmt.Errorf("take %v out of the bounding set: %w", c, err)
			}
		}
	}
	// The kernel takes out of the ambient set what is not inheritable
	// (cap_capset in security/commoncap.c).
	for i := range data {
		part := uint32(kept >> (32 * i))
		data[i] = unix.CapUserData{Effective: part, Permitted: part}
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return 0, fmt.Errorf("capset: %w", errno)
	}
	return kept, nil
}

// choose is the part of keep that is permitted, with CAP_SYS_ADMIN in place of
// what the kernel does not know yet.
func choose(keep []Cap, permitted Set, known func(Cap) bool) Set {
	want := SetOf(keep...)
	for _, c := range keep {
		if !known(c) && c.splitFromAdmin() {
			want |= SetOf(SysAdmin)
		}
	}
	return want & permitted
}

// capget reads the sets of the calling thread.
func capget() (unix.CapUserHeader, [2]unix.CapUserData, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return header, data, fmt.Errorf("capget: %w", err)
	}
	return header, data, nil
}

// bounds are the bounding set and, as the kernel numbers capabilities without
// gaps, the number of the first that it does not know.
type bounds struct {
	set  Set
	next Cap
}

func (b bounds) knows(c Cap) bool { return c < b.next }

func bounding() (bounds, error) {
	var b bounds
	for ; b.next < 64; b.next++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(b.next), 0, 0, 0)
		if err == unix.EINVAL {
			break
		}
		if err != nil {
			return bounds{}, fmt.Errorf("read the bounding set: %w", err)
		}
		if has == 1 {
			b.set |= SetOf(b.next)
		}
	}
	return b, nil
}

// prctl is prctl(2) with one argument, in every thread.
func prctl(option int, arg uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0)
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return ErrCgo
	}
	return errno
}

func join(low, high uint32) Set { return Set(low) | Set(high)<<32 }
