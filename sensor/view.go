package sensor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
)

// view is the file system as a group of processes sees it: one root directory in
// one mount namespace.
type view struct {
	key  viewKey
	root *file.Root // nil until opened
	dirs *file.Dirs // of root, once something was looked up
	left *int       // see scan.dirsLeft; nil where no directory is to be held open
	// link is the root as the kernel names it: "/" unless the processes were
	// moved by chroot(2).
	link  string
	first *process // of those that see it
	err   error    // why the last try to open it failed
	tries int
	// deleted says that the root directory was removed under the processes.
	deleted bool
	// mounts are the IDs of the mounts of its namespace, as far as its root
	// shows them; nil if not known.
	mounts map[uint64]bool
	// fuse are the devices of its FUSE mounts.
	fuse map[file.Dev]bool
	// virtiofs are those of its virtiofs mounts.
	virtiofs map[file.Dev]bool

	// points are the mount points below its root, and overlay is what that is made of
	// if it is an overlay.
	points  []string
	overlay *proc.Overlay
	image   *pristine // once asked for

	db       *packages
	dbOpened bool
	// hosts says whether it has the package database of the host.
	hosts Answer
	// sameRoot says whether its root directory is the host's.
	sameRoot Answer
}

type viewKey struct {
	root uint64
	ns   uint32
}

// maxTries bounds how many processes are tried to reach what they share; a few
// may refuse or end.
const maxTries = 8

// open opens the view's root through one of its processes. Failing is not final:
// another process may do.
func (v *view) open(p *proc.Process) {
	if v.root != nil || v.tries >= maxTries {
		return
	}
	v.tries++
	root, err := p.Root()
	if err != nil {
		v.err = err
		return
	}
	link, err := p.Readlink("root")
	if err != nil {
		root.Close()
		v.err = err
		return
	}
	v.root, v.link, v.err = root, link, nil
	if plain, ok := strings.CutSuffix(link, deletedMark); ok {
		if info, err := file.StatAt(p.FD(), "root"); err == nil && info.Nlink == 0 {
			v.link, v.deleted = plain, true
		}
	}
	mounts, err := p.Mounts()
	if err != nil {
		return
	}
	v.mounts = make(map[uint64]bool, len(mounts))
	v.fuse, v.virtiofs = make(map[file.Dev]bool), make(map[file.Dev]bool)
	for _, m := range mounts {
		v.mounts[m.ID] = true
		if unresponsive(m) {
			v.fuse[m.Dev] = true
		}
		if m.Type == "virtiofs" {
			v.virtiofs[m.Dev] = true
		}
	}
	v.overlay = overlayOf(mounts)
	for _, m := range mounts {
		if m.Point != "/" {
			v.points = append(v.points, m.Point)
		}
	}
	keepAway(v.root, "/", mounts)
}

// keepAway makes a root avoid those of the mounts that need not answer. at is where
// the root lies as the mount points are named. Of several mounts on one point the
// last one counts: an autofs that has done its work lies below what it mounted.
func keepAway(root *file.Root, at string, mounts []proc.Mount) {
	root.Avoid(pointsToAvoid(at, mounts))
}

func pointsToAvoid(at string, mounts []proc.Mount) []string {
	top := make(map[string]proc.Mount)
	for _, m := range mounts {
		if point, ok := (&view{link: at}).inside(m.Point); ok {
			top[point] = m
		} else if m.Point == at {
			top["/"] = m
		}
	}
	var avoid []string
	for point, m := range top {
		if unresponsive(m) {
			avoid = append(avoid, point)
		}
	}
	slices.Sort(avoid)
	return avoid
}

// unresponsive reports whether a mount may never answer, or does things when it
// is looked at: FUSE is served by a program that any user may run, and autofs
// mounts what is asked for. The kernel's own below /proc are harmless.
func unresponsive(m proc.Mount) bool {
	kind, _, _ := strings.Cut(m.Type, ".")
	return (kind == "fuse" || kind == "fuseblk" || kind == "autofs") && !strings.HasPrefix(m.Point, "/proc/")
}

func (v *view) close() {
	v.closeDirs()
	if v.root != nil {
		v.root.Close()
	}
}

