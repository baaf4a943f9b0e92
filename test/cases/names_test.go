package cases

import (
	"os"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// hostileNames are legal names that /proc prints escaped, or that look like
// something else there.
var hostileNames = []string{
	"with space",
	"  two  leading and  doubled ",
	"new\nline",
	"food (deleted)",
	"food (deleted) (deleted)",
	`back\012slash`,
	"\x1b[31mred\x1b[0m",
	"7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \nnext",
	"été",
}

func TestHostileNames(t *testing.T) {
	for _, name := range hostileNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			lib1, lib2 := library(t, "libfoo.so.1", "1"), library(t, "libfoo.so.1", "2")
			exe1, exe2 := daemon(t, "1"), daemon(t, "2")
			b.install(lib1, "kept/"+name+".so")
			b.install(lib1, "new/"+name+".so")
			open := func(dir string) []string { return []string{"open", b.path(dir + "/" + name + ".so")} }

			// The untouched one first: silence.
			b.start(lab.Command{Path: b.install(exe1, "bin/kept/"+name), Args: open("kept")})
			lib := b.start(lab.Command{Path: b.install(exe1, "bin/lib/"+name), Args: open("new")})
			exe := b.start(lab.Command{Path: b.install(exe1, "bin/exe/"+name), Args: open("kept")})
			b.change(func() {
				b.install(lib2, "new/"+name+".so")
				b.install(exe2, "bin/exe/"+name)
			})
			b.expect(
				b.stale(lib, sensor.Replaced, b.path("new/"+name+".so"), lib1, lib2),
				b.stale(exe, sensor.Replaced, exe.Exe, exe1, exe2),
			)
		})
	}
}

// A file that is really called "food (deleted)" stands where /proc's words for
// a deleted "food" would lead.
func TestDecoyOfADeletedFile(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	v1 := daemon(t, "1")
	b.install(daemon(t, "2"), "bin/food (deleted)")
	exe := b.install(v1, "bin/food")
	d := b.start(lab.Command{Path: exe})
	b.change(func() { must(t, os.Remove(exe)) })
	b.expect(want(d, sensor.Missing, sensor.MissingFile, exe, lab.BuildID(t, v1), ""))
}
