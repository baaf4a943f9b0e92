package api

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a connection.
type peer struct {
	uid uint32
	// trusted: root, or the sensor itself.
	trusted bool
}

// noGroup is the gid that no group has: -1 in chown(2).
const noGroup = ^uint32(0)

// overflowID stands for every user and group of a user namespace that has no
// name in ours (/proc/sys/kernel/overflowgid, user_namespaces(7)).
const overflowID = 65534

// policy says who may ask.
type policy struct {
	own   uint32
	group uint32
}

// admits decides on a user. The groups are asked for only where they matter.
func (p policy) admits(uid, gid uint32, groups func() ([]uint32, error)) (bool, error) {
	switch {
	case uid == 0 || uid == p.own:
		return true, nil
	case p.group == noGroup:
		return false, nil
	case gid == p.group:
		return true, nil
	}
	more, err := groups()
	return slices.Contains(more, p.group), err
}

// identify asks the kernel who made a connection: the credentials are those at
// the time of connect(2) (unix(7), SO_PEERCRED).
func (p policy) identify(c *net.UnixConn) (who peer, admitted bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, false, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed != nil {
			return
		}
		who = peer{cred.Uid, cred.Uid == 0 || cred.Uid == p.own}
		admitted, failed = p.admits(cred.Uid, cred.Gid, func() ([]uint32, error) { return peerGroups(fd) })
	})
	if err == nil {
		err = failed
	}
	return who, admitted && err == nil, err
}

// peerGroups returns the supplementary groups of a peer: SO_PEERGROUPS of
// net/core/sock.c, an array of gid_t; ERANGE comes with the length it needs.
func peerGroups(fd uintptr) ([]uint32, error) {
	const most = 65536 // NGROUPS_MAX of linux/limits.h
	groups := make([]uint32, 64)
	for {
		length := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&length)), 0)
		switch {
		case errno == 0:
			return groups[:length/4], nil
		case errno == syscall.ERANGE && int(length/4) > len(groups) && length/4 <= most:
			groups = make([]uint32, length/4)
		default:
			return nil, fmt.Errorf("the peer's groups: %w", errno)
		}
	}
}

// lookupGroup returns the gid of a group given by name or number.
func lookupGroup(name string) (uint32, error) {
	if name == "" {
		return noGroup, nil
	}
	id := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		g, err := user.LookupGroup(name)
		if err != nil {
			return noGroup, fmt.Errorf("the socket's group: %w", err)
		}
		id = g.Gid
	}
	gid, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return noGroup, fmt.Errorf("the socket's group %q: %w", name, err)
	}
	if gid == overflowID || uint32(gid) == noGroup {
		return noGroup, fmt.Errorf("the socket's group %q: %w", name, errNobody)
	}
	return uint32(gid), nil
}

// errNobody: see overflowID.
var errNobody = errors.New("it cannot be told from the groups of other user namespaces; take another")
