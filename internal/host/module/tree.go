package module

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Limits of the module tree of one release.
const (
	maxIndex   = 32 << 20 // bytes of modules.dep or modules.builtin; Debian's has 0.6 MB
	maxDepLine = 256 << 10
	maxFiles   = 1 << 17 // modules; Debian's kernel has 4,000
	maxEntries = 1 << 18 // of directories that are searched
	maxDepth   = 16
)

var errManyEntries = errors.New("more entries than are looked at")

// Tree is what is installed of the modules of one kernel release.
type Tree struct {
	root Root
	// dir is the release's directory, relative to the root with a slash at its end;
	// empty if there is none.
	dir      string
	order    order
	indexed  map[string]string // module → file that modules.dep names, relative to the root
	hasIndex bool
	indexErr error             // of modules.dep or the search
	searched map[string]string // module → file that depmod would choose now
	builtin  map[string]bool
}

// Found is where the file of a module is.
type Found struct {
	// Path is the file that would be loaded now, absolute in the root: what
	// modules.dep(5) names, or what depmod would choose if there is no modules.dep,
	// without which nothing is loaded by name. Empty if there is none.
	Path string
	// Unindexed is a file that depmod would prefer to Path but that modules.dep does
	// not have: depmod did not run since it came. Empty if there is none.
	Unindexed string
	// Builtin: the installed kernel has the module built in (modules.builtin).
	Builtin bool
}

// OpenTree reads which modules are installed in root, which must stay open, for a kernel
// release (uname -r). A release without a directory gives an empty Tree. The error joins
// what could not be read; the Tree is usable and does not take what it could not read
// for gone.
func OpenTree(root Root, release string) (*Tree, error) {
	t := &Tree{root: root, indexed: make(map[string]string), searched: make(map[string]string), builtin: make(map[string]bool)}
	if !validName(release) {
		t.indexErr = fmt.Errorf("%q is no release of a kernel", clip(release))
		return t, t.indexErr
	}
	if err := t.findDir(release); err != nil || t.dir == "" {
		t.indexErr = err
		return t, err
	}
	var errs []error
	var err error
	if t.order, err = readOrder(root, release); err != nil {
		errs = append(errs, err)
	}
	t.indexErr = errors.Join(t.readIndex(), t.search())
	errs = append(errs, t.indexErr)
	errs = append(errs, t.eachLine("modules.builtin", func(line string) error {
		if name := moduleName(line); name != "" && len(t.builtin) < maxFiles {
			t.builtin[name] = true
		}
		return nil
	}))
	return t, errors.Join(errs...)
}

// findDir finds the release's directory: where /lib is no link to /usr/lib, the one of
// the two that has an index.
func (t *Tree) findDir(release string) error {
	for _, base := range [...]string{"usr/lib/modules/", "lib/modules/"} {
		dir := base + release
		_, err := t.root.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return defect("/"+dir, -1, err)
		}
		_, err = t.root.Stat(dir + "/modules.dep")
		if t.dir == "" || err == nil {
			t.dir = dir + "/"
		}
		if err == nil {
			break
		}
	}
	return nil
}

// Find returns where the file of a module is; - and _ are equal in its name.
func (t *Tree) Find(name string) Found {
	name = normal(name)
	f := Found{Path: t.indexed[name], Builtin: t.builtin[name]}
	best := t.searched[name]
	switch {
	case !t.hasIndex:
		f.Path = best
	case best != "" && best != f.Path && (f.Path == "" || t.rank(best) < t.rank(f.Path)):
		f.Unindexed = best
	}
	return f
}

// rank is that of a file named absolutely in the root.
func (t *Tree) rank(name string) int {
	return t.order.rank(strings.TrimPrefix(name, "/"+t.dir))
}

