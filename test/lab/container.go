package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// Container is a container that the lab has started.
type Container struct {
	sensor.Container
	engine engine
}

// engine is a runtime's client.
type engine interface {
	Do(t testing.TB, args ...string) string
}

// Run starts a container of an image, without a network, with further flags of
// "docker run", and waits until its processes have mapped files whose names begin as
// each of the given ones.
func (d *Docker) Run(t testing.TB, name, image string, mapped []string, flags ...string) *Container {
	t.Helper()
	argv := slices.Concat([]string{"run", "--detach", "--network", "none", "--name", name}, flags, []string{image})
	c := &Container{engine: d, Container: sensor.Container{
		ID: d.Do(t, argv...), Name: name, Runtime: "docker", Image: image, ImageID: d.ImageID(t, image),
	}}
	if d.contents() {
		d.layers(t, image) // it may be gone when one wants to know
	}
	c.Await(t, mapped...)
	return c
}

// Await waits until processes of the container have mapped files whose names begin as
// each of the given ones: "libexpat.so.1" is libexpat.so.1.8.10 there.
func (c *Container) Await(t testing.TB, mapped ...string) {
	t.Helper()
	Until(t, c.Name+" has loaded "+strings.Join(mapped, ", "), func() bool {
		var maps strings.Builder
		for _, pid := range c.PIDs() {
			text, _ := os.ReadFile(procPath(pid, "maps"))
			maps.Write(text)
		}
		return maps.Len() > 0 && !slices.ContainsFunc(mapped, func(name string) bool { return !strings.Contains(maps.String(), "/"+name) })
	})
}

// Remove ends a container and removes it.
func (c *Container) Remove(t testing.TB) {
	t.Helper()
	c.engine.Do(t, "rm", "--force", "--volumes", c.ID)
}

// Restart ends the container's processes and starts it anew.
func (c *Container) Restart(t testing.TB) {
	t.Helper()
	c.engine.Do(t, "restart", "--time", "1", c.ID)
}

// Exec runs a command in the container and returns what it printed.
func (c *Container) Exec(t testing.TB, argv ...string) string {
	t.Helper()
	how := []string{"exec", c.ID}
	if c.Runtime == "containerd" {
		how = []string{"task", "exec", "--exec-id", fmt.Sprint("lab-", time.Now().UnixNano()), c.ID}
	}
	return c.engine.Do(t, append(how, argv...)...)
}

// Install installs packages in the running container, by its own dpkg.
func (c *Container) Install(t testing.TB, debs ...string) {
	t.Helper()
	argv := []string{"dpkg", "--install"}
	root := Inside(c.PIDs()[0], "/")
	for _, deb := range debs {
		inside := "/srv/" + filepath.Base(deb)
		copyTo(t, deb, filepath.Join(root, inside))
		argv = append(argv, inside)
	}
	c.Exec(t, argv...)
}

// PIDs are the container's processes, as numbered here, in order.
func (c *Container) PIDs() []int { return PIDs(c)[c.ID] }

// PIDs are the processes of containers by the containers' IDs: those in whose cgroup's
// name the ID stands.
func PIDs(containers ...*Container) map[string][]int {
	found := make(map[string][]int)
	for _, pid := range processes() {
		cgroups, _ := os.ReadFile(procPath(pid, "cgroup"))
		for _, c := range containers {
			if strings.Contains(string(cgroups), c.ID) && !strings.Contains(string(cgroups), "conmon") {
				found[c.ID] = append(found[c.ID], pid)
			}
		}
	}
	for _, pids := range found {
		slices.Sort(pids)
	}
	return found
}

func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Cgroup is the path of the cgroup in whose name a process's container stands.
func (c *Container) Cgroup(t testing.TB) string {
	t.Helper()
	for _, pid := range c.PIDs() {
		text, _ := os.ReadFile(procPath(pid, "cgroup"))
		for line := range strings.Lines(string(text)) {
			if _, path, ok := strings.Cut(strings.TrimSpace(line[strings.IndexByte(line, ':')+1:]), ":"); ok && strings.Contains(path, c.ID) {
				return path
			}
		}
	}
	t.Fatalf("%s has no processes", c.Name)
	return ""
}

// Process is what a report has to say of a process of a container: its numbers here
// and in its own PID namespace, and the name of its program inside.
func Process(t testing.TB, pid int) sensor.Process {
	t.Helper()
	status, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	p := sensor.Process{PID: pid}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(value)
		switch key {
		case "Name":
			p.Comm = strings.TrimPrefix(value, "\t")
		case "NSpid":
			p.ContainerPID, err = strconv.Atoi(f[len(f)-1])
		case "Uid":
			var uid uint64
			uid, err = strconv.ParseUint(f[1], 10, 32)
			p.UID = uint32(uid)
		}
		if err != nil {
			t.Fatalf("PID %d: %q: %v", pid, line, err)
		}
	}
	exe, err := os.Readlink(procPath(pid, "exe"))
	if err != nil {
		t.Fatal(err)
	}
	p.Exe = strings.TrimSuffix(exe, " (deleted)")
	return p
}

// Mapped are the files that a process has mapped as code, by name inside its root,
// sorted.
func Mapped(t testing.TB, pid int) []string {
	t.Helper()
	maps, err := os.ReadFile(procPath(pid, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line) // no file of the lab has a space in its name
		if len(f) >= 6 && strings.Contains(f[1], "x") && strings.HasPrefix(f[5], "/") {
			names = append(names, f[5])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Inside is a path here of a name inside the root of a process, which must not lead
// through symbolic links that begin with a slash.
func Inside(pid int, name string) string { return procPath(pid, filepath.Join("root", name)) }
