package cases

import (
	"os"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// The inode stays, its content does not: no name and no identity tells. The
// build ID of what was loaded is lost with the bytes.
func TestOverwrittenInPlace(t *testing.T) {
	for name, flags := range map[string]int{
		"written over":            0,
		"truncated and rewritten": os.O_TRUNC, // what cp does
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			d := b.food()
			v2 := library(t, "libfoo.so.1", "2")
			lib := b.path("lib/libfoo.so.1")
			b.change(func() { copyFile(t, v2, lib, flags) })
			b.expect(want(d, sensor.Stale, sensor.Overwritten, lib, "", lab.BuildID(t, v2)))
		})
	}
}

// What changes a file's change time and not its content is no reason to
// restart anything. A new modification time of a file without a checksum is
// another matter: touch(1) and a write leave the same marks.
func TestOnlyMetadataChanged(t *testing.T) {
	for name, touch := range map[string]func(t *testing.T, file string){
		"chmod":       func(t *testing.T, file string) { must(t, os.Chmod(file, 0o744)) },
		"chown":       func(t *testing.T, file string) { must(t, os.Chown(file, 1, 1)) },
		"second link": func(t *testing.T, file string) { must(t, os.Link(file, file+".link")) },
		"renamed there and back": func(t *testing.T, file string) {
			must(t, os.Rename(file, file+".orig"))
			must(t, os.Rename(file+".orig", file))
		},
		"old time set": func(t *testing.T, file string) {
			must(t, os.Chtimes(file, time.Time{}, time.Now().Add(-2*old)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.food()
			b.change(func() {
				touch(t, b.path("lib/libfoo.so.1"))
				touch(t, b.path("bin/food"))
			})
			b.silence()
		})
	}
}

// A page of a loaded library that is mapped by hand, below it, is not where its code
// is: what lies around that page says nothing of the library.
func TestMappedByHandToo(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	lib := b.install(library(t, "libfoo.so.1", "1"), "lib/libfoo.so.1")
	d := b.work("open", lib, "map", lib)
	b.change(func() { must(t, os.Chmod(lib, 0o711)) })
	b.neverStale(d)
}
