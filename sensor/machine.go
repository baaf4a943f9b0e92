package sensor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	// guess says that the root was named, so that it is to be the machine's nevertheless.
	guess  bool
	booted time.Time

	running kernel.Running
	images  []bootImage
	next    kernel.Next
	nextErr error
	patches []kernel.Livepatch
	modules []kmod.Result
	// trees are the releases of which modules are installed.
	trees []string
	// changed is when the files of modules that are loaded in another build were changed.
	changed map[string]time.Time
	// unmounted is a place of kernels in fstab that is not mounted.
	unmounted string
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
	// earlyAt is when the initial ramdisk that has early was last changed, and installedAt
	// when the file of installed was.
	earlyAt, installedAt time.Time
	// ramdisks is how many there are for the kernel that will boot.
	ramdisks int
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
	pid := "1"
	var st unix.Stat_t
	if unix.Stat(filepath.Join(dir, pid, "ns/pid"), &st) != nil {
		// Another namespace's procfs has this process under another number, or not.
		if self, err := os.Readlink(filepath.Join(dir, "self")); err == nil && self == strconv.Itoa(os.Getpid()) {
			pid = "self"
		}
	}
	if unix.Stat(filepath.Join(dir, pid, "ns/pid"), &st) == nil && st.Ino != initialPIDNamespace {
		return foreignProcesses
	}
	var first, root unix.Stat_t
	if unix.Stat(filepath.Join(dir, "1/root"), &first) == nil && unix.Stat(sc.root.Name(), &root) == nil &&
		(first.Dev != root.Dev || first.Ino != root.Ino) {
		return "process 1 has another root directory"
	}
	return ""
}

// foreignProcesses is why a root is not that of the machine whose processes are seen.
const foreignProcesses = "the processes are those of a container"

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
	builds  map[buildKey]build
}

// buildKey is a state of a kernel image.
type buildKey struct {
	id    file.ID
	ctime time.Time
	size  int64
}

// build is what an image says inside, and what is wrong with it.
type build struct {
	img kernel.Image
	err error
}

// readMachine reads the machine through roots that seen may wrap.
func (sc *scan) readMachine(ctx context.Context, caches *machineCaches, seen func(tree) tree) *machine {
	m := &machine{foreign: sc.foreignRoot(), booted: time.Time(sc.boot)}
	if m.foreign != "" {
		m.guess = m.foreign == foreignProcesses && sc.opts.Root != "/"
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
	m.readNext(r)
	m.readImages(ctx, r, caches)
	m.readTrees(r)
	if m.patches, err = kernel.ReadLivepatches(sys); err != nil {
		m.errs = append(m.errs, err)
	}
	m.readModules(ctx, r, caches)
	m.readMicrocode(r)
	return m
}

// readNext finds out which kernel will boot.
func (m *machine) readNext(r hostRoots) {
	m.next, m.nextErr = kernel.ReadNext(r.root)
	if m.nextErr != nil || m.next.Loader != kernel.LoaderSystemd {
		return
	}
	// What bootctl(1) was told, for once or for good, stands before its files.
	const vendor = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	for _, name := range []string{"LoaderEntryOneShot", "LoaderEntryDefault"} {
		if _, err := r.sys.Stat("firmware/efi/efivars/" + name + vendor); err == nil {
			m.nextErr = fmt.Errorf("%w: the firmware's variable %s chooses an entry", kernel.ErrUncertain, name)
			return
		}
	}
}

// readTrees lists the releases of which modules are installed, and finds out whether the
// place of kernels is there to be seen.
func (m *machine) readTrees(r hostRoots) {
	for _, dir := range []string{"usr/lib/modules", "lib/modules"} {
		names, err := r.root.ReadDir(dir, maxKernels)
		if err != nil {
			continue
		}
		for _, name := range names {
			if _, err := r.root.Stat(dir + "/" + name + "/modules.dep"); err == nil && !slices.Contains(m.trees, name) {
				m.trees = append(m.trees, name)
			}
		}
	}
	content, err := r.root.ReadFile("etc/fstab", 1<<20)
	if err != nil {
		return
	}
	top, err := r.root.Stat("/")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(content)) {
		// fstab(5): the device, the mount point, …
		words := strings.Fields(line)
		if len(words) < 3 || strings.HasPrefix(words[0], "#") || !slices.Contains([]string{"/boot", "/boot/firmware"}, strings.TrimSuffix(words[1], "/")) {
			continue
		}
		if info, err := r.root.Stat(words[1]); err == nil && info.Mount != 0 && info.Mount == top.Mount {
			m.unmounted = words[1]
		}
	}
}

