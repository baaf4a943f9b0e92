package sensor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host/kernel"
	"github.com/patchsensor/patchsensor/internal/host/microcode"
	kmod "github.com/patchsensor/patchsensor/internal/host/module"
)

// machine is what is known of the machine itself: facts, no verdicts.
type machine struct {
	// foreign says why the root is not that of the machine whose kernel runs; nothing
	// else is known then.
	foreign string
	booted  time.Time

	running   kernel.Running
	images    []bootImage
	next      kernel.Next
	nextErr   error
	patches   []kernel.Livepatch
	modules   []kmod.Result
	hasTree   bool            // modules of the running release are installed
	drivers   map[string]bool // modules that are the drivers of something
	microcode []cpuMicrocode
	errs      []error // what could not be read
}

// bootImage is an installed kernel image.
type bootImage struct {
	kernel.Installed
	// build says whether it is what runs, as far as its release is the running one's.
	build Answer
	how   string // what that rests on
}

// cpuMicrocode is what there is for one kind of processor.
type cpuMicrocode struct {
	microcode.Kind
	installed, early       microcode.Update
	installedErr, earlyErr error
	// earlyAt is when the initial ramdisk that has early was last changed.
	earlyAt time.Time
}

// hostRoots are the file systems that the machine is read from.
type hostRoots struct {
	root, proc, sys tree
}

// initialPIDNamespace is the inode number of the first PID namespace
// (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const initialPIDNamespace = 0xEFFFFFFC

// foreignRoot says why the kernel that runs is not one of root: in a container both are
// different machines' so to speak. It is empty if nothing speaks against it.
func (sc *scan) foreignRoot() string {
	dir := sc.fs.Dir()
	for _, pid := range []string{"1", "self"} {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, pid, "ns/pid"), &st) != nil {
			continue
		}
		if st.Ino != initialPIDNamespace {
			return "it is that of a container"
		}
		break
	}
	var first, root unix.Stat_t
	if unix.Stat(filepath.Join(dir, "1/root"), &first) == nil && unix.Stat(sc.root.Name(), &root) == nil &&
		(first.Dev != root.Dev || first.Ino != root.Ino) {
		return "process 1 has another root directory"
	}
	return ""
}

// machine reads the machine, or takes what is known of it if nothing has changed.
func (sc *scan) machine(ctx context.Context) *machine {
	if sc.itself != nil {
		return sc.itself
	}
	if sc.mem != nil {
		sc.itself = sc.mem.machine.recall(ctx, sc)
	} else {
		sc.itself = sc.readMachine(ctx, new(machineCaches), func(t tree) tree { return t })
	}
	return sc.itself
}

// machineCaches are what is dear to read of files.
type machineCaches struct {
	modules kmod.Cache
	builds  map[buildKey]buildID
}

// buildKey is a state of a kernel image.
type buildKey struct {
	id    file.ID
	ctime time.Time
	size  int64
}

type buildID struct {
	id  string
	err error
}

// readMachine reads the machine through roots that seen may wrap.
func (sc *scan) readMachine(ctx context.Context, caches *machineCaches, seen func(tree) tree) *machine {
	m := &machine{foreign: sc.foreignRoot(), booted: time.Time(sc.boot)}
	if m.foreign != "" {
		return m
	}
	proc, err := file.OpenRoot(sc.fs.Dir())
	if err != nil {
		m.errs = append(m.errs, err)
		return m
	}
	defer proc.Close()
	sys, err := file.OpenRoot(sc.opts.Sys)
	if err != nil {
		m.errs = append(m.errs, err)
		return m
	}
	defer sys.Close()
	r := hostRoots{seen(sc.root), proc, sys}
	if m.running, err = kernel.ReadRunning(proc, sys); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.errs = append(m.errs, err)
	}
	m.readImages(ctx, r, caches)
	m.next, m.nextErr = kernel.ReadNext(r.root)
	if m.patches, err = kernel.ReadLivepatches(sys); err != nil {
		m.errs = append(m.errs, err)
	}
	m.readModules(ctx, r, caches)
	m.readMicrocode(r)
	return m
}

// readImages lists the installed kernels and finds out which of those of the running
// release are what runs.
func (m *machine) readImages(ctx context.Context, r hostRoots, caches *machineCaches) {
	list, err := kernel.List(r.root)
	if err != nil {
		m.errs = append(m.errs, err)
	}
	met := make(map[file.ID]bool)
	for _, k := range list {
		if met[k.Info.ID] && k.Err == nil {
			continue // a link to one that is there by its own name
		}
		met[k.Info.ID] = true
		img := bootImage{Installed: k}
		if k.Release != "" && k.Release == m.running.Release {
			img.build, img.how = m.sameBuild(ctx, r, k, caches)
		}
		m.images = append(m.images, img)
	}
}

