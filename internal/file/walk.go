package file

import (
	"fmt"
	"io/fs"
	"path"
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
	if root == "/" {
		return full, nil
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
// way of name; zero if there is none or the way cannot be followed.
func (r *Root) LinksChanged(name string) time.Time {
	var latest time.Time
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
		next := path.Join(at, part)
		info, err := r.Lstat(next)
		if err != nil {
			return latest
		}
		if !info.Symlink() {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return latest
		}
		if info.Ctime.After(latest) {
			latest = info.Ctime
		}
		target, err := r.Readlink(next)
		if err != nil {
			return latest
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return latest
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
