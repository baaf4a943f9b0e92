package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// loaded is one file that processes have mapped executable, through one name.
type loaded struct {
	id file.ID // in the source's view
	// shown is the kernel's name for it, with its " (deleted)" if it has one.
	shown string
	named bool
	// info is what stat says of the mapped file itself; known is false as long
	// as the kernel refused. trusted identity: see adopt.
	info  file.Info
	known bool
	err   error
	tries int
	// fstype is the type of its file system, and changed and size are the
	// inode's ctime and size, in the source's view; 0 if it does not show them.
	fstype, changed, size int64
	// copied says that the file was copied up since it was seen.
	copied bool
	// seen is where it was looked at, as a running sensor remembers it, nil if nowhere,
	// and standing says that the name was followed there to the file in this scan.
	seen     *seenAt
	standing bool
	// borrowed says that what is known of it was seen in another container.
	borrowed bool
	classes  classes
	facts    *file.ELF // once read
	// at are places where the file can be opened.
	at []place
}

// place is a mapping of one process.
type place struct {
	process *process
	mapping snapshot.Mapping
}

// errFUSE says that a file is served by a program, which any user may run and
// which need not ever answer: looking at the file would put the sensor to sleep.
var errFUSE = errors.New("it lies on a FUSE file system, which is not touched because it need not answer")

// deletedMark is what the kernel appends to the name of a mapping whose
// directory entry is gone (d_path in fs/d_path.c). A file may be called so too.
const deletedMark = " (deleted)"

// look examines the file through one process that has it mapped. Failing is not
// final: another process may do.
func (l *loaded) look(dir *proc.Process, p *process, m snapshot.Mapping) {
	if l.known || l.tries >= maxTries {
		return
	}
	l.tries++
	name, err := dir.NameOf(m)
	if err != nil {
		l.err = err
		if m.File.Path != "" {
			l.shown, l.named = m.File.Path, true
		}
		return
	}
	if l.onFUSE(p.view, l.id.Dev) {
		l.shown, l.named, l.err = name, true, errFUSE
		return
	}
	info, err := dir.StatOf(m)
	switch {
	case err != nil:
		l.shown, l.named, l.err = name, true, err
	case l.onFUSE(p.view, info.ID.Dev):
		l.shown, l.named, l.err = name, true, errFUSE
	case !l.is(info, dir, p):
		l.err = errRaced
	default:
		l.shown, l.named = name, true
		l.info, l.known, l.facts, l.err = info, true, nil, nil
		l.copied = l.copiedUp()
		if inner, ok := p.view.inside(name); ok {
			l.seen = &seenAt{p.view.key, name, inner, info}
		}
	}
}

// seenAt is what a mapped file was, and the view in which the kernel's name for it was
// looked up; inner is that name inside of the view. It does not change.
type seenAt struct {
	view         viewKey
	shown, inner string
	info         file.Info
}

// recognise looks at a file that was looked at before by its name alone: while that
// leads to the same file through the same mount, no process need be asked what it has
// mapped. The inode stays the file's for as long as it is mapped, and one without a
// name does not get one again.
func (m *memory) recognise(f *snapshot.File, l *loaded, p *process) {
	if m == nil || p.view.root == nil {
		return
	}
	at, ok := m.files[f]
	if !ok || at.view != p.view.key {
		return
	}
	info := at.info
	if info.Nlink > 0 {
		var err error
		info, err = p.view.stat(at.inner)
		if err != nil || !info.Regular() || info.Nlink == 0 || info.ID != at.info.ID || info.Mount != at.info.Mount {
			return
		}
	} else if !p.recent {
		return
	}
	if l.onFUSE(p.view, info.ID.Dev) {
		return
	}
	l.shown, l.named, l.info, l.known = at.shown, true, info, true
	l.seen, l.standing = at, info.Nlink > 0
	l.copied = l.copiedUp()
}

// age takes note of the readings that are not recent any more: a scan may take long.
func (sc *scan) age() {
	now := bootNow()
	for _, p := range sc.processes {
		p.recent = p.recent && now-p.key.read < rereadAfter
	}
}

// recently reports whether a running sensor has just seen that a process is there, and
// read not long before now what it has mapped. Of execve it would have been told since.
func (r *remembered) recently(now time.Duration) bool { return r.alive && now-r.key.read < rereadAfter }

// errRaced says that a process has something else mapped than in the snapshot:
// neither its number nor its start changes with execve.
var errRaced = fmt.Errorf("%w: the process called execve meanwhile", proc.ErrGone)

// is reports whether what stat shows through a process is still the file of the
// snapshot. Where the devices differ the two views may have other numbers for it;
// the process must then at least not have called execve, which gives it another
// auxiliary vector.
func (l *loaded) is(info file.Info, dir *proc.Process, p *process) bool {
	if info.ID.Dev == l.id.Dev {
		return info.ID.Ino == l.id.Ino
	}
	aux, err := dir.Auxv()
	return err != nil || p.Aux == (snapshot.Aux{}) || aux == p.Aux
}

