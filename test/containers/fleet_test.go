package containers

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// fleet are 30 containers of three images. In one container of the first image a
// library was upgraded, the second image's reference was built anew with another
// library upgraded, and a process of the host runs a library that was replaced too.
type fleet struct {
	*world
	all     []*lab.Container
	drifted *lab.Container
	drift   lab.ContainerFinding
	want    []lab.ContainerFinding // all that there is to say
	host    *lab.Daemon
	onHost  lab.Finding
}

const (
	webImage = "fleet/web:1"
	apiImage = "fleet/api:1"
	jobImage = "fleet/job:1"
)

func (f *fleet) check(t *testing.T, r *sensor.Report) {
	t.Helper()
	lab.CheckContainers(t, r, f.all, f.want...)
	lab.Check(t, r, []int{f.host.PID}, f.onHost)
}

// hostProcess starts a process of the host that runs a library of its own, and returns
// that library's file.
func (w *world) hostProcess(t *testing.T) (d *lab.Daemon, library string) {
	t.Helper()
	library = filepath.Join(lab.Scratch(t), w.expat.library)
	lab.Output(t, "cp", "-L", w.unpackedLibrary(t, w.expat.from), library)
	program := workshop.C(t, "-DVERSION=\"1\"", "../cases/testdata/daemon.c")
	return lab.Start(t, lab.Command{Path: program, Args: []string{"open", library}}), library
}

// unpackedLibrary is the library of a libexpat1 package.
func (w *world) unpackedLibrary(t *testing.T, deb string) string {
	t.Helper()
	dir := lab.Unpacked(t, deb)
	for _, below := range []string{"lib", "usr/lib"} {
		name := filepath.Join(dir, below, w.multiarch, w.expat.library)
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	t.Fatalf("%s has no %s", deb, w.expat.library)
	return ""
}

func newFleet(t *testing.T, w *world) *fleet {
	t.Helper()
	f := &fleet{world: w}
	nginxImage(t, f.docker, webImage)
	serverImage(t, f.docker, apiImage, []string{f.expat.from}, f.expat.library, f.openssl.library)
	serverImage(t, f.docker, jobImage, nil, f.lzma.library, "libcrypto.so.3")
	web := f.startMany(t, 10, "fleet-web", webImage, "libssl.so.3", "libcrypto.so.3")
	api := f.startMany(t, 9, "fleet-api", apiImage, "libssl.so.3")
	// One of them was made by Docker Compose, as its labels say.
	api = append(api, f.start(t, "shop-api-1", apiImage, []string{"libssl.so.3"},
		"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=api"))
	job := f.startMany(t, 10, "fleet-job", jobImage, "libcrypto.so.3")
	f.all = slices.Concat(web, api, job)
	lab.Until(t, "every nginx has its worker", func() bool {
		pids := lab.PIDs(web...)
		return !slices.ContainsFunc(web, func(c *lab.Container) bool { return len(pids[c.ID]) < 2 })
	})
	host, library := f.hostProcess(t)
	f.host = host
	r := f.stale(t)
	lab.CheckContainers(t, &r.Report, f.all)
	lab.Check(t, &r.Report, []int{host.PID})

	f.drifted = web[3]
	drifted := remember(t, f.drifted)
	var outdated []before
	for _, c := range api {
		outdated = append(outdated, remember(t, c))
	}
	lab.NextSecond() // dpkg's log
	f.drifted.Install(t, f.openssl.to)
	serverImage(t, f.docker, apiImage, []string{f.expat.to}, f.expat.library, f.openssl.library)
	newer := f.unpackedLibrary(t, f.expat.to)
	f.onHost = lab.Finding{
		PID: host.PID, Comm: host.Comm, Exe: host.Exe, Workload: "process", State: sensor.Stale, Reason: sensor.Replaced,
		Domain: sensor.DomainHost, Action: sensor.Restart, Command: []string{}, Packages: []sensor.Package{},
		Files: []sensor.File{{
			Path: library, State: sensor.Stale, Reason: sensor.Replaced,
			LoadedBuildID: lab.BuildID(t, library), InstalledBuildID: lab.BuildID(t, newer),
		}},
	}
	lab.Output(t, "cp", "-L", newer, library+".new")
	must(t, os.Rename(library+".new", library))

	f.drift = drifted.drifted(t, f.docker)
	f.want = []lab.ContainerFinding{f.drift}
	for _, b := range outdated {
		f.want = append(f.want, b.superseded(t, f.docker))
	}
	return f
}

// TestFleet: every finding names the right container, package, layer, versions, CVEs
// and action, and there is no word of the others.
func TestFleet(t *testing.T) {
	eachWorld(t, false, func(t *testing.T, w *world) { newFleet(t, w).test(t) })
}

func (f *fleet) test(t *testing.T) {
	t.Helper()
	for _, want := range f.want {
		for _, p := range want.Packages {
			if len(p.CVEs) == 0 || p.Layer.Digest == "" || p.Loaded.Version == p.Installed.Version {
				t.Fatalf("an upgrade that changes nothing tests nothing: %+v", p)
			}
		}
	}
	t.Run("stale", func(t *testing.T) {
		lab.EachSource(t, func(t *testing.T, source string) {
			r := f.stale(t, "--source", source)
			f.check(t, &r.Report)
			f.remedies(t, &r.Report)
		})
	})
	t.Run("filters", f.filters)
	t.Run("output", f.output)
	t.Run("explain", f.explain)
	// Last, as it changes the fleet.
	t.Run("restart", f.restart)
}

// remedies holds the commands against what a person would type.
func (f *fleet) remedies(t *testing.T, r *sensor.Report) {
	t.Helper()
	for _, found := range lab.FindingsOf(r, f.all...) {
		command := found.Remedy.Command
		line := " " + strings.Join(command, " ") + " "
		switch {
		case found.Drift:
			if n := len(command); n < 3 || command[0] != "docker" || command[n-2] != "restart" || command[n-1] != found.Workload.Name {
				t.Errorf("to restart %s: %q", found.Workload.Name, command)
			}
			if !strings.Contains(found.Remedy.Why, "redeploy") {
				t.Errorf("why to restart %s: %q does not say that a new container comes without the upgrade", found.Workload.Name, found.Remedy.Why)
			}
		case strings.HasPrefix(found.Workload.Name, "shop-"):
			if !strings.Contains(line, " compose ") || !strings.Contains(line, " shop ") || !strings.HasSuffix(line, " api ") {
				t.Errorf("to redeploy %s: %q", found.Workload.Name, command)
			}
		case len(command) != 0:
			t.Errorf("how %s was started is not known, but the command is %q", found.Workload.Name, command)
		}
	}
}

func (f *fleet) filters(t *testing.T) {
	only := func(image string) (list []lab.ContainerFinding) {
		for _, want := range f.want {
			if want.Workload.Container.Image == image {
				list = append(list, want)
			}
		}
		return list
	}
	for _, tt := range []struct {
		name string
		args []string
		want []lab.ContainerFinding
	}{
		{"a container's name", []string{"--container", f.drifted.Name}, []lab.ContainerFinding{f.drift}},
		{"a container's ID", []string{"--container", f.drifted.ID[:12]}, []lab.ContainerFinding{f.drift}},
		{"a pattern", []string{"--container", "fleet-web-*"}, []lab.ContainerFinding{f.drift}},
		{"one that is current", []string{"--container", "fleet-job-03"}, nil},
		{"an image", []string{"--image", apiImage}, only(apiImage)},
		{"what to do", []string{"--action", "redeploy", "--image", "fleet/*"}, only(apiImage)},
		{"a domain", []string{"--domain", "image", "--container", "fleet-*"}, slices.DeleteFunc(slices.Clone(f.want), func(w lab.ContainerFinding) bool {
			return !strings.HasPrefix(w.Workload.Name, "fleet-")
		})},
		{"a namespace, in which none is", []string{"--namespace", "default"}, nil},
		{"a pod, in which none is", []string{"--pod", "web"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := f.stale(t, tt.args...)
			lab.CheckContainers(t, &r.Report, f.all, tt.want...)
			if len(r.Report.Findings) != len(tt.want) {
				t.Errorf("%d findings, want %d", len(r.Report.Findings), len(tt.want))
			}
		})
	}
}

// output: the wide table shows image and layer.
func (f *fleet) output(t *testing.T) {
	r := lab.Run(t, f.argv("stale", "-o", "wide", "--container", f.drifted.Name)...)
	layer := f.drift.Packages[0].Layer
	for _, word := range []string{f.drifted.Name, webImage, shortDigest(layer.Digest)} {
		if !bytes.Contains(r.Stdout, []byte(word)) {
			t.Errorf("no %q in\n%s", word, r.Stdout)
		}
	}
}

// shortDigest is a digest as people abbreviate it, without its algorithm.
func shortDigest(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(len(hex), 12)]
}

