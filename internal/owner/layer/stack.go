// Package layer knows what an overlay root is made of: which of its directories
// holds a file, and what is in the files of an image that does not run.
//
// It answers from the directories alone, as overlayfs would (Linux
// Documentation/filesystems/overlayfs.rst and fs/overlayfs/namei.c), without
// mounting anything. It knows no processes, no runtimes and no packages.
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

// maxLower is the number of lower directories of an overlay (OVL_MAX_STACK,
// fs/overlayfs/params.h).
const maxLower = 500

// ErrNotKnown says that the directories do not tell what an overlay over them would
// show: marks of overlayfs may not be read, contradict one another or the kind of
// mount, or a file system is mounted inside a directory.
var ErrNotKnown = errors.New("what the overlay shows is not known")

// ErrNoStack says that there are no directories, or too many, or that one is not
// named absolutely.
var ErrNoStack = errors.New("no stack of directories")

// Where is one directory of a stack.
type Where struct {
	// Upper says that it is the writable directory.
	Upper bool
	// Index is the place among the lower directories, 0 for the topmost; 0 for Upper.
	Index int
}

// Stack is the directories of an overlay root, seen as one tree. Names given to it
// are resolved in that tree, symbolic links too, and cannot lead outside of the
// directories. A name is never opened to find out what it is, so no FIFO or device
// blocks. A Stack is safe for concurrent use until it is closed.
//
// The directories may change meanwhile. Each answer was true of every directory at
// some moment of the call, not of all of them at the same.
type Stack struct {
	dirs   []dir // topmost first
	upper  bool  // dirs[0] is the upper one
	prefix string
	// initial says that this process is in the initial user namespace, where
	// CAP_SYS_ADMIN lets one see trusted extended attributes.
	initial bool
	// unmarked takes marks that cannot be seen for want of CAP_SYS_ADMIN to be absent.
	unmarked bool
}

// Open opens the stack of an upper directory, empty if there is none, over lower ones,
// topmost first. They are named in root. The error is ErrNoStack for what cannot be a
// stack, or tells why one of them cannot be opened; nothing is told of the others then,
// for any of them may hide what is in those below.
//
// Whether a directory hides those below stands in attributes that only CAP_SYS_ADMIN
// shows. Without it most names are ErrNotKnown, see Find. Data-only lower directories
// ("::" in the mount's lowerdir) are not supported: leave such a root alone.
func Open(root *file.Root, upper string, lower []string) (*Stack, error) {
	return open(root, upper, lower, "trusted.overlay.")
}

// OpenUnmarked is Open for what need not be certain: without CAP_SYS_ADMIN, marks that
// cannot be seen are taken to be absent. That is right unless one layer removed a
// directory and made it anew, or renamed one: then what is below shows through.
func OpenUnmarked(root *file.Root, upper string, lower []string) (*Stack, error) {
	s, err := Open(root, upper, lower)
	if err != nil {
		return nil, err
	}
	s.unmarked = true
	return s, nil
}

// OpenUser is Open for an overlay that was mounted with the option userxattr, as by
// runtimes without privileges: its marks are attributes that anyone may read, and
// that a container could not have set.
func OpenUser(root *file.Root, upper string, lower []string) (*Stack, error) {
	return open(root, upper, lower, "user.overlay.")
}

func open(root *file.Root, upper string, lower []string, prefix string) (*Stack, error) {
	names := lower
	if upper != "" {
		names = append([]string{upper}, lower...)
	}
	if len(names) == 0 || len(lower) > maxLower {
		return nil, fmt.Errorf("%w: %d directories", ErrNoStack, len(names))
	}
	s := &Stack{upper: upper != "", prefix: prefix, initial: initialUserNamespace()}
	base, err := reopen(root)
	if err != nil {
		return nil, err
	}
	defer unix.Close(base)
	for _, name := range names {
		d, err := openDir(root, base, name)
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.dirs = append(s.dirs, d)
	}
	return s, nil
}

// Close releases the directories.
func (s *Stack) Close() error {
	var first error
	for _, d := range s.dirs {
		if err := unix.Close(d.fd); err != nil && first == nil {
			first = err
		}
	}
	s.dirs = nil
	return first
}