// sameBuild finds out whether an image of the running release is what runs. Its version
// text, which holds the number or the time of the build, differs with every build that is
// another package's; where it does not, a file that is older than the last boot is what
// was booted, and of a newer one the build ID tells.
func (m *machine) sameBuild(ctx context.Context, r hostRoots, k kernel.Installed, caches *machineCaches) (Answer, string) {
	if k.Err != nil {
		return NotKnown, k.Err.Error()
	}
	running, installed := buildText(m.running.Version), buildText(k.Version)
	if running != "" && installed != "" {
		if running != installed {
			return No, "it is another build"
		}
		if k.Info.Ctime.Before(m.booted.Add(-bootMargin)) {
			return Yes, "it is of the same build, and was not changed since the boot"
		}
	}
	if m.running.BuildID == "" {
		return NotKnown, "the running kernel does not tell its build ID"
	}
	key := buildKey{k.Info.ID, k.Info.Ctime, k.Info.Size}
	b, ok := caches.builds[key]
	if !ok {
		img, err := kernel.IdentifyFile(ctx, r.root, strings.TrimPrefix(k.File, "/"))
		if b = (buildID{img.BuildID, err}); ctx.Err() == nil {
			if caches.builds == nil {
				caches.builds = make(map[buildKey]buildID)
			}
			caches.builds[key] = b
		}
	}
	switch {
	case b.err != nil:
		return NotKnown, b.err.Error()
	case b.id == m.running.BuildID:
		return Yes, "it has the running kernel's build ID"
	}
	return No, "it has another build ID"
}

// bootMargin is how much earlier than the boot a file has to have been changed for the
// last time to count as what was booted: clocks are set while a machine boots.
const bootMargin = time.Minute

// buildText is what a kernel says of its build, uname(2)'s version: "#1 SMP
// PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-06-19)". Both /proc/version and the header of an
// image end with it (linux_banner of init/version.c, arch/x86/boot/version.c); it is
// empty if there is none.
func buildText(version string) string {
	i := strings.LastIndex(version, " #")
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(version[i+1:])
}

// readModules compares the loaded modules with their files.
func (m *machine) readModules(ctx context.Context, r hostRoots, caches *machineCaches) {
	loaded, err := kmod.ReadLoaded(r.proc, r.sys)
	if err != nil {
		m.errs = append(m.errs, err)
	}
	if m.running.Release == "" || len(loaded) == 0 {
		return
	}
	t, err := kmod.OpenTree(r.root, m.running.Release)
	if err != nil {
		m.errs = append(m.errs, err)
	}
	for _, dir := range []string{"usr/lib/modules/", "lib/modules/"} {
		if _, err := r.root.Stat(dir + m.running.Release); err == nil {
			m.hasTree = true
		}
	}
	// Live patches are judged as such.
	loaded = slices.DeleteFunc(loaded, func(l kmod.Loaded) bool {
		return slices.ContainsFunc(m.patches, func(p kernel.Livepatch) bool { return p.Name == l.Name })
	})
	m.drivers = make(map[string]bool)
	for _, l := range loaded {
		// Directories of a bus's drivers, /sys/bus/BUS/drivers/NAME.
		if names, err := r.sys.ReadDir("module/"+l.Name+"/drivers", 1); err == nil && len(names) > 0 {
			m.drivers[l.Name] = true
		}
	}
	m.modules, err = kmod.Compare(ctx, loaded, t, &caches.modules)
	if err != nil {
		m.errs = append(m.errs, err)
	}
}

// readMicrocode reads which microcode the processors run and which there is for them. What
// a hypervisor gives its guests cannot be changed by them.
func (m *machine) readMicrocode(r hostRoots) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" {
		return
	}
	cpus, err := microcode.ReadCPUs(r.proc, r.sys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.errs = append(m.errs, err)
	}
	for _, k := range microcode.Kinds(cpus) {
		c := cpuMicrocode{Kind: k}
		if !k.Hypervisor && k.RevisionKnown && (k.Vendor == microcode.Intel || k.Vendor == microcode.AMD) {
			m.findMicrocode(r, &c)
		}
		m.microcode = append(m.microcode, c)
	}
}

// findMicrocode looks for updates: in the firmware files, and in what the kernel that will
// boot finds before it has a file system.
func (m *machine) findMicrocode(r hostRoots, c *cpuMicrocode) {
	c.installed, c.installedErr = microcode.Installed(r.root, m.running.Release, c.CPU)
	names, err := microcode.Images(r.root)
	if err != nil {
		c.earlyErr = err
	}
	release := m.next.Release
	if release == "" {
		release = m.running.Release
	}
	for _, name := range names {
		if !loadedWith(name, release) {
			continue
		}
		u, err := microcode.Early(r.root, name, c.CPU)
		if err != nil && !errors.Is(err, microcode.ErrNoUpdate) {
			c.earlyErr = errors.Join(c.earlyErr, err)
		}
		if u.Revision > c.early.Revision {
			c.early = u
			c.earlyAt = time.Time{}
			if info, err := r.root.Stat(strings.TrimPrefix(name, "/")); err == nil {
				c.earlyAt = info.Ctime
			}
		}
	}
}

// loadedWith reports whether an initial ramdisk goes with a kernel of a release, or with
// any: Arch's intel-ucode.img and initramfs-linux.img have none in their names.
func loadedWith(name, release string) bool {
	if dir := path.Base(path.Dir(name)); strings.ContainsAny(dir, "0123456789") {
		return dir == release // MACHINE-ID/RELEASE/initrd
	}
	base := strings.TrimSuffix(path.Base(name), ".img")
	return strings.HasSuffix(base, "-"+release) || strings.HasSuffix(base, "."+release) || !strings.ContainsAny(base, "0123456789")
}

// sysOf is where sysfs is mounted beside a procfs, unless it is said.
func sysOf(sys, proc string) string {
	if sys != "" {
		return sys
	}
	beside := filepath.Join(filepath.Dir(filepath.Clean(proc)), "sys")
	if _, err := os.Stat(filepath.Join(beside, "kernel")); err == nil {
		return beside
	}
	return "/sys"
}