func (v *view) closeDirs() {
	if v.dirs != nil {
		v.dirs.Close()
	}
}

// stat describes what a name leads to, for the many names of one scan.
func (v *view) stat(name string) (file.Info, error) {
	if v.left == nil {
		return v.root.Stat(name)
	}
	if v.dirs == nil {
		v.dirs = file.NewDirs(v.root, v.left)
	}
	return v.dirs.Stat(name)
}

var errNoRoot = errors.New("no process of its mount namespace shows its root directory")

// locate turns the kernel's name for a mapped file into the view in which that
// name can be looked up and the name inside it. The kernel names files from the
// root of the mount namespace (or the reader's root, which is above), so that a
// chroot's prefix comes off; what was loaded from outside of the chroot, before
// the process moved there, is looked up from the namespace's root.
func (sc *scan) locate(v *view, shown string) (*view, string, error) {
	if v.root == nil {
		if v.err != nil {
			return nil, "", v.err
		}
		return nil, "", errNoRoot
	}
	if v.link == "/" {
		return v, shown, nil
	}
	if rest, ok := v.inside(shown); ok {
		return v, rest, nil
	}
	if o := sc.namespaceRoot(v); o != nil {
		return o, shown, nil
	}
	return nil, "", fmt.Errorf("loaded from outside of %s: %w", v.link, errNoRoot)
}

// inside takes the prefix of a chroot off a name.
func (v *view) inside(name string) (string, bool) {
	if v.link == "/" {
		return name, true
	}
	rest, ok := strings.CutPrefix(name, v.link)
	return rest, ok && strings.HasPrefix(rest, "/")
}

// namespaceRoot is the view of the root of v's mount namespace, nil if no process
// shows it. Where the sensor was itself moved by chroot(2), several call their root "/":
// then it is the host's if that is one of them, and in any case always the same one.
func (sc *scan) namespaceRoot(v *view) *view {
	var best *view
	for _, o := range sc.views {
		if o.key.ns != v.key.ns || o.link != "/" || o.root == nil {
			continue
		}
		if best == nil || sc.isHost(o) && !sc.isHost(best) || sc.isHost(o) == sc.isHost(best) && o.key.root < best.key.root {
			best = o
		}
	}
	return best
}

// onHost is the host's root if the kernel's name leads there to the very file that
// is mapped, else nil: a process that made itself a mount namespace and a chroot
// shows no root in which the name could be looked up, but identity is proof.
func (sc *scan) onHost(l *loaded) *view {
	if !l.known {
		return nil
	}
	if info, err := sc.root.Stat(l.shown); err != nil || info.ID != l.info.ID {
		return nil
	}
	return sc.hostView()
}

// mountedIn is the view of the root of a namespace in which a mount is, nil if none
// is known. A process that makes itself a new mount namespace, or leaves the root
// that it was started from, keeps what it has mapped from the old one.
func (sc *scan) mountedIn(mount uint64) *view {
	for _, o := range sc.views {
		if o.link == "/" && o.root != nil && o.mounts[mount] {
			return o
		}
	}
	return nil
}

// starters are where those programs stand that start a container from inside of it.
func starters() []string {
	var names []string
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"} {
		for _, name := range []string{"runc", "crun", "youki"} {
			names = append(names, dir+name)
		}
	}
	return names
}

// starter is the host's root and the name there of the program that starts a container,
// if that is what a class is of. It runs from a mount of nothing but itself, which is in
// no namespace, lest the container write to it (libcontainer/nsenter/cloned_binary.c in
// runc); the kernel then names it "/".
func (sc *scan) starter(c *class) (*view, string) {
	for _, name := range starters() {
		if info, err := sc.root.Stat(name); err == nil && info.ID == c.file.info.ID {
			return sc.hostView(), name
		}
	}
	return nil, ""
}

// detached reports whether a file was reached through a mount that is not in the
// namespace of its process any more: after pivot_root(2) or a lazy umount(2) the
// kernel names it from a root of its own, which may well name another file here.
func (sc *scan) detached(v *view, mount uint64) bool {
	o := v
	if v.link != "/" {
		o = sc.namespaceRoot(v)
	}
	return mount != 0 && o != nil && o.mounts != nil && !o.mounts[mount]
}
