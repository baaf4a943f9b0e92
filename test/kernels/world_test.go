package kernels

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// Where the guest has things. Both programs are daemons of test/cases in two versions.
const (
	oldProgram = "/lab/daemon.1"
	newProgram = "/lab/daemon.2"
	btrfsMount = "/mnt/btrfs"
)

// world are places on file systems on which the kernel and user space have different
// views of the same file, each with two copies of a daemon that are the same file by
// some of the numbers: one of them is replaced, one stays.
type world struct {
	t      *testing.T
	dir    string
	places []*place
}

// place holds the directories of two daemons.
type place struct {
	name           string
	replaced, kept string
	daemons        []*lab.Daemon // of replaced, of kept
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: lab.Scratch(t)}
	w.add("plain", w.sub(w.dir, "a"), w.sub(w.dir, "b"))
	w.overlays("overlay", w.dir)
	btrfs, err := os.MkdirTemp(btrfsMount, "world.")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(btrfs)) })
	w.snapshots("btrfs", btrfs)
	w.overlays("overlay on btrfs", btrfs)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) sub(parent, name string) string {
	w.t.Helper()
	dir := filepath.Join(parent, name)
	must(w.t, os.MkdirAll(dir, 0o755))
	return dir
}

func (w *world) add(name, replaced, kept string) {
	w.t.Helper()
	for _, dir := range []string{replaced, kept} {
		if _, err := os.Stat(filepath.Join(dir, "daemon")); err != nil {
			put(w.t, oldProgram, filepath.Join(dir, "daemon"))
		}
	}
	w.places = append(w.places, &place{name: name, replaced: replaced, kept: kept})
}

// overlays are two of the same lower directory, as two containers of an image are.
func (w *world) overlays(name, parent string) {
	w.t.Helper()
	put(w.t, oldProgram, filepath.Join(w.sub(parent, "lower"), "daemon"))
	var merged []string
	for _, one := range []string{"1", "2"} {
		dir := w.sub(parent, "merged"+one)
		options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s,workdir=%s", parent, w.sub(parent, "upper"+one), w.sub(parent, "work"+one))
		must(w.t, unix.Mount("overlay", dir, "overlay", 0, options))
		w.t.Cleanup(func() { must(w.t, unix.Unmount(dir, 0)) })
		merged = append(merged, dir)
	}
	w.add(name, merged[0], merged[1])
}

// snapshots are a subvolume and its snapshot, whose files have the same inode numbers
// on what is the same device for the kernel.
func (w *world) snapshots(name, parent string) {
	w.t.Helper()
	original := filepath.Join(parent, "original")
	subvolume(w.t, btrfsSubvolCreate, parent, "original", -1)
	put(w.t, oldProgram, filepath.Join(original, "daemon"))
	from, err := os.Open(original)
	must(w.t, err)
	defer from.Close()
	subvolume(w.t, btrfsSnapCreate, parent, "snapshot", int64(from.Fd()))
	w.add(name, original, filepath.Join(parent, "snapshot"))
}

// include/uapi/linux/btrfs.h: _IOW(0x94, 1 and 14, struct btrfs_ioctl_vol_args).
const (
	btrfsSnapCreate   = 0x50009401
	btrfsSubvolCreate = 0x5000940e
)

// subvolume makes one of the given name, a snapshot of from unless that is -1.
func subvolume(t *testing.T, request uintptr, parent, name string, from int64) {
	t.Helper()
	dir, err := os.Open(parent)
	must(t, err)
	defer dir.Close()
	args := struct {
		fd   int64
		name [4088]byte
	}{fd: from}
	copy(args.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(unsafe.Pointer(&args))); errno != 0 {
		t.Fatalf("subvolume %s of %s: %v", name, parent, errno)
	}
}

// put puts a copy of the file from at name as a new inode, renamed over what is there
// and long since written, as files of packages are.
func put(t *testing.T, from, name string) {
	t.Helper()
	content, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(name+".new", content, 0o755))
	past := time.Now().Add(-30 * 24 * time.Hour)
	must(t, os.Chtimes(name+".new", past, past))
	must(t, os.Rename(name+".new", name))
}

// settle separates what is done before from what is done after: start times of
// processes are known in clock ticks of 10 ms, change times of files in those of the
// kernel's timer.
func settle() { time.Sleep(30 * time.Millisecond) }

// start starts all daemons.
func (w *world) start(t *testing.T) {
	t.Helper()
	settle()
	for _, p := range w.places {
		for _, dir := range []string{p.replaced, p.kept} {
			p.daemons = append(p.daemons, lab.Start(t, lab.Command{Path: filepath.Join(dir, "daemon")}))
		}
	}
}

// upgrade replaces the program of one of each place.
func (w *world) upgrade(t *testing.T) {
	t.Helper()
	settle()
	for _, p := range w.places {
		put(t, newProgram, filepath.Join(p.replaced, "daemon"))
	}
}

// expected are the findings after upgrade, and the processes of which there must be
// no other.
func (w *world) expected(t *testing.T) (pids []int, want []lab.Finding) {
	t.Helper()
	for _, p := range w.places {
		d := p.daemons[0]
		pids = append(pids, d.PID, p.daemons[1].PID)
		want = append(want, lab.Finding{
			PID: d.PID, Comm: d.Comm, Exe: d.Exe, Workload: "process",
			State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainHost, Action: sensor.Restart,
			Command: []string{},
			Files: []sensor.File{{
				Path: d.Exe, State: sensor.Stale, Reason: sensor.Replaced,
				LoadedBuildID: lab.BuildID(t, oldProgram), InstalledBuildID: lab.BuildID(t, newProgram),
			}},
			Packages: []sensor.Package{},
		})
	}
	return pids, want
}

// follow starts the daemons under a sensor that runs, replaces some and ends all, and
// holds that what it says becomes true each time.
func (w *world) follow(t *testing.T, r *lab.Running) {
	t.Helper()
	w.start(t)
	pids, want := w.expected(t)
	w.await(t, r, pids)
	w.upgrade(t)
	// No package database tells of what was replaced.
	r.Signal(t, syscall.SIGHUP)
	w.await(t, r, pids, want...)
	for _, p := range w.places {
		for _, d := range p.daemons {
			d.Stop()
		}
	}
	w.await(t, r, pids)
	r.Stop(t)
}

// await waits until the sensor says of the processes what is wanted, and ends the test
// with what it says instead.
func (w *world) await(t *testing.T, r *lab.Running, pids []int, want ...lab.Finding) {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		report := r.Ask(t)
		if lab.Matches(report, pids, want...) {
			return
		}
		if time.Now().After(deadline) {
			lab.Check(t, report, pids, want...)
			t.FailNow()
		}
	}
}