// Name is how messages name the stack: its topmost directory.
func (s *Stack) Name() string {
	if len(s.dirs) == 0 {
		return ""
	}
	return s.dirs[0].name
}

// Lowers is the number of lower directories.
func (s *Stack) Lowers() int {
	if s.upper {
		return len(s.dirs) - 1
	}
	return len(s.dirs)
}

// Dir is the name of a directory as it was opened; empty if there is no such.
func (s *Stack) Dir(w Where) string {
	i, ok := s.number(w)
	if !ok {
		return ""
	}
	return s.dirs[i].name
}

func (s *Stack) where(i int) Where {
	switch {
	case !s.upper:
		return Where{Index: i}
	case i == 0:
		return Where{Upper: true}
	}
	return Where{Index: i - 1}
}

func (s *Stack) number(w Where) (int, bool) {
	i := w.Index
	switch {
	case w.Upper:
		return 0, s.upper && w.Index == 0
	case s.upper:
		i++
	}
	return i, w.Index >= 0 && i < len(s.dirs)
}

// Find says which directory the content of name is in, and what it is there,
// following symbolic links. For a directory that is the topmost of those that are
// merged, and for a file whose attributes alone were copied up (overlayfs's metacopy)
// the one that has the data.
//
// A name that the root does not have is fs.ErrNotExist. With ErrNotKnown, where and
// info are the likeliest, if info.Mode is not 0; Is and Holder can make sure.
func (s *Stack) Find(name string) (Where, file.Info, error) {
	n, err := s.resolve("find", name, true)
	if len(n.parts) == 0 {
		return Where{}, file.Info{}, err
	}
	p := n.content()
	return s.where(p.at), p.info, err
}

// Is reports whether id, the identity of a mapped file in the layer view, is the file
// that the directory where holds under name: then what runs is that directory's file.
// False says nothing: btrfs has other device numbers in the layer view than for
// stat(2).
func (s *Stack) Is(where Where, name string, id file.ID) bool {
	i, ok := s.number(where)
	if !ok || id.View != file.LayerView || id.Ino == 0 {
		return false
	}
	found := false
	s.places(name, func(p place) bool {
		found = p.at == i && s.holds(p, id)
		return !found
	})
	return found
}

// Holder finds the directory that holds the file id, of the layer view, under name. It
// need not be the one that Find tells: what was mapped may since have been replaced in
// a directory above.
func (s *Stack) Holder(name string, id file.ID) (Where, bool) {
	if id.View != file.LayerView || id.Ino == 0 {
		return Where{}, false
	}
	var w Where
	found := false
	s.places(name, func(p place) bool {
		if s.holds(p, id) {
			w, found = s.where(p.at), true
		}
		return !found
	})
	return w, found
}

// place is a name inside one directory of the stack.
type place struct {
	at   int    // number of the directory, 0 for the topmost
	path string // in the directory, without a slash at either end; empty for itself
}

// places calls yield for where name may be in each directory, hidden or not, until it
// returns false. Hidden ones count: what Holder and Is compare is proof enough.
func (s *Stack) places(name string, yield func(place) bool) {
	n, err := s.resolve("find", name, true)
	if len(n.parts) > 0 {
		for _, p := range n.parts {
			if !yield(p.place) {
				return
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNotKnown) {
		return
	}
	at := n.name
	if at == "" {
		// Deleted: its directory may still be reached through links.
		clean := file.Clean(name)
		parent, _ := s.resolve("find", path.Dir(clean), true)
		if parent.name == "" {
			return
		}
		at = path.Join(parent.name, path.Base(clean))
	}
	for i := range s.dirs {
		if !yield(place{i, strings.TrimPrefix(at, "/")}) {
			return
		}
	}
}

func (s *Stack) holds(p place, id file.ID) bool {
	fd, err := s.dirs[p.at].open(p.path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	info, err := file.StatFD(fd)
	return err == nil && info.Regular() && info.ID.Dev == id.Dev && info.ID.Ino == id.Ino
}
