package layer

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// maxLinks is the kernel's own bound on symbolic links in one resolution
// (MAXSYMLINKS, include/linux/namei.h).
const maxLinks = 40

// resolve goes through the merged tree as path_resolution(7) says, with ".." and
// absolute links kept inside. The node is also returned with ErrNotKnown, as far as it
// is the likeliest; it has no parts if nothing is likely.
func (s *Stack) resolve(op, name string, follow bool) (node, error) {
	n, err := s.walk(name, follow)
	if err != nil {
		err = &fs.PathError{Op: op, Path: path.Join(s.Name(), name), Err: err}
	}
	return n, err
}

func (s *Stack) walk(name string, follow bool) (node, error) {
	switch {
	case name == "":
		return node{}, unix.ENOENT
	case strings.Contains(name, "\x00"):
		return node{}, unix.EINVAL
	case len(name) >= unix.PathMax:
		return node{}, unix.ENAMETOOLONG
	case len(s.dirs) == 0:
		return node{}, fs.ErrClosed
	}
	blind := s.prefix != "user.overlay." && !(s.initial && sysAdmin())
	looks := maxLooks
	// on is the way to where we are, for "..".
	top, err := s.top()
	if err != nil {
		return node{}, err
	}
	on := []node{top}
	rest := strings.Split(name, "/")
	var doubt error // about the way here
	for links := 0; len(rest) > 0; {
		at := on[len(on)-1]
		if !at.dir() {
			return none(unix.ENOTDIR, doubt)
		}
		name, rest = rest[0], rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(on) > 1 {
				on = on[:len(on)-1]
			}
			continue
		}
		if len(name) > unix.NAME_MAX {
			return none(unix.ENAMETOOLONG, doubt)
		}
		next, err := s.child(at, name, &looks, blind)
		if err != nil {
			return node{}, err
		}
		if len(next.parts) == 0 {
			return none(unix.ENOENT, doubt, next.doubt)
		}
		next.name = path.Join(at.name, name)
		if doubt == nil {
			doubt = next.certain()
		}
		if !next.parts[0].info.Symlink() || len(rest) == 0 && !follow {
			on = append(on, next)
			continue
		}
		if links++; links > maxLinks {
			return none(unix.ELOOP, doubt)
		}
		target, err := s.linkText(next.parts[0])
		if err != nil {
			return node{}, err
		}
		if strings.HasPrefix(target, "/") {
			on = on[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	n := on[len(on)-1]
	if doubt != nil {
		n.doubt, n.sure = doubt, 0
	}
	return n, n.certain()
}

// none says err, or the first doubt that leaves even that uncertain.
func none(err error, doubts ...error) (node, error) {
	for _, d := range doubts {
		if d != nil {
			return node{}, d
		}
	}
	return node{}, err
}

// top is the root directory of the merged tree.
func (s *Stack) top() (node, error) {
	parts := s.tops()
	info, err := file.StatFD(s.dirs[0].fd)
	parts[0].info = info
	return node{name: "/", parts: parts, sure: len(parts)}, err
}

// reach opens what p was when it was looked up.
func (s *Stack) reach(p part) (int, error) {
	fd, err := s.dirs[p.at].open(p.path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return -1, errors.Join(file.ErrChanged, err)
	}
	got, err := file.StatFD(fd)
	if err == nil && (got.ID != p.info.ID || got.Mode&unix.S_IFMT != p.info.Mode&unix.S_IFMT) {
		err = file.ErrChanged
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *Stack) linkText(p part) (string, error) {
	fd, err := s.reach(p)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(buf[:n]), err
}
