package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

const (
	// maxSteps bounds the components on the way of one path, links included: a
	// hostile root could otherwise use up the watches of this program.
	maxSteps = 32
	// maxEntries bounds the entries of a directory whose own identity is looked
	// at. That finds one written in place where no event tells of it; whatever
	// adds, removes or replaces one shows in the directory itself.
	maxEntries = 128
)

// sight is what one look at a target saw: two that are equal show no change.
type sight struct {
	stamps []stamp
	err    error // of the first path that could not be looked at
}

// stamp is the identity of one file; the zero one stands for none.
type stamp struct {
	id                 file.ID
	mode               uint32
	size, mtime, ctime int64 // times in nanoseconds
}

func stampOf(i file.Info) stamp {
	return stamp{i.ID, i.Mode, i.Size, i.Mtime.UnixNano(), i.Ctime.UnixNano()}
}

func (s sight) equal(t sight) bool {
	return slices.Equal(s.stamps, t.stamps) && fmt.Sprint(s.err) == fmt.Sprint(t.err)
}

// looker looks at a target and, while it is there, watches every directory on
// the way to its paths: for the next name on the way, so that it is noticed when
// one appears, or is replaced, or a link comes to lead elsewhere.
//
// Each directory is watched before a name is looked up in it, so that there is
// either an event or it was seen. Nothing stays open: that would keep a
// container's file system from being unmounted, which watches do not.
type looker struct {
	target   Target
	notifier *notifier
	sub      *subscriber
}

// look returns what is there. The error says that the root cannot be entered;
// nothing is watched then. It only watches if listen is set, and leaves the
// watches that there are as they are otherwise.
func (l *looker) look(listen bool) (sight, error) {
	l.notifier.count.looks.Add(1)
	rootfd, err := unix.Open(l.target.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		l.notifier.retain(l.sub, nil)
		return sight{}, &fs.PathError{Op: "open root", Path: l.target.Root, Err: err}
	}
	defer unix.Close(rootfd)
	root, err := file.OpenRootAt(rootfd, ".")
	if err != nil {
		return sight{}, err
	}
	defer root.Close()

	p := &pass{looker: l, root: root, rootfd: rootfd, listen: listen, dirs: make(map[string]int32), kept: make(map[int32]interest)}
	var seen sight
	for _, name := range l.target.Paths {
		stamps, err := p.stamps(name)
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
			stamps = []stamp{{}}
		default:
			stamps = []stamp{{}}
			if seen.err == nil {
				seen.err = err
			}
		}
		seen.stamps = append(seen.stamps, stamps...)
	}
	if listen {
		l.notifier.retain(l.sub, p.kept)
	}
	return seen, nil
}

// pass is one look.
type pass struct {
	*looker
	root   *file.Root
	rootfd int
	listen bool
	dirs   map[string]int32   // directory to watch, negative if it has none
	kept   map[int32]interest // what was watched in this pass
}

// stamps returns the identity of what a path leads to and, if that is a
// directory, of its first entries.
func (p *pass) stamps(name string) ([]stamp, error) {
	real, info, err := p.follow(name)
	if err != nil {
		return nil, err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		return []stamp{stampOf(info)}, nil
	}
	p.watch(real, anyEntry, true)
	// A change made before it was watched has to show.
	if info, err = p.root.Lstat(real); err != nil {
		return nil, err
	}
	out := []stamp{stampOf(info)}
	names, err := p.root.ReadDir(real, maxEntries)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, n := range names {
		var entry stamp // none, if it went meanwhile
		if info, err := p.root.Lstat(path.Join(real, n)); err == nil {
			entry = stampOf(info)
		}
		out = append(out, entry)
	}
	return out, nil
}

// follow resolves a path inside the root one component at a time, watches every
// directory on the way, and returns what it leads to, and its path without
// links.
func (p *pass) follow(name string) (string, file.Info, error) {
	at, rest := "/", strings.Split(name, "/")
	info, err := p.root.Lstat(at)
	for steps := 0; err == nil && len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			info, err = p.root.Lstat(at)
			continue
		}
		if steps++; steps > maxSteps {
			return at, info, &fs.PathError{Op: "follow", Path: name, Err: unix.ELOOP}
		}
		p.watch(at, part, len(rest) == 0)
		next := path.Join(at, part)
		if info, err = p.root.Lstat(next); err != nil || !info.Symlink() {
			at = next
			continue
		}
		var target string
		if target, err = p.root.Readlink(next); err != nil {
			break
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
		info, err = p.root.Lstat(at)
	}
	return at, info, err
}

// watch watches an entry of a directory, which is named without links.
func (p *pass) watch(dir, name string, changed bool) {
	if !p.listen {
		return
	}
	wd, done := p.dirs[dir]
	if !done {
		wd = p.watchDir(dir)
		p.dirs[dir] = wd
	}
	if wd < 0 {
		return
	}
	// One path may lead through what is another's end.
	in := p.kept[wd]
	if in == nil {
		in = make(interest)
		p.kept[wd] = in
	}
	in[name] = changed || in[name]
	p.notifier.want(p.sub, wd, name, in[name])
}

func (p *pass) watchDir(dir string) int32 {
	fd, err := unix.Openat2(p.rootfd, dir, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		// It was a directory just now: its parent's watch says what it is next.
		return -1
	}
	defer unix.Close(fd)
	wd, err := p.notifier.watch(p.sub, fd)
	if err != nil && !errors.Is(err, errNoInotify) {
		p.notifier.failure(&fs.PathError{Op: "watch", Path: path.Join(p.target.Root, dir), Err: err})
		return -1
	}
	return wd
}