// onFUSE reports whether the file lies on a file system that need not answer.
// virtiofs has the same type as FUSE, but its server is the hypervisor.
func (l *loaded) onFUSE(v *view, dev file.Dev) bool {
	return v.fuse[dev] || l.fstype == unix.FUSE_SUPER_MAGIC && !v.virtiofs[dev]
}

// adopt settles a file that the kernel did not let be examined, for want of
// CAP_CHECKPOINT_RESTORE or because its process refuses: the source's own numbers
// stand for it where the file system has only one view of its files.
func (l *loaded) adopt(other file.Info, fstype int64) (same, comparable bool) {
	if l.id.Ino == 0 || !oneView(fstype) {
		return false, false
	}
	return l.id.Dev == other.ID.Dev && l.id.Ino == other.ID.Ino, true
}

// oneView reports whether all views agree on devices and inodes in a file system
// of this type. They do not on overlayfs and btrfs; others are
// left out until known.
func oneView(fstype int64) bool {
	switch fstype {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.SQUASHFS_MAGIC:
		return true
	}
	return false
}

// copiedUp reports whether the file that stat shows is no longer the one that is
// mapped: on overlayfs a write makes a copy in the upper layer, which takes over
// the identity, while mappings keep the inode of the lower layer.
func (l *loaded) copiedUp() bool {
	layered := l.fstype == unix.OVERLAYFS_SUPER_MAGIC || l.id.Dev != l.info.ID.Dev
	return l.known && layered && l.changed != 0 && (l.changed != l.info.Ctime.UnixNano() || l.size != l.info.Size)
}

// special reports whether the mapping never had a name in a file system: memfd
// (mm/memfd.c), System V shared memory (ipc/shm.c), AIO rings and huge pages, or
// a device.
func (l *loaded) special() bool {
	if l.known && !l.info.Regular() {
		return true
	}
	if !strings.HasSuffix(l.shown, deletedMark) || (l.known && l.info.Nlink != 0) {
		return false
	}
	for _, prefix := range []string{"/memfd:", "/SYSV", "/[aio]", "/anon_hugepage", "/dev/zero"} {
		if strings.HasPrefix(l.shown, prefix) {
			return true
		}
	}
	return false
}

// ref refers to the mapped file's content. A file of an image layer is one
// content however many containers show it, each under another identity.
func (sc *scan) ref(l *loaded) file.Ref {
	key := file.KeyOf(l.info)
	if l.id.View == file.LayerView {
		key.ID = l.id
	}
	return file.Ref{Key: key, Open: func() (*os.File, error) { return sc.openMapped(l) }}
}

// openMapped opens the mapped file through the first process that still has it.
func (sc *scan) openMapped(l *loaded) (*os.File, error) {
	var errs []error
	for _, at := range l.at {
		f, err := func() (*os.File, error) {
			p, err := sc.open(at.process)
			if err != nil {
				return nil, err
			}
			defer p.Close()
			return p.OpenOf(at.mapping)
		}()
		if err == nil {
			return f, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("open mapped file: %w", errors.Join(errs...))
}

// elf returns the ELF facts of the mapped file, as far as it has any.
func (sc *scan) elf(ctx context.Context, l *loaded) (file.ELF, error) {
	if !l.known {
		return file.ELF{}, l.err
	}
	if l.facts != nil {
		return *l.facts, nil
	}
	r := sc.ref(l)
	e, err := usable(sc.cache.Facts(ctx, r.Key, r.Open))
	if err == nil {
		l.facts = &e
	}
	return e, err
}

// elfNow is elf for a file that is being written to, as it is by now.
func (sc *scan) elfNow(ctx context.Context, l *loaded) (file.ELF, error) {
	var e file.ELF
	err := file.ErrChanged
	for tries := 0; tries < 3 && errors.Is(err, file.ErrChanged); tries++ {
		var f *os.File
		if f, err = sc.openMapped(l); err != nil {
			return e, err
		}
		info, statErr := file.StatFD(int(f.Fd()))
		f.Close()
		if statErr != nil {
			return e, statErr
		}
		e, err = usable(sc.cache.Facts(ctx, file.KeyOf(info), func() (*os.File, error) { return sc.openMapped(l) }))
	}
	return e, err
}

// usable drops the errors that only say what a file is not: what could be read
// of a malformed ELF counts, and any other file has no ELF facts.
func usable(e file.ELF, err error) (file.ELF, error) {
	if err == nil {
		return e, nil
	}
	var fe *file.FormatError
	if errors.As(err, &fe) || errors.Is(err, file.ErrNotELF) {
		return e, nil
	}
	return e, err
}
