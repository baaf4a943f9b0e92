package containers

import (
	"bytes"
	"debug/buildinfo"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// tended is a runtime whose programs are the lab's own copies, with two containers that
// each have a process beside them which looks after them.
type tended struct {
	dir     string // of the programs
	monitor string // the program that looks after a container
	sockets []string
	// daemons are the processes to be replaced by a restart of the runtime, by program.
	daemons    map[string]int
	containers []*lab.Container
	// command is what restarts a container; nil if nobody knows.
	command func(c *lab.Container) []string
	env     []string // in which it runs
}

const tendedImage = "shims/static:1"

// copies puts copies of programs into a directory of their own, which comes first.
func (m *material) copies(t *testing.T, programs lab.Programs, names ...string) lab.Programs {
	t.Helper()
	dir := m.newDir(t, "bin")
	for _, name := range names {
		lab.Output(t, "cp", "--dereference", programs.Path(name), filepath.Join(dir, name))
	}
	return append(lab.Programs{dir}, programs...)
}

// staticImage builds an image of one program that is all that there is.
func staticImage(t *testing.T, d *lab.Docker, tag string) {
	t.Helper()
	d.Build(t, lab.Build{
		Tag: tag, Files: map[string]string{"static": workshop.C(t, "-static", "-DVERSION=\"1\"", "testdata/static.c")},
		Dockerfile: []string{"FROM scratch", "COPY static /static", command("/static")},
	})
}

// TestShims: a newer shim on disk makes nothing of what runs newer. Every container whose
// shim is the old one is named, and to be restarted, and so are the daemons.
func TestShims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	staticImage(t, w.docker, tendedImage)
	for _, g := range generations() {
		t.Run("docker/"+g.name, func(t *testing.T) { w.tendedDocker(t, g).test(t) })
		t.Run("containerd/"+g.name, func(t *testing.T) { w.tendedContainerd(t, g).test(t) })
	}
	t.Run("podman", func(t *testing.T) { w.tendedPodman(t).test(t) })
}

func (w *world) tendedDocker(t *testing.T, g generation) *tended {
	t.Helper()
	programs := w.copies(t, g.programs(t), "dockerd", "containerd", "containerd-shim-runc-v2")
	d, err := lab.NewDockerOf(programs, w.newDir(t, "docker"), g.flags...)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	staticImage(t, d, tendedImage)
	x := &tended{
		dir: programs[0], monitor: "containerd-shim-runc-v2", sockets: d.Sockets(), env: d.Env(),
		daemons: map[string]int{"dockerd": d.PID(), "containerd": d.ContainerdPID(t)},
		command: func(c *lab.Container) []string {
			return []string{"docker", "-H", "unix://" + d.Socket, "restart", c.Name}
		},
	}
	for _, name := range []string{"shims-first", "shims-second"} {
		x.containers = append(x.containers, start(t, d, name, tendedImage, []string{"static"}, "--stop-signal", "KILL"))
	}
	return x
}

func (w *world) tendedContainerd(t *testing.T, g generation) *tended {
	t.Helper()
	programs := w.copies(t, g.programs(t), "containerd", "containerd-shim-runc-v2")
	c := newContainerd(t, w, programs)
	c.Do(t, "image", "import", w.imageFile(t, tendedImage))
	x := &tended{
		dir: programs[0], monitor: "containerd-shim-runc-v2", sockets: []string{c.Socket},
		daemons: map[string]int{"containerd": c.PID()},
	}
	for _, name := range []string{"shims-first-", "shims-second-"} {
		x.containers = append(x.containers, c.Run(t, name+g.name, "docker.io/"+tendedImage, "static"))
	}
	return x
}

func (w *world) tendedPodman(t *testing.T) *tended {
	t.Helper()
	programs := w.copies(t, nil, "conmon")
	p := newPodman(t, w, programs)
	p.Do(t, "load", "--input", w.imageFile(t, tendedImage))
	x := &tended{
		dir: programs[0], monitor: "conmon", sockets: []string{p.Socket},
		command: func(c *lab.Container) []string { return []string{"podman", "restart", c.Name} },
	}
	for _, name := range []string{"shims-first", "shims-second"} {
		x.containers = append(x.containers, p.Run(t, name, "localhost/"+tendedImage, "static"))
	}
	return x
}

