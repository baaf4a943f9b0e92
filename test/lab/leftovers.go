package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endHelpers ends the processes that run a program of this name for a daemon: they are
// known by their command line, in which the daemon's directory stands.
func endHelpers(dir, program string) {
	ours := func() (pids []int) {
		for _, pid := range processes() {
			argv := commandLine(pid)
			if filepath.Base(argv[0]) == program && slices.ContainsFunc(argv[1:], func(arg string) bool { return strings.HasPrefix(arg, dir+"/") }) {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	for deadline := time.Now().Add(dockerTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		pids := ours()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// processes are the IDs of all processes.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// commandLine is how a process was started; it has at least one element.
func commandLine(pid int) []string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
}

// removeCgroups ends what is left of a container and removes its cgroups, in every
// hierarchy.
func removeCgroups(id string) error {
	var errs []error
	for _, hierarchy := range hierarchies() {
		for _, pattern := range []string{"*" + id + "*", "*/*" + id + "*"} {
			found, _ := filepath.Glob(filepath.Join(hierarchy, pattern))
			for _, dir := range found {
				errs = append(errs, removeCgroup(dir))
			}
		}
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup and those below it, innermost first.
func removeCgroup(dir string) error {
	var dirs []string
	_ = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	})
	slices.Reverse(dirs)
	var errs []error
	for _, dir := range dirs {
		err := syscall.Rmdir(dir)
		for deadline := time.Now().Add(5 * time.Second); errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			members, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for pid := range strings.FieldsSeq(string(members)) {
				if n, err := strconv.Atoi(pid); err == nil && n > 1 {
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
			err = syscall.Rmdir(dir)
		}
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("cgroup %s stays: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// hierarchies are the mount points of all cgroup hierarchies.
func hierarchies() []string {
	var found []string
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			found = append(found, f[1])
		}
	}
	return found
}

// unmountBelow unmounts what is mounted below a directory, last mounted first.
func unmountBelow(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.Reverse(points)
	var errs []error
	for _, point := range points {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}
