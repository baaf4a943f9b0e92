package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// maxLooks bounds what one resolution looks at: a hostile tree may have thousands of
// components in each of hundreds of directories. A deep name in 500 directories needs
// half of it.
const maxLooks = 1 << 15

var errTooMuch = fmt.Errorf("%w: too much to look at", ErrNotKnown)

// part is what one directory of the stack has under a name.
type part struct {
	place
	info file.Info
}

// node is a file or a directory of the merged tree.
type node struct {
	name string // absolute, without links
	// parts are what it is made of, topmost first: a directory's all, a file's one, or
	// several of which the first have only attributes and the last the data.
	parts []part
	// doubt tells why parts[sure:] may not belong to it, or why others may; nil if
	// that is certain.
	doubt error
	sure  int
}

func (n node) dir() bool { return n.parts[0].info.Mode&unix.S_IFMT == unix.S_IFDIR }

// content is the part that counts: a directory's topmost, a file's data.
func (n node) content() part {
	if n.dir() {
		return n.parts[0]
	}
	return n.parts[len(n.parts)-1]
}

// certain tells whether content is; if not, why.
func (n node) certain() error {
	if n.dir() && n.sure > 0 || n.sure == len(n.parts) {
		return nil
	}
	return n.doubt
}

// search is the state of looking for one name in directory after directory: struct
// ovl_lookup_data of fs/overlayfs/namei.c, whose functions the methods mirror.
type search struct {
	s     *Stack
	looks *int // how many are left
	blind bool // trusted attributes cannot be seen

	name     string // one component, or a redirection from the top with "/" before it
	isDir    bool
	metacopy bool
	stop     bool

	doubt   error
	dubious bool // the doubt is about what was found, not only about what is below it
}

// child looks for name in the directory n: ovl_lookup.
func (s *Stack) child(n node, name string, looks *int, blind bool) (node, error) {
	d := search{s: s, looks: looks, blind: blind, name: name}
	out := node{}
	doubtful := func(err error, sure int) {
		if out.doubt == nil {
			out.doubt, out.sure = err, sure
		}
	}
	bases, fromTop := n.parts, false
	for i := 0; i < len(bases) && !d.stop; i++ {
		base := bases[i]
		if !fromTop && n.doubt != nil && i >= n.sure {
			doubtful(n.doubt, len(out.parts))
		}
		this, found, err := d.inDir(base)
		if errors.Is(err, ErrNotKnown) {
			doubtful(err, len(out.parts))
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if d.doubt != nil {
			sure := len(out.parts)
			if found && !d.dubious {
				sure++
			}
			doubtful(d.doubt, sure)
		}
		if !found {
			continue
		}
		out.parts = append(out.parts, this)
		if !d.stop && !fromTop && strings.HasPrefix(d.name, "/") {
			// Now it is looked for from the top of every directory below.
			bases, fromTop = s.tops(), true
			i = this.at
		}
	}
	if !d.stop && !fromTop && n.doubt != nil {
		doubtful(n.doubt, len(out.parts))
	}
	if d.metacopy {
		doubtful(fmt.Errorf("%w: no directory has the data", ErrNotKnown), len(out.parts)-1)
	}
	if out.doubt == nil {
		out.sure = len(out.parts)
	}
	return out, nil
}

// tops are the directories of the stack themselves, which are always merged.
func (s *Stack) tops() []part {
	out := make([]part, len(s.dirs))
	for i := range out {
		out[i] = part{place: place{at: i}, info: file.Info{Mode: unix.S_IFDIR}}
	}
	return out
}

// inDir looks for d.name in one directory: ovl_lookup_layer.
func (d *search) inDir(base part) (part, bool, error) {
	rest, absolute := strings.CutPrefix(d.name, "/")
	if !absolute {
		return d.single(base, d.name, 0, "")
	}
	for {
		name, post := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			name, post = rest[:i], rest[i:]
		}
		this, found, err := d.single(base, name, len(d.name)-len(rest), post)
		if err != nil || !found || post == "" {
			return this, found, err
		}
		base, rest = this, post[1:]
	}
}

// single looks for one component, of which d.name has before bytes on the left and post
// on the right: ovl_lookup_single.
func (d *search) single(base part, name string, before int, post string) (part, bool, error) {
	if *d.looks--; *d.looks < 0 {
		return part{}, false, errTooMuch
	}
	this := part{place: place{base.at, join(base.path, name)}}
	fd, err := d.s.dirs[base.at].open(this.path, unix.O_PATH|unix.O_NOFOLLOW)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENAMETOOLONG:
		if len(this.path) >= unix.PathMax {
			return this, false, errTooMuch
		}
		return this, false, nil
	default: // a mount, a link instead of a directory, no permission, or a broken disk
		return this, false, fmt.Errorf("%w: %w", ErrNotKnown, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return this, false, err
	}
	if this.info, err = file.StatFD(fd); err != nil {
		return this, false, err
	}
	last := post == "" // component of d.name
	lowest := base.at == len(d.s.dirs)-1
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFCHR:
		if st.Rdev == 0 { // WHITEOUT_DEV, include/linux/fs.h
			d.stop = true
			return this, false, nil
		}
	case unix.S_IFDIR:
		return d.directory(this, fd, last, lowest, before, post)
	}
	if d.isDir || !last || d.metacopy && kind != unix.S_IFREG {
		d.stop = true
		// A whiteout by attribute would have stopped it as well.
		return this, false, nil
	}
	if kind != unix.S_IFREG || lowest && st.Size > 0 {
		d.metacopy, d.stop = false, true
		return this, true, nil
	}
	m, err := d.marks(fd)
	if err != nil {
		// A file with this much on the disk has more than its attributes there.
		d.dubious = st.Size < 64<<10 || st.Blocks*512 < st.Size
		if d.dubious {
			d.doubt = err
		}
		d.metacopy, d.stop = false, true
		return this, true, nil
	}
	if m.whiteout && st.Size == 0 {
		d.stop = true
		return this, false, nil
	}
	d.metacopy, d.stop = m.metacopy, !m.metacopy
	if m.metacopy && !lowest && m.redirected {
		d.redirect(m.redirect, before, post)
	}
	return this, true, nil
}

// directory is the part of ovl_lookup_single for directories.
func (d *search) directory(this part, fd int, last, lowest bool, before int, post string) (part, bool, error) {
	if last && d.metacopy {
		d.stop = true
		return this, false, nil
	}
	if last {
		d.isDir = true
	}
	if lowest {
		return this, true, nil
	}
	m, err := d.marks(fd)
	switch {
	case err != nil:
		d.doubt = err
	case m.opaque == 'y':
		d.stop = true
	case m.redirected:
		d.redirect(m.redirect, before, post)
	}
	return this, true, nil
}

func (d *search) marks(fd int) (marks, error) {
	switch {
	case d.blind && d.s.unmarked:
		return marks{}, nil
	case d.blind:
		return marks{}, errPrivilege
	}
	return readMarks(fd, d.s.prefix)
}

// redirect goes on with another name in the directories below: ovl_check_redirect.
func (d *search) redirect(to string, before int, post string) {
	if strings.HasPrefix(to, "/") {
		// It counts even if a directory above it in this layer hides those below.
		d.stop = false
		d.name = to + post
		return
	}
	d.name = d.name[:before] + to + post
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
