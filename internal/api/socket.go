package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse says that somebody answers on the socket already.
var ErrInUse = errors.New("another sensor listens there")

// socket is a listening unix socket and the name it was given.
type socket struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// listen makes a socket of a mode and group. It comes into being under another
// name, closed to everybody, and takes its own name when it is as it should be:
// so no umask leaves it open for a moment, and a client finds the old one, or the
// new one.
func listen(ctx context.Context, path string, mode fs.FileMode, group uint32) (*socket, error) {
	if err := directory(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := vacant(ctx, path); err != nil {
		return nil, err
	}
	temporary := path + ".new"
	// Left by a sensor that was killed just here.
	if err := vacant(ctx, temporary); err != nil {
		return nil, err
	}
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := closedSocket(ctx, temporary)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	s.path = path
	if err := s.publish(temporary, mode, group); err != nil {
		s.Close()
		os.Remove(temporary)
		return nil, err
	}
	return s, nil
}

// closedSocket listens under a name that only root and this user can connect to.
func closedSocket(ctx context.Context, name string) (*socket, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		// unix_bind of net/unix/af_unix.c gives the name the socket's own mode.
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	l, err := config.Listen(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	s := &socket{UnixListener: l.(*net.UnixListener), path: name}
	// The name changes; see remove.
	s.SetUnlinkOnClose(false)
	return s, nil
}

func (s *socket) publish(temporary string, mode fs.FileMode, group uint32) error {
	if group != noGroup {
		if err := os.Lchown(temporary, -1, int(group)); err != nil {
			return fmt.Errorf("giving the socket to its group: %w", err)
		}
	}
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	info, err := os.Lstat(temporary)
	if err != nil {
		return err
	}
	s.made = info
	return os.Rename(temporary, s.path)
}

// remove takes the name away if it is still that of this socket.
func (s *socket) remove() error {
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, s.made) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(s.path)
}

// directory makes the socket's directory if need be. Names in one that others
// may write to can change between two looks at them, so such a one will not do.
func directory(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		// Whatever the umask took away: the group has to get through.
		return os.Chmod(dir, 0o755)
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the socket's directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is not a directory", dir)
	}
	ours := st.Uid == 0 || int(st.Uid) == os.Geteuid()
	// In a sticky directory only the owner of a name can change it.
	if !ours || st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("the socket's directory %s may be changed by other users; choose one that only root may write to", dir)
	}
	return nil
}

// vacant holds that there is nothing of a name but a socket without a listener.
func vacant(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is not a socket, so it is left alone; remove it or choose another name", path)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: %w", path, ErrInUse)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	// A listener with a full backlog, for one.
	return fmt.Errorf("%s: %w, or so it seems: %w", path, ErrInUse, err)
}
