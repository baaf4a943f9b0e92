package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Host is a root directory that stands for a whole machine: in a mount namespace
// of its own, with this machine's processes, devices and kernel. For a sensor that
// runs in it the directory's package database is the host's, and everything else
// on this machine lives in another root.
type Host struct {
	Dir    string
	keeper int // a process that holds the namespace
}

// NewHost makes a host of a directory, which has the directories /proc, /sys and
// /dev. The host ends with the test, and with it its mounts.
func NewHost(t testing.TB, dir string) *Host {
	t.Helper()
	// The root of a machine is a mount, as no plain directory is.
	const script = `set -e; mount --bind "$1" "$1"; for d in proc sys dev; do mount --rbind "/$d" "$1/$d"; done; echo READY; exec cat`
	cmd := exec.Command("unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "READY\n" {
		t.Fatalf("the mounts of a host: %q, %v", line, err)
	}
	return &Host{dir, cmd.Process.Pid}
}

// Via begins a command that runs in the host and keeps the process ID.
func (h *Host) Via() []string {
	return []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", h.keeper), "--", "chroot", h.Dir}
}

// Mount mounts a file system in the host at the directory name, which it makes.
func (h *Host) Mount(t testing.TB, fstype, options, name string) {
	t.Helper()
	if err := os.MkdirAll(h.Path(name), 0o755); err != nil {
		t.Fatal(err)
	}
	Output(t, append(h.Via()[:3:3], "mount", "-t", fstype, "-o", options, fstype, h.Path(name))...)
}

// Bind shows a file of this machine in the host, as name.
func (h *Host) Bind(t testing.TB, file, name string) {
	t.Helper()
	write(t, h.Path(name), nil)
	Output(t, append(h.Via()[:3:3], "mount", "--bind", file, h.Path(name))...)
}

// Path is the path outside of the file name inside, as far as nothing is mounted
// there.
func (h *Host) Path(name string) string { return filepath.Join(h.Dir, name) }

// Inside is a path outside of the file name inside that also leads to what is
// mounted.
func (h *Host) Inside(name string) string {
	return filepath.Join("/proc", strconv.Itoa(h.keeper), "root", h.Dir, name)
}

// PIDs are the processes whose root directory is the host's.
func (h *Host) PIDs() []int {
	var pids []int
	roots, _ := filepath.Glob("/proc/[1-9]*/root")
	for _, root := range roots {
		if target, err := os.Readlink(root); err == nil && target == h.Dir {
			if pid, err := strconv.Atoi(strings.Split(root, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Unit is a cgroup that looks like that of a service of systemd's.
type Unit struct {
	Name string
	dirs []string
}

// NewUnit makes the cgroup of a service of the given name. It is removed with the
// test, after the processes that are started later.
func NewUnit(t testing.TB, name string) *Unit {
	t.Helper()
	u := &Unit{Name: name}
	for _, hierarchy := range cgroupHierarchies() {
		dir := filepath.Join(hierarchy, name)
		if err := os.Mkdir(dir, 0o755); err == nil {
			u.dirs = append(u.dirs, dir)
			t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					t.Errorf("cgroup stays: %v", err)
				}
			})
		}
	}
	if len(u.dirs) == 0 {
		t.Skip("SKIPPED, NOT TESTED: cgroups cannot be made here")
	}
	return u
}

// Take moves a process into the unit.
func (u *Unit) Take(t testing.TB, pid int) {
	t.Helper()
	for _, dir := range u.dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
}