func (x *tended) test(t *testing.T) {
	t.Helper()
	look := func(t *testing.T, source string) *sensor.Report {
		t.Helper()
		args := []string{"--source", source}
		for _, socket := range x.sockets {
			args = append(args, "--runtime-socket", socket)
		}
		r := sensorAt.Stale(t, args...)
		return &r.Report
	}
	var pids []int
	for _, pid := range x.daemons {
		pids = append(pids, pid)
	}
	r := look(t, "auto")
	lab.CheckContainers(t, r, x.containers)
	lab.Check(t, r, pids)

	shim := x.replace(t, x.monitor)
	var want []lab.ContainerFinding
	for _, c := range x.containers {
		want = append(want, x.finding(t, c, shim))
	}
	lab.EachSource(t, func(t *testing.T, source string) {
		r := look(t, source)
		lab.CheckContainers(t, r, x.containers, want...)
		lab.Check(t, r, pids) // which were not replaced
		for i, c := range x.containers {
			for _, f := range lab.FindingsOf(r, c) {
				x.checkRemedy(t, &f, want[i], c)
			}
		}
	})

	var daemons []lab.Finding
	for name, pid := range x.daemons {
		daemons = append(daemons, lab.Finding{
			PID: pid, Comm: name, Exe: filepath.Join(x.dir, name), Workload: "process",
			State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainRuntime,
			Action: sensor.Restart, Command: []string{}, Packages: builtFrom(t, filepath.Join(x.dir, name)),
			Files: []sensor.File{x.replace(t, name)},
		})
	}
	lab.EachSource(t, func(t *testing.T, source string) {
		r := look(t, source)
		lab.CheckContainers(t, r, x.containers, want...)
		lab.Check(t, r, pids, daemons...)
	})

	if x.command == nil {
		return
	}
	t.Run("restart", func(t *testing.T) {
		first := x.containers[0]
		argv := x.command(first)
		if argv[0] == "docker" { // podman's command is of the machine's podman
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Env = append(os.Environ(), x.env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", argv, err, out)
			}
		} else {
			first.Restart(t)
		}
		first.Await(t, "static")
		lab.CheckContainers(t, look(t, "auto"), x.containers, want[1:]...)
	})
}

// replace puts another program in the place of one, and returns what there is to say of a
// process that runs the old one.
func (x *tended) replace(t *testing.T, name string) sensor.File {
	t.Helper()
	file := filepath.Join(x.dir, name)
	loaded := lab.BuildID(t, file)
	id, err := hex.DecodeString(loaded)
	must(t, err)
	text, err := os.ReadFile(file)
	must(t, err)
	// As whoever built it from other sources would have it, and it works all the same.
	if len(id) > 0 {
		other := slices.Clone(id)
		other[0] ^= 0xff
		text = bytes.ReplaceAll(text, id, other)
	}
	text = append(text, 0) // what Go's own linker made has no ID that is loaded
	must(t, os.WriteFile(file+".new", text, 0o755))
	must(t, os.Rename(file+".new", file))
	installed := lab.BuildID(t, file)
	if len(id) > 0 && installed == loaded {
		t.Fatalf("%s has the build ID %s as before", file, installed)
	}
	f := sensor.File{Path: file, State: sensor.Stale, Reason: sensor.Replaced, LoadedBuildID: loaded, InstalledBuildID: installed}
	for _, p := range builtFrom(t, file) {
		f.Package = p.Name
	}
	return f
}

// builtFrom is the module that a program is of, as the standard library reads it: no
// package ships the lab's copies. It is none for what Debian builds, and for C.
func builtFrom(t *testing.T, file string) []sensor.Package {
	t.Helper()
	info, err := buildinfo.ReadFile(file)
	if err != nil || info.Main.Path == "" {
		return []sensor.Package{}
	}
	m := info.Main
	return []sensor.Package{{
		Manager: "go", Name: m.Path, Source: m.Path,
		Loaded:    sensor.LoadedVersion{Version: m.Version, Evidence: sensor.Embedded},
		Installed: sensor.InstalledVersion{Version: m.Version},
	}}
}

// finding is what there is to say of a container's monitor that runs an old program.
func (x *tended) finding(t *testing.T, c *lab.Container, file sensor.File) lab.ContainerFinding {
	t.Helper()
	p := lab.Process(t, parent(t, c.PIDs()[0]))
	p.Files = []sensor.File{file}
	container := c.Container
	return lab.ContainerFinding{
		Workload: sensor.Workload{Kind: "container", Name: p.Comm + " of " + c.Name, Container: &container, Cgroup: c.Cgroup(t)},
		State:    sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainRuntime, Action: sensor.Restart,
		Packages: x.packages(t), Processes: []sensor.Process{p},
	}
}

// packages are those of the monitor, with any evidence.
func (x *tended) packages(t *testing.T) []sensor.Package {
	t.Helper()
	list := builtFrom(t, filepath.Join(x.dir, x.monitor))
	for i := range list {
		list[i].Loaded.Evidence = ""
	}
	return list
}

// checkRemedy holds that it is the container which is to be restarted, and by what.
func (x *tended) checkRemedy(t *testing.T, f *sensor.Finding, want lab.ContainerFinding, c *lab.Container) {
	t.Helper()
	command := []string{}
	if x.command != nil {
		command = x.command(c)
	}
	if !slices.Equal(f.Remedy.Command, command) {
		t.Errorf("%s: command %q, want %q", want.Workload.Name, f.Remedy.Command, command)
	}
	if f.Remedy.Target != "container "+c.Name {
		t.Errorf("%s: to restart is %q", want.Workload.Name, f.Remedy.Target)
	}
	what := "it runs files that were changed on disk and belong to no package"
	for _, p := range want.Packages {
		what = "it runs files of " + p.Name + " " + p.Loaded.Version + " that were changed on disk"
	}
	for _, why := range []string{what, "it is replaced only when what it looks after is started anew"} {
		if !strings.Contains(f.Remedy.Why, why) {
			t.Errorf("%s: why: %q", want.Workload.Name, f.Remedy.Why)
		}
	}
}

// parent is the process that a process is a child of.
func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			ppid, err := strconv.Atoi(strings.TrimSpace(value))
			must(t, err)
			return ppid
		}
	}
	t.Fatalf("process %d has no parent", pid)
	return 0
}
