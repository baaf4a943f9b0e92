package containers

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// pkg is what dpkg-query says of an installed package.
type pkg struct{ name, arch, source, version string }

const pkgFormat = "${Package} ${Architecture} ${source:Package} ${Version}\n"

func parsePackages(t *testing.T, out string) map[string]pkg {
	t.Helper()
	all := make(map[string]pkg)
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 4 {
			t.Fatalf("dpkg-query says %q", line)
		}
		all[f[0]] = pkg{name: f[0], arch: f[1], source: f[2], version: f[3]}
	}
	return all
}

// content is what a file holds: equal build IDs are equal code, else the bytes decide.
type content struct{ buildID, sum string }

func (c content) same(d content) bool {
	if c.buildID != "" && d.buildID != "" {
		return c.buildID == d.buildID
	}
	return c.sum == d.sum
}

func contentOf(t *testing.T, name string) content {
	t.Helper()
	bytes, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return content{}
	}
	must(t, err)
	sum := sha256.Sum256(bytes)
	return content{buildID: lab.BuildID(t, name), sum: hex.EncodeToString(sum[:])}
}

// before is what was known of a container when nothing had changed yet.
type before struct {
	*lab.Container
	// made is the ID that the world's Docker has for the container's image, and
	// reference the name under which it may have a newer one.
	made, reference string
	packages        map[string]pkg
	processes       map[int]map[string]content // the files mapped as code, by path inside
}

func remember(t *testing.T, c *lab.Container) before {
	t.Helper()
	b := before{Container: c, made: c.ImageID, reference: c.Image, processes: make(map[int]map[string]content)}
	for _, pid := range c.PIDs() {
		b.processes[pid] = make(map[string]content)
		for _, name := range lab.Mapped(t, pid) {
			b.processes[pid][name] = contentOf(t, lab.Inside(pid, name))
		}
	}
	if len(b.processes) == 0 {
		t.Fatalf("%s has no processes", c.Name)
	}
	b.packages = b.installed(t)
	return b
}

func (b before) pid() int { return slices.Min(slices.Collect(maps.Keys(b.processes))) }

// installed are the packages that are in the container now.
func (b before) installed(t *testing.T) map[string]pkg {
	t.Helper()
	return parsePackages(t, lab.Output(t, "dpkg-query", "--admindir="+lab.Inside(b.pid(), "/var/lib/dpkg"), "--show", "--showformat", pkgFormat))
}

// owner asks dpkg which package of the container a file belongs to; empty for none.
// Databases may name a file of /usr by its name from before the merge of / and /usr.
func (b before) owner(t *testing.T, name string) string {
	t.Helper()
	for _, name := range []string{name, strings.TrimPrefix(name, "/usr")} {
		out, err := exec.Command("dpkg-query", "--admindir="+lab.Inside(b.pid(), "/var/lib/dpkg"), "--search", name).Output()
		if err != nil {
			continue // nobody owns it
		}
		for line := range strings.Lines(string(out)) {
			if names, file, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && file == name {
				first, _, _ := strings.Cut(names, ":")
				return first
			}
		}
	}
	return ""
}

// finding is one about the container, of those files for which judge has something to
// say, and of their packages.
func (b before) finding(t *testing.T, judge func(name string, was content) (sensor.File, bool), upgraded func(name, file string) sensor.Package) lab.ContainerFinding {
	t.Helper()
	container := b.Container.Container
	f := lab.ContainerFinding{
		Workload: sensor.Workload{Kind: "container", Name: b.Name, Container: &container, Cgroup: b.Cgroup(t)},
		State:    sensor.Stale, Domain: sensor.DomainImage, Packages: []sensor.Package{},
	}
	named := make(map[string]bool)
	for pid, files := range b.processes {
		p := lab.Process(t, pid)
		for name, was := range files {
			file, ok := judge(name, was)
			if !ok {
				continue
			}
			p.Files = append(p.Files, file)
			if file.Package != "" && !named[file.Package] {
				named[file.Package] = true
				f.Packages = append(f.Packages, upgraded(file.Package, name))
			}
		}
		if len(p.Files) > 0 {
			f.Processes = append(f.Processes, p)
		}
	}
	if len(f.Processes) == 0 {
		t.Fatalf("%s: nothing changed that its processes run", b.Name)
	}
	return f
}

// drifted is what there is to say after packages were upgraded in the container.
func (b before) drifted(t *testing.T, d *lab.Docker) lab.ContainerFinding {
	t.Helper()
	after := b.installed(t)
	f := b.finding(t, func(name string, was content) (sensor.File, bool) {
		is := contentOf(t, lab.Inside(b.pid(), name))
		return sensor.File{
			Path: name, State: sensor.Stale, Reason: sensor.Replaced, Package: b.owner(t, name),
			LoadedBuildID: was.buildID, InstalledBuildID: is.buildID,
		}, !was.same(is)
	}, func(name, file string) sensor.Package {
		_, layer := d.InImage(t, b.made, file)
		cves, urgency := lab.Changes(lab.Changelog(t, lab.Inside(b.pid(), "/"), name), b.packages[name].version, after[name].version)
		return upgraded(b.packages[name], after[name], layer, cves, urgency)
	})
	f.Reason, f.Action, f.Drift = sensor.Replaced, sensor.Restart, true
	return f
}

// superseded is what there is to say of a container, in which nothing has changed, now
// that its reference names another image.
func (b before) superseded(t *testing.T, d *lab.Docker) lab.ContainerFinding {
	t.Helper()
	there := parsePackages(t, d.Do(t, "run", "--rm", "--network", "none", b.reference, "dpkg-query", "--show", "--showformat", pkgFormat)+"\n")
	f := b.finding(t, func(name string, was content) (sensor.File, bool) {
		owner := b.owner(t, name)
		if p, ok := there[owner]; !ok || p.version == b.packages[owner].version {
			return sensor.File{}, false
		}
		newer, _ := d.InImage(t, b.reference, name)
		return sensor.File{
			Path: name, State: sensor.Stale, Reason: sensor.ImageSuperseded, Package: owner,
			LoadedBuildID: was.buildID, InstalledBuildID: contentOf(t, newer).buildID,
		}, true
	}, func(name, file string) sensor.Package {
		_, layer := d.InImage(t, b.made, file)
		log, _ := d.InImage(t, b.reference, filepath.Join("/usr/share/doc", name, "changelog.Debian.gz"))
		root := strings.TrimSuffix(log, filepath.Join("/usr/share/doc", name, "changelog.Debian.gz"))
		cves, urgency := lab.Changes(lab.Changelog(t, root, name), b.packages[name].version, there[name].version)
		return upgraded(b.packages[name], there[name], layer, cves, urgency)
	})
	f.Reason, f.Action, f.Forgotten = sensor.ImageSuperseded, sensor.Redeploy, !d.HasImage(b.made)
	return f
}

func upgraded(was, is pkg, layer sensor.Layer, cves []string, urgency string) sensor.Package {
	return sensor.Package{
		Manager: "dpkg", Name: is.name, Source: is.source, Arch: is.arch,
		Loaded: sensor.LoadedVersion{Version: was.version}, Installed: sensor.InstalledVersion{Version: is.version},
		CVEs: cves, Urgency: urgency, Layer: &layer,
	}
}
