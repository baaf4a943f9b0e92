package layer

import (
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// The methods below are those of a file.Root, for what reads package databases. None of
// them has a likeliest answer: what is not certain is ErrNotKnown.

// maxNames bounds the names that ReadDir holds when it is given no bound, and those
// that it holds beyond one because they are hidden.
const maxNames = 1 << 20

// Open opens the regular file name for reading; anything else is file.ErrNotRegular.
func (s *Stack) Open(name string) (*os.File, error) {
	f, _, err := s.OpenFile(name)
	return f, err
}

// OpenFile opens the regular file name for reading and says what it is. The error is
// file.ErrNotRegular for anything else, and file.ErrChanged if another took its place
// meanwhile.
func (s *Stack) OpenFile(name string) (*os.File, file.Info, error) {
	n, err := s.resolve("open", name, true)
	if err != nil {
		return nil, file.Info{}, err
	}
	p := n.content()
	f, err := s.openPart(p)
	if err != nil {
		return nil, file.Info{}, &fs.PathError{Op: "open", Path: s.full(name), Err: err}
	}
	return f, p.info, nil
}

func (s *Stack) openPart(p part) (*os.File, error) {
	if !p.info.Regular() {
		return nil, file.ErrNotRegular
	}
	pfd, err := s.reach(p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pfd)
	// O_NONBLOCK keeps another's lease on the file (fcntl(2), F_SETLEASE) from
	// blocking the open.
	fd, err := unix.Open(procFD(pfd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unreal(err)
	}
	return os.NewFile(uintptr(fd), path.Join(s.dirs[p.at].name, p.path)), nil
}

func (s *Stack) full(name string) string { return path.Join(s.Name(), name) }

// ReadFile returns the content of the regular file name, or file.ErrTooLarge when it
// holds more than limit bytes.
func (s *Stack) ReadFile(name string, limit int64) ([]byte, error) {
	f, info, err := s.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size > limit {
		return nil, &fs.PathError{Op: "read", Path: s.full(name), Err: file.ErrTooLarge}
	}
	// One byte more would show that it grew.
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: s.full(name), Err: file.ErrTooLarge}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Stat describes what name leads to, as it is in the directory that has its content.
func (s *Stack) Stat(name string) (file.Info, error) {
	n, err := s.resolve("stat", name, true)
	if err != nil {
		return file.Info{}, err
	}
	return n.content().info, nil
}

// Lstat describes name itself; a final symbolic link is not followed.
func (s *Stack) Lstat(name string) (file.Info, error) {
	n, err := s.resolve("lstat", name, false)
	if err != nil {
		return file.Info{}, err
	}
	return n.content().info, nil
}

// Canonical returns the path of what name leads to, without symbolic links.
func (s *Stack) Canonical(name string) (string, error) {
	n, err := s.resolve("canonical", name, true)
	if err != nil {
		return "", err
	}
	return n.name, nil
}

// Readlink returns the text of the symbolic link name, or EINVAL when name is
// something else, as readlink(2) does.
func (s *Stack) Readlink(name string) (string, error) {
	n, err := s.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	text := ""
	if !n.parts[0].info.Symlink() {
		err = unix.EINVAL
	} else {
		text, err = s.linkText(n.parts[0])
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: s.full(name), Err: err}
	}
	return text, nil
}

// ReadDir returns the names in the directory name, unsorted, at most limit of them (0
// means no bound but that of memory, some million).
func (s *Stack) ReadDir(name string, limit int) ([]string, error) {
	n, err := s.resolve("open", name, true)
	if err == nil && !n.dir() {
		err = &fs.PathError{Op: "open", Path: s.full(name), Err: unix.ENOTDIR}
	}
	if err == nil && n.doubt != nil {
		err = &fs.PathError{Op: "open", Path: s.full(name), Err: n.doubt}
	}
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > maxNames {
		limit = maxNames
	}
	l := listing{limit: limit, seen: make(map[string]bool)}
	for _, p := range n.parts {
		if err := s.list(p, &l); err != nil {
			return nil, &fs.PathError{Op: "read", Path: s.full(name), Err: err}
		}
		if len(l.names) == limit {
			break
		}
	}
	return l.names, nil
}

// listing is a merged directory being read.
type listing struct {
	limit int
	names []string
	seen  map[string]bool // a whiteout is seen and has no name
}

func (s *Stack) list(p part, l *listing) error {
	pfd, err := s.dirs[p.at].open(p.path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(pfd)
	attributes := false // whiteouts may be attributes
	if m, err := readMarks(pfd, s.prefix); err == nil {
		attributes = m.opaque == 'x'
	}
	fd, err := unix.Openat(pfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// Package os looks by this name at entries whose type the file system does not
	// tell.
	d := os.NewFile(uintptr(fd), procFD(fd))
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			name := e.Name()
			if l.seen[name] {
				continue
			}
			hidden, err := whiteout(fd, e, attributes, s.prefix)
			if err != nil {
				return err
			}
			if len(l.seen) >= l.limit+maxNames {
				return errTooMuch
			}
			l.seen[name] = true
			if hidden {
				continue
			}
			if l.names = append(l.names, name); len(l.names) == l.limit {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// whiteout reports whether e, in the directory dirfd, hides what has its name below.
func whiteout(dirfd int, e fs.DirEntry, attributes bool, prefix string) (bool, error) {
	device := e.Type()&fs.ModeCharDevice != 0
	if !device && !(attributes && e.Type().IsRegular()) {
		return false, nil
	}
	fd, err := unix.Openat(dirfd, e.Name(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0, nil
	case unix.S_IFREG:
		if st.Size > 0 || !attributes {
			return false, nil
		}
		m, err := readMarks(fd, prefix)
		return m.whiteout, err
	}
	return false, nil
}
