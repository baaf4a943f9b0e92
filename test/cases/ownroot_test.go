package cases

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// rebuilt writes a copy of an ELF file that differs in its build ID.
func rebuilt(t *testing.T, from, to string) {
	t.Helper()
	id, err := hex.DecodeString(lab.BuildID(t, from))
	must(t, err)
	content, err := os.ReadFile(from)
	must(t, err)
	at := bytes.Index(content, id)
	if len(id) == 0 || at < 0 {
		t.Fatalf("%s has no build ID", from)
	}
	content[at] ^= 0xff
	must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	must(t, os.WriteFile(to, content, 0o755))
}

// libraries are the files that the loader takes for a program, the loader itself
// among them.
func libraries(t *testing.T, program string) []string {
	t.Helper()
	var found []string
	for word := range strings.FieldsSeq(lab.Output(t, "ldd", program)) {
		if strings.HasPrefix(word, "/") {
			found = append(found, word)
		}
	}
	return found
}

// Like bubblewrap's monitor: the process has left the root from which it was
// loaded, and its mount namespace shows that no more. At the same paths of its
// new root lies something else, which it never had.
func TestRootLeftBehind(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	lib := b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1")
	exe := b.install(worker(t, "1"), "bin/worker")
	for _, name := range append(libraries(t, exe), exe) {
		rebuilt(t, name, b.path("root"+name))
	}
	rebuilt(t, library(t, "libfoo.so.1", "2"), b.path("root"+lib))
	d := b.start(lab.Command{Path: exe, Args: []string{"open", lib, "pivot", b.path("root")}})
	b.neverStale(d)
}

// The same, and the root from which it was loaded is an overlay that nobody else
// has mounted: that there is nothing to compare with is all that can be said.
func TestRootThatIsNoMore(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	program := worker(t, "1")
	lower := lab.NewTree(t, b.path("lower"), program)
	b.install(program, "lower/bin/worker")
	b.install(library(t, "libfoo.so.1", "1"), "lower/lib/libfoo.so.1")
	inner := lab.NewTree(t, lower.Path("inner"), program)
	var files []string
	for _, name := range append(libraries(t, program), "/bin/worker", "/lib/libfoo.so.1") {
		canonical, err := filepath.EvalSymlinks(lower.Path(name))
		must(t, err)
		files = append(files, canonical)
		must(t, os.RemoveAll(inner.Path(name)))
		rebuilt(t, lower.Path(name), inner.Path(name))
	}
	argv := []string{"mount", lower.Dir}
	for _, name := range []string{"upper", "work", "merged"} {
		must(t, os.Mkdir(b.path(name), 0o755))
		argv = append(argv, b.path(name))
	}
	d := b.start(lab.Command{
		Path: workshop.C(t, "testdata/overlay.c"),
		Args: append(argv, "/bin/worker", "open", "/lib/libfoo.so.1", "pivot", "/inner"),
	})
	d.Exe, d.Comm = "/usr/bin/worker", "worker"
	b.expect(everyFile(t, d, sensor.Unknown, sensor.Unresolved, lower.Dir, files))
}

// everyFile is the finding for a process of whose files, all below root, the
// same is said.
func everyFile(t *testing.T, d *lab.Daemon, state sensor.State, reason sensor.Reason, root string, files []string) lab.Finding {
	t.Helper()
	var f lab.Finding
	for i, name := range slices.Sorted(slices.Values(files)) {
		one := want(d, state, reason, strings.TrimPrefix(name, root), lab.BuildID(t, name), "")
		if i == 0 {
			f = one
		} else {
			f = with(f, one)
		}
	}
	return f
}

// A daemon that takes its own directory for its root once it is loaded.
func TestDaemonThatChrootsIntoItsOwnTree(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1, v2 := library(t, "x.so", "1"), library(t, "x.so", "2")
	exe := b.install(worker(t, "1"), "x/bin/srv")
	lib := b.install(v1, "x/lib/x.so")
	d := b.start(lab.Command{Path: exe, Args: []string{"open", lib, "chroot", b.path("x")}})
	b.silence()
	b.change(func() { b.install(v2, "x/lib/x.so") })
	// Both names are those that lead there from its new root.
	d.Exe = "/bin/srv"
	b.expect(b.stale(d, sensor.Replaced, "/lib/x.so", v1, v2))
}

// All of the process's root is gone. The host's libraries of the same names are
// none of its own.
func TestChrootRemoved(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	food := daemon(t, "1")
	tree := lab.NewTree(t, b.path("root"), food)
	b.install(food, "root/usr/sbin/food")
	var gone []string
	for _, name := range libraries(t, food) {
		must(t, os.Remove(tree.Path(name)))
		rebuilt(t, name, tree.Path(name))
		canonical, err := filepath.EvalSymlinks(tree.Path(name))
		must(t, err)
		gone = append(gone, canonical)
	}
	d := b.start(lab.Command{Path: "/usr/sbin/food", Root: tree.Dir})
	f := everyFile(t, d, sensor.Missing, sensor.MissingFile, tree.Dir, append(gone, tree.Path(d.Exe)))
	b.change(func() { must(t, os.RemoveAll(tree.Dir)) })
	b.expect(f)
}