// explain draws the layers, with the stale files on theirs.
func (f *fleet) explain(t *testing.T) {
	for _, want := range f.want[:2] {
		r := lab.Run(t, f.argv("explain", want.Workload.Name)...)
		text := string(r.Stdout)
		p, layer := want.Packages[0], want.Packages[0].Layer
		for _, word := range []string{want.Workload.Container.Image, p.Loaded.Version, p.Installed.Version} {
			if !strings.Contains(text, word) {
				t.Errorf("%s: no %q in\n%s", want.Workload.Name, word, text)
			}
		}
		if want.Forgotten {
			continue
		}
		// What stands between the layer's digest and the next one's.
		_, below, found := strings.Cut(text, "sha256:"+shortDigest(layer.Digest))
		below, _, _ = strings.Cut(below, "sha256:")
		if !found || !strings.Contains(below, strings.TrimPrefix(layer.CreatedBy, "/bin/sh -c ")) {
			t.Errorf("%s: layer %d does not stand in\n%s", want.Workload.Name, layer.Index, text)
		}
		below, _, _ = strings.Cut(below, "\n\n")
		for _, file := range want.Processes[0].Files {
			if !strings.Contains(below, file.Path) {
				t.Errorf("%s: %s does not stand on its layer in\n%s", want.Workload.Name, file.Path, text)
			}
		}
	}
}

// restart: the command that the sensor gives makes the patch effective, and of that
// container there is no more to say.
func (f *fleet) restart(t *testing.T) {
	r := f.stale(t)
	for _, found := range lab.FindingsOf(&r.Report, f.drifted) {
		if len(found.Remedy.Command) == 0 {
			t.Fatalf("no command restarts %s", f.drifted.Name)
		}
		cmd := exec.Command(found.Remedy.Command[0], found.Remedy.Command[1:]...)
		cmd.Env = append(os.Environ(), f.docker.Env()...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", found.Remedy.Command, err, out)
		}
	}
	f.drifted.Await(t, "libssl.so.3")
	r = f.stale(t)
	lab.CheckContainers(t, &r.Report, f.all, f.want[1:]...)
	if b, err := json.Marshal(r.Report.Warnings); err != nil || bytes.Contains(b, []byte(f.docker.Socket)) {
		t.Errorf("warnings of a runtime that answers: %s", b)
	}
}