// readIndex reads modules.dep(5): FILE: FILE …, the module and what it needs, relative
// to the index unless absolute. modprobe(8) reads modules.dep.bin, which depmod(8)
// writes from the same list.
func (t *Tree) readIndex() error {
	if _, err := t.root.Stat(t.dir + "modules.dep"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	t.hasIndex = true
	return t.eachLine("modules.dep", t.addDep)
}

// addDep takes one line of modules.dep.
func (t *Tree) addDep(line string) error {
	target, _, ok := strings.Cut(line, ":")
	name := moduleName(target)
	if !ok || name == "" {
		return fmt.Errorf("%q names no module", clip(line))
	}
	if len(t.indexed) == maxFiles {
		return fmt.Errorf("more than %d modules", maxFiles)
	}
	if !path.IsAbs(target) {
		target = "/" + t.dir + target
	}
	target = path.Clean(target)
	if old, ok := t.indexed[name]; !ok || t.rank(target) < t.rank(old) {
		t.indexed[name] = target
	}
	return nil
}

// eachLine calls visit for the lines of an index file; a missing one has none. The
// error is an *Error.
func (t *Tree) eachLine(name string, visit func(line string) error) error {
	name = t.dir + name
	f, err := t.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return defect("/"+name, -1, err)
	}
	defer f.Close()
	if err := eachLine(f, visit); err != nil {
		return defect("/"+name, -1, err)
	}
	return nil
}

// eachLine reads lines until reading fails, also those after one that visit refused. The
// error is the first one, an *Error without a file name.
func eachLine(r io.Reader, visit func(line string) error) (first error) {
	in := bufio.NewReaderSize(r, maxDepLine)
	for next := uint64(0); ; {
		line, err := in.ReadSlice('\n')
		start := next
		next += uint64(len(line))
		if err == io.EOF && len(line) == 0 {
			return first
		}
		var bad error
		switch {
		case err == bufio.ErrBufferFull:
			bad = fmt.Errorf("line of more than %d bytes", maxDepLine)
		case next > maxIndex:
			bad = fmt.Errorf("more than %d bytes", maxIndex)
		case err == io.EOF:
			bad = fmt.Errorf("the last line has no end: %w", io.ErrUnexpectedEOF)
		case err != nil:
			bad = err
		}
		final := bad != nil
		if !final {
			bad = visit(string(line[:len(line)-1]))
		}
		if bad != nil && first == nil {
			first = formatErrorf(start, "%w", bad)
		}
		if final {
			return first
		}
	}
}

// search finds the files that depmod would choose among. Where there is an index, the
// kernel's own directory, which changes with the kernel's package alone and has
// thousands of files, is not searched.
func (t *Tree) search() error {
	left := maxEntries
	dir := strings.TrimSuffix(t.dir, "/")
	top, err := t.root.Stat(dir)
	if err != nil {
		return defect("/"+dir, -1, err)
	}
	entries, err := t.root.ReadDir(dir, left+1)
	if err != nil {
		return defect("/"+dir, -1, err)
	}
	var errs []error
	for _, name := range entries {
		if name == "build" || name == "source" || t.hasIndex && name == "kernel" && len(t.order.overrides) == 0 {
			continue
		}
		if err := t.walk(t.dir+name, []file.ID{top.ID}, &left); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(errs...)
}

// walk takes modules by their names and looks into what is not one by its name, through
// symbolic links, as depmod does: weak-updates consists of them. A link to one of the
// directories above is not followed.
func (t *Tree) walk(name string, above []file.ID, left *int) error {
	if *left--; *left < 0 {
		return defect("/"+name, -1, errManyEntries)
	}
	if strings.HasPrefix(path.Base(name), "modules.") {
		return nil
	}
	info, err := t.root.Stat(name)
	if err != nil {
		return unlessAbsent(name, err)
	}
	if module := moduleName(name); module != "" {
		full := "/" + name
		if old, ok := t.searched[module]; !ok || t.rank(full) < t.rank(old) {
			t.searched[module] = full
		}
		return nil
	}
	if len(above) > maxDepth || slices.Contains(above, info.ID) || slices.Contains(t.order.exclude, path.Base(name)) {
		return nil
	}
	entries, err := t.root.ReadDir(name, *left+1)
	if err != nil {
		return unlessAbsent(name, err)
	}
	for _, e := range entries {
		if err := t.walk(name+"/"+e, append(above, info.ID), left); err != nil {
			return err
		}
	}
	return nil
}

// unlessAbsent is nil if there is nothing to read under a name: a file where a directory
// was tried, a link that leads nowhere or to itself.
func unlessAbsent(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return defect("/"+name, -1, err)
}
