package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// dir is one directory of a stack.
type dir struct {
	fd   int // O_PATH
	name string
}

// reopen returns a descriptor of the directory that root is, O_PATH, for openat2(2).
func reopen(root *file.Root) (int, error) {
	want, err := root.Stat("/")
	if err != nil {
		return -1, err
	}
	fd, err := unix.Open(root.Name(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open root", Path: root.Name(), Err: err}
	}
	// The name may mean something else by now.
	if err := same(fd, want); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "open root", Path: root.Name(), Err: err}
	}
	return fd, nil
}

// same fails if fd is not the file, reached through the mount, that want describes.
func same(fd int, want file.Info) error {
	got, err := file.StatFD(fd)
	if err != nil {
		return err
	}
	if got.ID != want.ID || got.Mount != want.Mount {
		return file.ErrChanged
	}
	return nil
}

// openDir opens the directory name in root, of which base is a descriptor.
func openDir(root *file.Root, base int, name string) (dir, error) {
	if !path.IsAbs(name) || strings.Contains(name, "\x00") {
		return dir{}, fmt.Errorf("%w: %q is no absolute name", ErrNoStack, name)
	}
	// What the root keeps away from is not touched here either.
	want, err := root.Stat(name)
	if err != nil {
		return dir{}, err
	}
	fd, err := openat2(base, name, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if err == nil {
		if err = same(fd, want); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return dir{}, &fs.PathError{Op: "open layer", Path: name, Err: err}
	}
	return dir{fd, name}, nil
}

// open opens what is at p, below the directory and on its file system. An overlay does
// not see what is mounted inside its directories, so that is EXDEV.
func (d dir) open(p string, flags uint64) (int, error) {
	if p == "" {
		p = "."
	}
	return openat2(d.fd, p, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
}

func openat2(at int, name string, flags, resolve uint64) (int, error) {
	// EAGAIN is for a rename that raced with a ".." (openat2(2)).
	for try := 0; ; try++ {
		fd, err := unix.Openat2(at, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve})
		if (err == unix.EAGAIN || err == unix.EINTR) && try < 16 {
			continue
		}
		return fd, err
	}
}

// marks are overlayfs's attributes of one file.
type marks struct {
	opaque             byte // 'y', 'x' for a directory that has whiteouts by attribute, or 0
	whiteout, metacopy bool
	redirected         bool
	redirect           string // a valid one, if redirected
}

var (
	errPrivilege = fmt.Errorf("%w: marks of overlayfs cannot be read without CAP_SYS_ADMIN", ErrNotKnown)
	errOther     = fmt.Errorf("%w: marks of another kind of overlay than this one", ErrNotKnown)
	errRedirect  = fmt.Errorf("%w: invalid redirection", ErrNotKnown)
	errMarks     = fmt.Errorf("%w: marks of overlayfs cannot be read", ErrNotKnown)
)

// readMarks reads the marks of the file behind fd, an O_PATH descriptor, whose
// attributes have names that begin with prefix.
func readMarks(fd int, prefix string) (marks, error) {
	var m marks
	self := procFD(fd)
	list, err := listxattr(self)
	if err != nil {
		return m, err
	}
	for name := range strings.SplitSeq(list, "\x00") {
		key, ours := strings.CutPrefix(name, prefix)
		if !ours {
			// In an overlay that takes its marks from elsewhere a container may set
			// these at will; or the overlay is of that kind, and they count.
			other, isOther := strings.CutPrefix(name, "user.overlay.")
			if isOther && (other == "opaque" || other == "whiteout" || other == "redirect" || other == "metacopy") {
				return marks{}, errOther
			}
			continue
		}
		switch key {
		case "opaque":
			v, err := getxattr(self, name)
			if err != nil {
				return marks{}, err
			}
			if v == "y" || v == "x" { // ovl_get_dir_xattr_val
				m.opaque = v[0]
			}
		case "whiteout":
			m.whiteout = true
		case "metacopy":
			m.metacopy = true
		case "redirect":
			v, err := getxattr(self, name)
			if err != nil {
				return marks{}, err
			}
			if !validRedirect(v) {
				return marks{}, errRedirect
			}
			m.redirected, m.redirect = true, v
		}
	}
	return m, nil
}

// validRedirect is ovl_get_redirect_xattr of fs/overlayfs/util.c, and more strict with
// "." and "..", which no lookup finds.
func validRedirect(v string) bool {
	rest, absolute := strings.CutPrefix(v, "/")
	if !absolute && strings.Contains(v, "/") || strings.Contains(v, "\x00") {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// listxattr returns the names of the attributes of name, each with a NUL after it.
func listxattr(name string) (string, error) {
	var few [512]byte
	n, err := unix.Listxattr(name, few[:])
	if err == nil {
		return string(few[:n]), nil
	}
	if err == unix.ERANGE {
		many := make([]byte, 64<<10) // XATTR_LIST_MAX, include/uapi/linux/limits.h
		n, err = unix.Listxattr(name, many)
		if err == nil {
			return string(many[:n]), nil
		}
	}
	if err == unix.EOPNOTSUPP {
		return "", nil
	}
	return "", fmt.Errorf("%w: %w", errMarks, unreal(err))
}

func getxattr(name, attr string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Getxattr(name, attr, buf[:])
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMarks, unreal(err))
	}
	return string(buf[:n]), nil
}

// errNoProc hides the ENOENT of a missing /proc, which would say that a file is
// missing.
var errNoProc = errors.New("cannot be reached without /proc")

func unreal(err error) error {
	if err == unix.ENOENT {
		return errNoProc
	}
	return err
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// initialUserNamespace reports whether this process is in the user namespace that the
// kernel began with: PROC_USER_INIT_INO, include/linux/proc_ns.h.
func initialUserNamespace() bool {
	var buf [64]byte
	n, err := unix.Readlink("/proc/self/ns/user", buf[:])
	return err == nil && string(buf[:n]) == "user:[4026531837]"
}

// sysAdmin reports whether the calling thread has CAP_SYS_ADMIN in effect.
func sysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
