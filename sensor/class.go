package sensor

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// class is one file, seen from one root, loaded by one name: what all processes
// that share these share in facts. However many processes there are, each class
// is looked into once.
type class struct {
	file *loaded
	// name is the one by which the file was loaded, as far as that is known; exe
	// says that the file is the executable of its processes.
	classKey
	// plainUntil is the change time of a file that is plainly what its name leads
	// to, in nanoseconds since the epoch; math.MaxInt64 for any other.
	plainUntil int64

	// base and shown are where and under what name the mapped file is looked
	// up; shown has no deletion mark. loadedAs is the name by which it was
	// loaded where that leads elsewhere than to the mapped file; else empty.
	base     *view
	shown    string
	loadedAs string

	facts Facts
	// other is the file that stands at the name now, at its canonical path.
	other     file.Info
	otherPath string
	otherOK   bool
	// linkChanged is when the youngest symbolic link on the way of the loaded
	// name was made or changed.
	linkChanged time.Time
	// renamed says that nothing stands at the loaded name although the file
	// still has another one.
	renamed bool
	// guessed says that the loaded name is only likely, and bySoname that it is
	// the soname for want of a better one: either needs a trace of a rename.
	guessed, bySoname bool
	how               string // by what the contents were compared
	err               error  // why something could not be followed or compared

	owners     *packages
	otherOwner *owner.Owned
	shownOwner *owner.Owned
	provider   *owner.Owned
	// onOverlay says whether its file system is an overlay, once asked for.
	onOverlay Answer
	// loadedBuild and otherBuild are the build IDs of the mapped file and of the other
	// one, and modules what moduleLoads says, once asked for.
	loadedBuild, otherBuild knownBuild
	modules                 *[]moduleLoad
	// earliest is when the first of its processes can have mapped it.
	earliest time.Time
	first    place
}

// knownBuild is a build ID, empty if there is none; known is false before it was read.
type knownBuild struct {
	id    string
	known bool
}

// classes are those of one file: few, unless a process makes up names.
type classes struct {
	list []*class
	more map[classKey]*class // those beyond fewClasses
}

type classKey struct {
	view *view
	name loadName
	exe  bool
}

const fewClasses = 8

// find returns the class of a load, nil if there is none yet.
func (s *classes) find(key classKey) *class {
	for _, c := range s.list {
		if c.classKey == key {
			return c
		}
	}
	return s.more[key]
}

func (s *classes) add(c *class) {
	if len(s.list) < fewClasses {
		s.list = append(s.list, c)
		return
	}
	if s.more == nil {
		s.more = make(map[classKey]*class)
	}
	s.more[c.classKey] = c
}

// resolve collects the facts of a class that do not differ between processes and
// need no package database.
func (sc *scan) resolve(ctx context.Context, c *class, bias uint64) {
	f := &c.facts
	l := c.file
	f.Mapped, f.MappedKnown, f.CopiedUp = l.info, l.known, l.copiedUp()
	f.Kernel = l.special()
	c.shown = strings.TrimSuffix(l.shown, deletedMark)
	if f.Kernel {
		return
	}
	f.ByName, f.Shown = Unreached, Unreached
	if !l.named {
		c.err = l.err
		return
	}
	if c.exe && l.shown == "/" {
		// No program is called so: it is all that its mount shows.
		base, name := sc.starter(c)
		if base == nil {
			c.err = errDetached
			return
		}
		c.base = base
		sc.lookAtShown(c, name)
		f.ByName, f.WriteProtected = Unnamed, sc.exeProtected
		return
	}
	var err error
	var full string
	if c.base, full, err = sc.locate(c.view, l.shown); err != nil {
		if c.base, full = sc.onHost(l), l.shown; c.base == nil {
			c.err = err
			return
		}
	}
	if l.known && sc.detached(c.view, l.info.Mount) {
		if c.base, full = sc.mountedIn(l.info.Mount), l.shown; c.base == nil {
			c.err = errDetached
			return
		}
	}
	sc.lookAtShown(c, full)
	f.Orphan = f.Shown == Same && l.known && l.info.Nlink == 0 && c.base.mountedOver(c.shown)
	f.ByName = Unnamed
	sc.lookAtName(ctx, c, bias)
	f.Temporary, f.System = temporary(c.shown), system(c.shown)
	f.WriteProtected = c.exe && sc.exeProtected
	if f.ByName == Other || (f.ByName != Same && f.Shown == Other) {
		sc.compare(ctx, c)
	}
}

