package cases

import (
	"fmt"
	"os"
	"testing"
)

// A hostile process has thousands of files of which each has to be looked into.
// The lab's bound on one run is what this can fail by. It runs alone: other
// cases would look at these files too.
func TestManyTouchedLibraries(t *testing.T) {
	const count = 2000
	b := newBox(t)
	lib := library(t, "libfoo.so.1", "1")
	name := func(i int) string { return fmt.Sprintf("lib/libfoo%04d.so", i) }
	for i := range count {
		b.install(lib, name(i))
	}
	b.work("openall", b.path("lib"))
	b.change(func() {
		for i := range count {
			must(t, os.Chmod(b.path(name(i)), 0o711))
		}
	})
	b.silence()
}
