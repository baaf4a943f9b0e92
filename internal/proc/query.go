package proc

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoQuery says that the kernel has no PROCMAP_QUERY (Linux before 6.11).
var ErrNoQuery = errors.New("PROCMAP_QUERY is not supported by this kernel")

// procmapQuery mirrors struct procmap_query of include/uapi/linux/fs.h.
type procmapQuery struct {
	size, flags, addr                uint64
	start, end, vmaFlags, pageSize   uint64
	offset, inode                    uint64
	major, minor, nameSize, buildLen uint32
	nameAddr, buildAddr              uint64
}

// PROCMAP_QUERY is _IOWR('f', 17, struct procmap_query).
const procmapIoctl = 3<<30 | uintptr(unsafe.Sizeof(procmapQuery{}))<<16 | 'f'<<8 | 17

// Query flags of include/uapi/linux/fs.h.
const (
	queryExecutable = 0x04
	queryNext       = 0x10
	queryFileBacked = 0x20
)

// QueryMaps calls f for every executable area that has a file, by
// PROCMAP_QUERY: names come unescaped and areas that are not asked for are
// passed over in the kernel.
func (p *Process) QueryMaps(f func(Area)) error {
	m, err := p.open("maps")
	if err != nil {
		return gone(err)
	}
	defer m.Close()
	// A name may be as long as PATH_MAX plus " (deleted)"; the kernel's own
	// buffer is one page (do_procmap_query in fs/proc/task_mmu.c).
	name := make([]byte, unix.PathMax)
	// The kernel gets the address as a number, so the buffer must not move.
	var pin runtime.Pinner
	pin.Pin(&name[0])
	defer pin.Unpin()
	var q procmapQuery
	for addr := uint64(0); ; addr = q.end {
		q = procmapQuery{
			size: uint64(unsafe.Sizeof(q)), addr: addr,
			flags:    queryExecutable | queryNext | queryFileBacked,
			nameSize: uint32(len(name)), nameAddr: uint64(uintptr(unsafe.Pointer(&name[0]))),
		}
		err := query(m, &q)
		long := err == unix.ENAMETOOLONG
		if long {
			q.nameSize, q.nameAddr = 0, 0
			err = query(m, &q)
		}
		switch {
		case err == unix.ENOENT:
			return nil // no further area
		case err == unix.ENOTTY || err == unix.EINVAL:
			return ErrNoQuery
		case err != nil:
			return gone(p.error("PROCMAP_QUERY", "maps", err))
		case q.end <= addr:
			return p.error("PROCMAP_QUERY", "maps", errArea)
		}
		b := name[:min(int(q.nameSize), len(name))]
		b = bytes.TrimRight(b, "\x00")
		if long || (len(b) > 0 && b[0] == '/') {
			f(Area{q.start, q.end, q.major, q.minor, q.inode, string(b)})
		}
	}
}

// BuildID returns the GNU build ID that the kernel finds in the file mapped at
// addr, empty if there is none. Unlike OpenOf it needs no capability beyond
// the right to read the process's mappings.
func (p *Process) BuildID(addr uint64) ([]byte, error) {
	m, err := p.open("maps")
	if err != nil {
		return nil, gone(err)
	}
	defer m.Close()
	id := make([]byte, 20) // BUILD_ID_SIZE_MAX, include/linux/buildid.h
	var pin runtime.Pinner
	pin.Pin(&id[0])
	defer pin.Unpin()
	q := procmapQuery{size: uint64(unsafe.Sizeof(procmapQuery{})), addr: addr,
		buildLen: uint32(len(id)), buildAddr: uint64(uintptr(unsafe.Pointer(&id[0])))}
	err = query(m, &q)
	if err == unix.ENOTTY || err == unix.EINVAL {
		return nil, ErrNoQuery
	}
	if err != nil {
		return nil, gone(p.error("PROCMAP_QUERY", "maps", err))
	}
	return id[:min(int(q.buildLen), len(id))], nil
}

func query(f *os.File, q *procmapQuery) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), procmapIoctl, uintptr(unsafe.Pointer(q)))
	if errno != 0 {
		return errno
	}
	return nil
}
