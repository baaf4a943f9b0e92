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
// loaded, and that root is no more to be seen. At the same paths lies something
// else, which it never had.
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
	missing := func(name string) lab.Finding {
		return want(d, sensor.Missing, sensor.MissingFile, strings.TrimPrefix(name, tree.Dir), lab.BuildID(t, name), "")
	}
	slices.Sort(gone)
	f := missing(gone[0])
	for _, name := range append(gone[1:], tree.Path(d.Exe)) {
		f = with(f, missing(name))
	}
	b.change(func() { must(t, os.RemoveAll(tree.Dir)) })
	b.expect(f)
}
