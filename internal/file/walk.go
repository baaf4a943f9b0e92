package file

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's own bound on symbolic links in one resolution
// (MAXSYMLINKS, include/linux/namei.h).
const maxLinks = 40

// Canonical returns the path of what name leads to, inside the root, without
// symbolic links: the spelling under which a package database knows a file.
func (r *Root) Canonical(name string) (string, error) {
	fd, err := r.openat2("open", name, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	full, err := fdPath(fd)
	if err != nil {
		return "", err
	}
	root, err := fdPath(r.fd)
	if err != nil {
		return "", err
	}
	switch root {
	case "/":
		return full, nil
	case full:
		return "/", nil
	}
	rest, ok := strings.CutPrefix(full, root)
	if !ok || !strings.HasPrefix(rest, "/") {
		return "", &fs.PathError{Op: "canonical", Path: r.join(name), Err: fmt.Errorf("%q is not below %q", full, root)}
	}
	return rest, nil
}

// fdPath is the kernel's name for an open descriptor (proc_pid_fd(5)).
func fdPath(fd int) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf[:])
	if err != nil {
		return "", fmt.Errorf("name of descriptor: %w", err)
	}
	return string(buf[:n]), nil
}

// LinksChanged returns the latest ctime among the symbolic links that lie on the
// way of name, as far as the way can be followed; zero if there is none.
func (r *Root) LinksChanged(name string) time.Time {
	var latest time.Time
	_, _ = r.walk(name, false, func(link Info) {
		if link.Ctime.After(latest) {
			latest = link.Ctime
		}
	}, func(string) {})
	return latest
}

// Tops returns the entries of the root directory through which the way of name leads,
// symbolic links and all, sorted, and where it ends: nothing outside of these entries
// has a part in what name leads to.
func (r *Root) Tops(name string) (tops []string, end string, err error) {
	end, err = r.walk(name, false, func(Info) {}, func(top string) { tops = append(tops, top) })
	slices.Sort(tops)
	return slices.Compact(tops), end, err
}

// walk follows name one component at a time and returns it without symbolic
// links; a last one stays with nofollow. What does not exist is left as it is
// spelled. It calls seen for every link on the way, and enter for every entry of the
// root directory, and never touches what Avoid names.
func (r *Root) walk(name string, nofollow bool, seen func(Info), enter func(string)) (string, error) {
	if r.avoid["/"] {
		return "/", ErrAvoided
	}
	at := "/"
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		if at == "/" {
			enter(part)
		}
		next := path.Join(at, part)
		if r.avoid[next] {
			return next, ErrAvoided
		}
		info, err := r.lstat(next)
		if err != nil || !info.Symlink() || nofollow && len(rest) == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return next, unix.ELOOP
		}
		seen(info)
		target, err := r.readlink(next)
		if err != nil {
			return next, err
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// FSType is the type of the file system that holds name (statfs(2), f_type).
func (r *Root) FSType(name string) (int64, error) {
	fd, err := r.openat2("open", name, unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: r.join(name), Err: err}
	}
	return int64(st.Type), nil
}
