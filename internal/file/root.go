package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is returned when something other than a regular file stands
// where content was to be read: a FIFO, a device or a directory.
var ErrNotRegular = errors.New("not a regular file")

// errNoProc hides the ENOENT of a missing /proc, which would say that a file is
// missing.
var errNoProc = errors.New("cannot be opened without /proc")

// ErrTooLarge is returned when a file holds more than the reader allows.
var ErrTooLarge = errors.New("file is larger than allowed")

// Root is the root directory of one view of the file system: the host's, a
// chroot's, a container's. Every name given to it is resolved inside it, with
// ".." and symbolic links (absolute ones too) confined by openat2(2)
// RESOLVE_IN_ROOT, so a hostile tree cannot lead outside. A Root is safe for
// concurrent use until it is closed.
type Root struct {
	fd    int
	name  string
	avoid map[string]bool
}

// OpenRoot opens the directory dir as a root. A magic link such as
// /proc/PID/root is followed: this is how another process's view is entered.
func OpenRoot(dir string) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open root", Path: dir, Err: err}
	}
	return &Root{fd: fd, name: dir}, nil
}

// OpenRootAt opens the directory that name leads to from the directory
// descriptor dirfd, following magic links.
func OpenRootAt(dirfd int, name string) (*Root, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open root", Path: name, Err: err}
	}
	return &Root{fd: fd, name: name}, nil
}

// ErrAvoided is returned for a name that leads to what Avoid names.
var ErrAvoided = errors.New("it lies on a file system that is not touched because it need not answer")

// Avoid makes every later use of the root keep away from the mount points given,
// as absolute names inside the root: looking at a file system that does not answer
// puts the caller to sleep, and no signal need wake it. Names are then followed one
// component at a time, which costs more. It is not to be called while the root is
// in use.
func (r *Root) Avoid(points []string) {
	r.avoid = nil
	for _, p := range points {
		if r.avoid == nil {
			r.avoid = make(map[string]bool, len(points))
		}
		r.avoid[Clean(p)] = true
	}
}

// Name is the name under which the root was opened; for messages only.
func (r *Root) Name() string { return r.name }

// Close releases the root.
func (r *Root) Close() error { return unix.Close(r.fd) }

// how builds the openat2 argument that confines a resolution to the root.
func how(flags uint64) *unix.OpenHow {
	return &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
}

func (r *Root) openat2(op, name string, flags uint64) (int, error) {
	if r.avoid["/"] {
		return -1, &fs.PathError{Op: op, Path: r.join(name), Err: ErrAvoided}
	}
	if name != "" && r.avoid != nil {
		real, err := r.walk(name, flags&unix.O_NOFOLLOW != 0, func(Info) {}, func(string) {})
		if err != nil {
			return -1, &fs.PathError{Op: op, Path: r.join(name), Err: err}
		}
		// No link is left, unless one was put there meanwhile.
		return r.openin(op, real, flags|unix.O_NOFOLLOW)
	}
	return r.openin(op, name, flags)
}

// openin is one openat2(2), confined to the root.
func (r *Root) openin(op, name string, flags uint64) (int, error) {
	if name == "" {
		return -1, &fs.PathError{Op: op, Path: name, Err: unix.ENOENT}
	}
	// RESOLVE_IN_ROOT may answer EAGAIN when a rename or mount raced with a
	// ".." component (openat2(2)); a few tries settle it.
	for try := 0; ; try++ {
		fd, err := unix.Openat2(r.fd, name, how(flags))
		if err == nil {
			return fd, nil
		}
		if (err == unix.EAGAIN || err == unix.EINTR) && try < 16 {
			continue
		}
		return -1, &fs.PathError{Op: op, Path: r.join(name), Err: err}
	}
}

func (r *Root) join(name string) string { return path.Join(r.name, name) }

// Open opens the regular file name for reading. A FIFO or device is never
// opened for I/O: it is recognised on an O_PATH descriptor first.
func (r *Root) Open(name string) (*os.File, error) {
	pfd, err := r.openat2("open", name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pfd)
	var st unix.Stat_t
	if err := unix.Fstat(pfd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: r.join(name), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &fs.PathError{Op: "open", Path: r.join(name), Err: ErrNotRegular}
	}
	// O_NONBLOCK keeps another's lease on the file (fcntl(2), F_SETLEASE) from
	// blocking the open.
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", pfd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		err = errNoProc
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: r.join(name), Err: err}
	}
	return os.NewFile(uintptr(fd), r.join(name)), nil
}

// ReadFile returns the content of the regular file name, or ErrTooLarge when
// it holds more than limit bytes.
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var size int64
	if fi, err := f.Stat(); err == nil {
		size = fi.Size()
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: r.join(name), Err: ErrTooLarge}
	}
	// Files of /proc and /sys have no size.
	buf := make([]byte, 0, max(size+1, 4096))
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := f.Read(buf[len(buf):min(cap(buf), len(buf)+1<<20)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, &fs.PathError{Op: "read", Path: r.join(name), Err: ErrTooLarge}
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// ReadDir returns the names in the directory name, unsorted, at most limit of
// them (0 means no bound).
func (r *Root) ReadDir(name string, limit int) ([]string, error) {
	fd, err := r.openat2("open", name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), r.join(name))
	defer d.Close()
	if limit <= 0 {
		limit = -1
	}
	names, err := d.Readdirnames(limit)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

// Stat describes what name leads to, following symbolic links in the root.
func (r *Root) Stat(name string) (Info, error) {
	fd, err := r.openat2("stat", name, unix.O_PATH)
	if err != nil {
		return Info{}, err
	}
	defer unix.Close(fd)
	return StatFD(fd)
}

// Lstat describes name itself; a final symbolic link is not followed.
func (r *Root) Lstat(name string) (Info, error) {
	fd, err := r.openat2("lstat", name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return Info{}, err
	}
	defer unix.Close(fd)
	return StatFD(fd)
}

// Readlink returns the text of the symbolic link name, or EINVAL when name is
// something else, as readlink(2) does.
func (r *Root) Readlink(name string) (string, error) {
	fd, err := r.openat2("readlink", name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return r.linkText(fd, name)
}

func (r *Root) linkText(fd int, name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	if err == unix.ENOENT { // what an empty path gives for anything but a link
		err = unix.EINVAL
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: r.join(name), Err: err}
	}
	return string(buf[:n]), nil
}

// lstat and readlink are for a name on whose way no link and nothing to avoid
// lies.
func (r *Root) lstat(name string) (Info, error) {
	fd, err := r.openin("lstat", name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return Info{}, err
	}
	defer unix.Close(fd)
	return StatFD(fd)
}

func (r *Root) readlink(name string) (string, error) {
	fd, err := r.openin("readlink", name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return r.linkText(fd, name)
}

// Clean makes name absolute and lexically clean, as names are spelled in
// package databases.
func Clean(name string) string {
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	return path.Clean(name)
}
