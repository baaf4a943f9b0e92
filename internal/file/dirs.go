package file

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Dirs follows many names in one root within a short time. Libraries stand in few
// directories: a directory is followed once and held open, and what stands in it is then
// found by one system call instead of three. A directory that is put in the place of
// another meanwhile is not noticed; what stands in a directory always is. A file system
// cannot be unmounted while one of its directories is held. The zero value is not usable;
// Dirs is for one goroutine.
type Dirs struct {
	root *Root
	// left is how many directories may still be held open by all who share it.
	left *int
	// fds are the directories that were asked for, by the name with its last slash;
	// notOpen for those from which one name was asked so far, or that cannot be held.
	fds  map[string]int
	open int
}

const (
	notOpen = -1
	// maxDirs bounds the directories that are remembered, and maxOpenDirs those that
	// are held open of one root.
	maxDirs     = 1024
	maxOpenDirs = 16
)

// NewDirs makes one for a root, which has to stay open for as long. What it holds open is
// taken from left, which others of the same goroutine may share: whoever has many roots
// has as many descriptors for all of them, and the roots may be a stranger's.
func NewDirs(r *Root, left *int) *Dirs { return &Dirs{root: r, left: left, fds: make(map[string]int)} }

// Close lets the directories go. The Dirs may be used again.
func (d *Dirs) Close() {
	for _, fd := range d.fds {
		if fd != notOpen {
			// Nothing was written to it.
			_ = unix.Close(fd)
		}
	}
	clear(d.fds)
	*d.left += d.open
	d.open = 0
}

// Stat describes what name leads to, as Root.Stat does.
func (d *Dirs) Stat(name string) (Info, error) {
	slash := strings.LastIndexByte(name, '/')
	base := name[slash+1:]
	// Of a root that avoids something each name is followed step by step.
	if slash < 0 || base == "" || base == "." || base == ".." || d.root.avoid != nil {
		return d.root.Stat(name)
	}
	fd, ok := d.dir(name[:slash+1])
	if !ok {
		return d.root.Stat(name)
	}
	var st unix.Statx_t
	err := unix.Statx(fd, base, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, statxMask, &st)
	if err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		// Links lead elsewhere, and an error is to say what it always says.
		return d.root.Stat(name)
	}
	return fromStatx(&st), nil
}

// dir returns the directory of that name, if it is worth to be held open and can be.
func (d *Dirs) dir(name string) (fd int, ok bool) {
	fd, asked := d.fds[name]
	switch {
	case asked && fd != notOpen:
		return fd, true
	case !asked:
		if len(d.fds) < maxDirs {
			d.fds[name] = notOpen
		}
		return notOpen, false
	case d.open == maxOpenDirs || *d.left <= 0:
		return notOpen, false
	}
	fd, err := d.root.openat2("open", name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return notOpen, false
	}
	d.fds[name] = fd
	d.open++
	*d.left--
	return fd, true
}
