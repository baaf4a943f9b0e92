package machine

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

const kernelPackage = "linux-image-cloud-amd64"

// managers are packages of libraries that systemd and what belongs to it have loaded,
// and buses those that the bus has. The first of which the archive has two versions is
// upgraded.
var (
	managers = []string{"libssl3", "libssl3t64", "liblzma5", "libmount1"}
	buses    = []string{"libexpat1", "libdbus-1-3", "dbus"}
)

// patch is an upgrade with the package's file.
type patch struct {
	lab.Upgrade
	deb string
}

// inside is where a guest has the package's file.
func (p patch) inside() string { return put(p.deb) }

// put is the name in a guest of a file of this machine.
func put(file string) string { return filepath.Join("/var/tmp", filepath.Base(file)) }

// world is what all tests start from: a Debian with older packages, as an archive of
// tar(1), and what is newer.
type world struct {
	tar          string
	manager, bus patch
	older, newer lab.Kernel
	kernel       patch // the package that depends on the newest kernel
}

var (
	worldOnce sync.Once
	theWorld  world
)

// newWorld is the same for all tests.
func newWorld(t *testing.T) world {
	t.Helper()
	worldOnce.Do(func() { theWorld = makeWorld(t) })
	if theWorld.tar == "" {
		t.Fatal("there is no Debian to start from, as an earlier test says")
	}
	return theWorld
}

func makeWorld(t *testing.T) world {
	t.Helper()
	archive := lab.NewArchive(t)
	suite := lab.NewSuite(t, archive.Codename)
	w := world{older: suite.OldestKernel(t), newer: suite.NewestKernel(t)}
	if w.older.Release == w.newer.Release {
		t.Fatalf("the archive has one kernel of %s, %v; was apt-get update run?", suite.Codename, w.newer)
	}
	take := func(u lab.Upgrade) patch { return patch{u, archive.Download(t, scratch, u.Name, u.To)} }
	w.kernel = take(lab.Upgrade{Name: kernelPackage, From: w.older.PackageVersion, To: w.newer.PackageVersion})
	w.manager, w.bus = take(first(t, archive, managers)), take(first(t, archive, buses))
	for _, p := range []patch{w.kernel, w.manager, w.bus} {
		t.Logf("%s: %s, to be upgraded to %s", p.Name, p.From, p.To)
	}
	w.tar = filepath.Join(scratch, "root.tar")
	// By the bus of its own the manager of a user is reached.
	packages := append([]string{w.manager.Name, w.bus.Name, kernelPackage, "dbus-user-session"}, lab.GuestPackages...)
	archive.Root(t, w.tar, []lab.Upgrade{w.kernel.Upgrade, w.manager.Upgrade, w.bus.Upgrade}, packages...)
	return w
}

// first is the last upgrade of the first of the packages that has one. One from further
// back may be too old for what else is installed.
func first(t *testing.T, archive lab.Archive, names []string) lab.Upgrade {
	t.Helper()
	for _, name := range names {
		if versions := archive.Versions(t, name); len(versions) > 1 {
			return lab.Upgrade{Name: name, From: versions[len(versions)-2], To: versions[len(versions)-1]}
		}
	}
	t.Fatalf("the archive has two versions of none of %q; was apt-get update run?", names)
	return lab.Upgrade{}
}

// root unpacks the Debian.
func (w world) root(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(lab.Scratch(t), "root")
	lab.Output(t, "mkdir", dir)
	lab.Output(t, "tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--directory", dir, "--file", w.tar)
	return dir
}

// loadedFile is a file that a process has mapped executable and that has lost its name.
type loadedFile struct {
	pid               int
	comm, exe, cgroup string
	path              string
}

// lostScript lists them. That the kernel marks them tells all here, where dpkg alone
// replaces files.
const lostScript = `cd /proc && for maps in $(grep -ls ' r-xp .* /.* (deleted)$' [1-9]*/maps); do
	p=${maps%/maps}
	sed -n 's/^[^ ]* r-xp .* \(\/.*\) (deleted)$/\1/p' $maps | sort -u | while read -r f; do
		printf '%s\t%s\t%s\t%s\t%s\n' $p "$(cat $p/comm)" "$(readlink $p/exe)" "$(sed -n 's/^0:://p' $p/cgroup)" "$f"
	done
done`

func parseLost(t *testing.T, text string) []loadedFile {
	t.Helper()
	var files []loadedFile
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		var one loadedFile
		if len(f) != 5 {
			t.Fatalf("not a line of a loaded file: %q", line)
		}
		if _, err := fmt.Sscan(f[0], &one.pid); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		one.comm, one.exe, one.cgroup, one.path = f[1], f[2], f[3], f[4]
		files = append(files, one)
	}
	return files
}