// lookAtShown follows the kernel's name for the file.
func (sc *scan) lookAtShown(c *class, full string) {
	f := &c.facts
	plain := strings.TrimSuffix(full, deletedMark)
	marked := plain != full
	info, presence, err := sc.presence(c, full)
	if presence == Same || !marked {
		// The name is real, even if it ends in the mark.
		c.shown, f.Shown = full, presence
		if presence == Gone {
			// The kernel does not call it deleted, so the name lies in a
			// mount that this root does not show.
			f.Shown, c.err = Unreached, err
		}
	} else {
		c.shown = plain
		info, f.Shown, err = sc.presence(c, plain)
		if f.Shown == Unreached {
			c.err = err
		}
	}
	if f.Shown == Other {
		c.other, c.otherPath, c.otherOK = info, c.shown, true
	}
	if f.Shown == Same && !c.file.known {
		f.Mapped, f.MappedKnown = info, true
	}
}

// presence says what name leads to, inside the class's base root.
func (sc *scan) presence(c *class, name string) (file.Info, Presence, error) {
	if l := c.file; l.standing && name == l.seen.inner && c.base == sc.views[l.seen.view] {
		return l.info, Same, nil
	} else if l.borrowed {
		if sc.leads(c.base, name, l) {
			return l.info, Same, nil
		}
		sc.redeem(l)
	}
	info, err := c.base.stat(name)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		return info, Gone, err
	case err != nil:
		return info, Unreached, err
	case !info.Regular():
		return info, Other, nil
	}
	if c.file.known {
		if info.ID == c.file.info.ID {
			sc.lendName(c.base, name, c.file)
			return info, Same, nil
		}
		return info, Other, nil
	}
	fstype, err := c.base.root.FSType(name)
	if err != nil {
		return info, Unreached, err
	}
	same, comparable := c.file.adopt(info, fstype)
	switch {
	case !comparable:
		return info, Unreached, c.file.err
	case same:
		return info, Same, nil
	}
	return info, Other, nil
}

var errDetached = errors.New("it was loaded from a mount that is not there any more")

// lookAtName follows the name by which the process loaded the file, if that is
// known and credible.
func (sc *scan) lookAtName(ctx context.Context, c *class, bias uint64) {
	f := &c.facts
	n := c.name.absolute(c.shown)
	if n.text == "" {
		sc.lookAtSoname(ctx, c)
		return
	}
	if c.exe && n.text != c.shown {
		n = sc.program(c, n)
		if n.text == "" {
			return
		}
	}
	info, presence, err := sc.follow(c, &n)
	switch {
	case n.text == c.shown:
		f.ByName = f.Shown
		return
	case presence == Same:
		f.ByName = Same
		return
	case presence == Unreached, !sc.belongs(ctx, c, bias), n.guessed && presence == Gone:
		return
	case presence == Gone:
		if c.exe && sc.ranAsScript(c.first.process, c.name.text) {
			return
		}
		f.ByName, c.err = Gone, err
		c.renamed = f.Shown == Same && !temporary(n.text) && c.base == c.view
		c.loadedAs = n.text
		return
	}
	// A program for another machine is run by an emulator: then the name is not
	// this file's.
	if (c.exe || n.guessed) && !sc.sameKind(ctx, c, info, n.text) && f.Shown == Same {
		return
	}
	c.guessed = n.guessed
	sc.elsewhere(c, n.text, info)
}

// program turns the name given to execve into that of the program which runs: for
// a script that is its interpreter. A script that stands where the program itself
// was is what replaced it.
func (sc *scan) program(c *class, n loadName) loadName {
	interp, script := interpreter(c.base.root, n.text)
	if !script {
		return n
	}
	if canonical, err := c.base.root.Canonical(n.text); err == nil && canonical == c.shown {
		return n
	}
	return loadName{interp, true}
}

// follow looks a loaded name up. A process that moved itself into a chroot loaded
// what it has from there by names of the outside, and afterwards by names of the
// inside: the one that leads to the file itself counts, else the inner one.
func (sc *scan) follow(c *class, n *loadName) (file.Info, Presence, error) {
	info, presence, err := sc.presence(c, n.text)
	if presence == Same || c.base != c.view || c.view.link == "/" {
		return info, presence, err
	}
	if inner, ok := c.view.inside(n.text); ok {
		if i, p, e := sc.presence(c, inner); p == Same || presence == Gone {
			n.text = inner
			return i, p, e
		}
	}
	return info, presence, err
}

