package watch

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/dpkg"
)

// TestDpkg has the real dpkg change a database: each run is told once it is over
// and its result can be read.
func TestDpkg(t *testing.T) {
	w := newWorld(t, quick)
	w.write(dbDir+"/available", "")
	for _, d := range []string{"info", "updates", "triggers"} {
		w.must(os.MkdirAll(w.path(dbDir+"/"+d), 0o755))
	}
	root, err := file.OpenRoot(w.root)
	w.must(err)
	defer root.Close()
	w.add(Target{Busy: func() (bool, error) { return dpkg.Busy(root) }})
	w.start()

	run := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	scratch := &world{t: t, root: t.TempDir()}
	for _, version := range []string{"1.0-1", "1.0-2", "1.0-1"} {
		scratch.write("tree/DEBIAN/control", "Package: pair\nVersion: "+version+
			"\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a package\n")
		scratch.write("tree/usr/lib/pair/file", version)
		deb := filepath.Join(scratch.root, version+".deb")
		run("dpkg-deb", "--root-owner-group", "-b", scratch.path("tree"), deb)
		w.told(func() { run("dpkg", "--root="+w.root, "--log="+scratch.path("log"), "-i", deb) })
		d, err := dpkg.Open(root)
		w.must(err)
		if p := d.Packages(); len(p) != 1 || p[0].Version != version || p[0].State != owner.StateInstalled {
			t.Errorf("%v, want version %s", p, version)
		}
	}
	w.told(func() { run("dpkg", "--root="+w.root, "--log="+scratch.path("log"), "--purge", "pair") })
	d, err := dpkg.Open(root)
	w.must(err)
	if p := d.Packages(); len(p) != 0 {
		t.Errorf("%v after it was purged", p)
	}
}