// maxKernels bounds how many releases are looked at.
const maxKernels = 1024

// hasTree reports whether modules of the running release are installed.
func (m *machine) hasTree() bool { return slices.Contains(m.trees, m.running.Release) }

// readImages lists the installed kernels and finds out which of those of the running
// release are what runs.
func (m *machine) readImages(ctx context.Context, r hostRoots, caches *machineCaches) {
	list, err := kernel.List(r.root)
	if err != nil {
		m.errs = append(m.errs, err)
	}
	if name := m.next.File; m.nextErr == nil && name != "" && !slices.ContainsFunc(list, func(k kernel.Installed) bool { return k.File == name }) {
		list = append(list, kernel.Look(r.root, name))
	}
	// The names of links tell less than those of files.
	slices.SortStableFunc(list, func(a, b kernel.Installed) int { return cmp.Compare(min(len(a.Link), 1), min(len(b.Link), 1)) })
	met := make(map[file.ID]bool)
	for _, k := range list {
		if met[k.Info.ID] && k.Err == nil {
			continue // a link to one that is there by its own name
		}
		met[k.Info.ID] = true
		img := bootImage{Installed: k}
		if k.Release == "" && k.Err == nil {
			// Bare images tell their release inside only.
			b := identified(ctx, r, k, caches)
			img.Release, img.Version, img.BuildID = b.img.Release, b.img.Version, b.img.BuildID
			if img.Release == "" {
				img.Err = b.err
			}
		}
		if img.Release != "" && img.Release == m.running.Release {
			img.build, img.how = m.sameBuild(ctx, r, img.Installed, caches)
		}
		m.images = append(m.images, img)
	}
	if m.nextErr == nil && m.next.Release == "" {
		for _, img := range m.images {
			if img.File == m.next.File {
				m.next.Release = img.Release
			}
		}
	}
}

// identified is what a kernel image says inside, read once for each state of it.
func identified(ctx context.Context, r hostRoots, k kernel.Installed, caches *machineCaches) build {
	key := buildKey{k.Info.ID, k.Info.Ctime, k.Info.Size}
	if b, ok := caches.builds[key]; ok {
		return b
	}
	img, err := kernel.IdentifyFile(ctx, r.root, strings.TrimPrefix(k.File, "/"))
	b := build{img, err}
	if ctx.Err() == nil && !transient(err) {
		if caches.builds == nil {
			caches.builds = make(map[buildKey]build)
		}
		caches.builds[key] = b
	}
	return b
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
	switch b := identified(ctx, r, k, caches); {
	case b.img.BuildID == "" && b.err != nil:
		return NotKnown, b.err.Error()
	case b.img.BuildID == m.running.BuildID:
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
	// Live patches are judged as such.
	loaded = slices.DeleteFunc(loaded, func(l kmod.Loaded) bool {
		return slices.ContainsFunc(m.patches, func(p kernel.Livepatch) bool { return p.Name == l.Name })
	})
	m.modules, err = kmod.Compare(ctx, loaded, t, &caches.modules)
	if err != nil {
		m.errs = append(m.errs, err)
	}
	m.changed = make(map[string]time.Time)
	for i := range m.modules {
		if p := m.modules[i].Found.Path; m.modules[i].Outcome == kmod.Other && p != "" {
			if info, err := r.root.Stat(strings.TrimPrefix(p, "/")); err == nil {
				m.changed[p] = info.Ctime
			}
		}
	}
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