// elsewhere notes that the loaded name leads to another file.
func (sc *scan) elsewhere(c *class, name string, info file.Info) {
	f := &c.facts
	f.ByName = Other
	c.other, c.otherPath, c.otherOK = info, name, true
	if canonical, err := c.base.root.Canonical(name); err == nil {
		c.otherPath = canonical
	}
	f.NameIsShown = c.otherPath == c.shown
	c.loadedAs = name
	c.linkChanged = c.base.root.LinksChanged(name)
}

// lookAtSoname stands in for a name that is not known: a library that was renamed
// since was loaded by its soname, if its directory has one that is a library too.
func (sc *scan) lookAtSoname(ctx context.Context, c *class) {
	f := &c.facts
	if c.exe || f.Shown != Same || !f.MappedKnown {
		return
	}
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.Soname == "" || path.Base(e.Soname) != e.Soname {
		return
	}
	name := path.Join(path.Dir(c.shown), e.Soname)
	info, presence, _ := sc.presence(c, name)
	switch {
	case name == c.shown || presence == Same:
		f.ByName = Same
	case presence == Other && sc.sameKind(ctx, c, info, name):
		c.bySoname = true
		sc.elsewhere(c, name, info)
	}
}

// belongs verifies that a name from the link map is that of this file: its code
// must lie where the object's bias puts it. Names of executables come from the
// auxiliary vector and need no such test.
func (sc *scan) belongs(ctx context.Context, c *class, bias uint64) bool {
	if c.exe {
		return true
	}
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.Class == 0 {
		return false
	}
	const largestPage = 64 << 10
	start, at := c.first.mapping.Start, bias+e.Layout.ExecVaddr
	return start <= at && at-start < largestPage
}

// sameKind reports whether what stands at name is a program of the kind that
// runs: an ELF file for the same machine.
func (sc *scan) sameKind(ctx context.Context, c *class, info file.Info, name string) bool {
	mine, err := sc.elf(ctx, c.file)
	if err != nil || mine.Class == 0 {
		return false
	}
	theirs, err := usable(sc.cache.Facts(ctx, file.KeyOf(info), func() (*os.File, error) { return c.base.root.Open(name) }))
	return err == nil && theirs.Class == mine.Class && theirs.Machine == mine.Machine
}

// compare compares the mapped file's content with the other file's.
func (sc *scan) compare(ctx context.Context, c *class) {
	f := &c.facts
	if !c.other.Regular() {
		f.Content, c.how, f.Unusable = No, "type", true
		return
	}
	if mine, err := sc.elf(ctx, c.file); err == nil && mine.Class != 0 {
		f.Unusable = !sc.sameKind(ctx, c, c.other, c.otherPath) && !(c.exe && runnable(c))
	}
	theirs := file.Ref{Key: keyOf(c), Open: opener(c)}
	if !c.file.known {
		f.Content, c.err = sc.compareBuildID(ctx, c, theirs)
		c.how = file.ByBuildID
		return
	}
	same, how, err := file.SameContent(ctx, sc.cache, sc.ref(c.file), theirs)
	if err != nil {
		c.err = err
		return
	}
	f.Content, c.how = answer(same), how
}

// temporary reports whether a path lies in a directory for temporary files
// (hier(7), file-hierarchy(7)).
func temporary(name string) bool {
	return under(name, "/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")
}

// system reports whether a path lies where only packages put files (Filesystem
// Hierarchy Standard 3.0: /usr but not /usr/local, and what is merged into it).
func system(name string) bool {
	return under(name, "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin") && !under(name, "/usr/local")
}

func under(name string, dirs ...string) bool {
	for _, d := range dirs {
		if rest, ok := strings.CutPrefix(name, d); ok && strings.HasPrefix(rest, "/") {
			return true
		}
	}
	return false
}

// keyOf and opener refer to the content of the other file of a class.
func keyOf(c *class) file.ContentKey { return file.KeyOf(c.other) }

func opener(c *class) func() (*os.File, error) {
	return func() (*os.File, error) { return c.base.root.Open(c.otherPath) }
}
