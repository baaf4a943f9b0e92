// Package file knows the identity and the content of files: which inode a name
// or a mapping means, what bytes it holds, and how to get there without
// leaving a given root.
//
// It knows nothing of processes and packages.
package file

import (
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Dev is a device number in the encoding of stat(2) (the 64-bit st_dev of
// makedev(3)). The kernel's own s_dev (major<<20 | minor, include/linux/kdev_t.h)
// must go through KernelDev; no other conversion exists in this program.
type Dev uint64

// KernelDev converts a kernel-internal dev_t, MINORBITS = 20 wide
// (include/linux/kdev_t.h), to the stat(2) encoding.
func KernelDev(sdev uint32) Dev {
	return Dev(unix.Mkdev(sdev>>20, sdev&(1<<20-1)))
}

// MakeDev makes a Dev from the major:minor pair that /proc/PID/maps and
// PROCMAP_QUERY print.
func MakeDev(major, minor uint32) Dev { return Dev(unix.Mkdev(major, minor)) }

func (d Dev) String() string {
	return fmt.Sprintf("%d:%d", unix.Major(uint64(d)), unix.Minor(uint64(d)))
}

// View says which of the kernel's several answers an ID was made from. IDs of
// different views are never equal: on overlayfs and btrfs the same file has
// another device, and on overlayfs perhaps another inode number, in each.
type View uint8

const (
	// StatView is what stat(2) says, of a path or through map_files.
	StatView View = iota + 1
	// LayerView is vma->vm_file->f_inode as the BPF iterator reads it: on
	// overlayfs the inode of the layer, one however many containers share it.
	LayerView
	// MapsView is the device and inode printed in /proc/PID/maps: the layer's
	// before Linux 6.8 and the overlay's since.
	MapsView
)

// ID is the identity of one file in one view.
type ID struct {
	View View
	Dev  Dev
	Ino  uint64
}

// StatID makes an ID from the numbers of a stat(2).
func StatID(dev, ino uint64) ID { return ID{StatView, Dev(dev), ino} }

// LayerID makes an ID from the numbers that the BPF iterator reads.
func LayerID(sdev uint32, ino uint64) ID { return ID{LayerView, KernelDev(sdev), ino} }

// MapsID makes an ID from the numbers of a /proc/PID/maps line.
func MapsID(major, minor uint32, ino uint64) ID { return ID{MapsView, MakeDev(major, minor), ino} }

func (id ID) String() string { return fmt.Sprintf("%s:%d", id.Dev, id.Ino) }

// Info is what stat says of a file, with nanosecond times. Birth is zero where
// the file system does not record it.
type Info struct {
	ID    ID
	Mode  uint32 // st_mode: type and permissions
	Nlink uint32
	UID   uint32
	Size  int64
	Mtime time.Time
	Ctime time.Time
	Birth time.Time
	// Mount is the ID of the mount through which the file was reached, as in
	// /proc/PID/mountinfo (STATX_MNT_ID, Linux 5.8); 0 if not known.
	Mount uint64
}

// Regular reports whether the file is a regular one.
func (i Info) Regular() bool { return i.Mode&unix.S_IFMT == unix.S_IFREG }

// Symlink reports whether the file is a symbolic link.
func (i Info) Symlink() bool { return i.Mode&unix.S_IFMT == unix.S_IFLNK }

const statxMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID

// StatFD describes the file behind an open descriptor.
func StatFD(fd int) (Info, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statxMask, &st); err != nil {
		return Info{}, fmt.Errorf("statx: %w", err)
	}
	return fromStatx(&st), nil
}

// StatAt describes what name leads to from dirfd, following links, magic ones
// too: StatAt(procfd, "map_files/START-END") is the mapped file, deleted or not.
func StatAt(dirfd int, name string) (Info, error) {
	var st unix.Statx_t
	// What a remote file system told last will do: asking it again may take
	// for ever, and the inode is in use, so its identity stands.
	if err := unix.Statx(dirfd, name, unix.AT_STATX_DONT_SYNC, statxMask, &st); err != nil {
		return Info{}, &fs.PathError{Op: "statx", Path: name, Err: err}
	}
	return fromStatx(&st), nil
}

func fromStatx(st *unix.Statx_t) Info {
	i := Info{
		ID:    StatID(unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino),
		Mode:  uint32(st.Mode),
		Nlink: st.Nlink,
		UID:   st.Uid,
		Size:  int64(st.Size),
		Mtime: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
		Ctime: time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec)),
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		i.Mount = st.Mnt_id
	}
	// Images made without birth times say 1970.
	if st.Mask&unix.STATX_BTIME != 0 && st.Btime.Sec != 0 {
		i.Birth = time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
	}
	return i
}
