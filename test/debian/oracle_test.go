package debian

import (
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// pkg is what dpkg-query says of an installed package.
type pkg struct{ name, arch, source, version string }

// before is what was known of the root and its processes before the upgrade.
type before struct {
	root      root
	packages  map[string]pkg // by name
	processes map[int]process
}

type process struct {
	comm, exe string
	files     map[string]content // what is mapped as code, by path in the root
}

// content is what a file holds: equal build IDs are equal code, else the bytes
// decide.
type content struct{ buildID, sum string }

func (c content) same(d content) bool {
	if c.buildID != "" && d.buildID != "" {
		return c.buildID == d.buildID
	}
	return c.sum == d.sum
}

// remember looks at the packages of the root and at what the given processes
// have loaded, all of it unchanged yet.
func (r root) remember(t *testing.T, pids []int) before {
	t.Helper()
	b := before{root: r, packages: r.packages(t), processes: make(map[int]process)}
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			t.Fatal(err)
		}
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil {
			t.Fatal(err)
		}
		b.processes[pid] = process{
			comm: strings.TrimSuffix(string(comm), "\n"), exe: r.inside(exe), files: r.loaded(t, pid),
		}
	}
	return b
}

// inside is the name in the root of a file that this test's /proc names from
// outside, or from inside where the root is that of a mount namespace.
func (r root) inside(name string) string {
	if rest, ok := strings.CutPrefix(name, r.dir+"/"); ok {
		return "/" + rest
	}
	return name
}

// loaded are the files that a process has mapped as code.
func (r root) loaded(t *testing.T, pid int) map[string]content {
	t.Helper()
	maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "maps"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]content)
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line) // no file of the root has a space in its name
		if len(f) == 6 && strings.Contains(f[1], "x") && strings.HasPrefix(f[5], "/") {
			name := r.inside(f[5])
			files[name] = r.content(t, name)
		}
	}
	return files
}

func (r root) content(t *testing.T, name string) content {
	t.Helper()
	bytes, err := os.ReadFile(r.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return content{}
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bytes)
	return content{buildID: lab.BuildID(t, r.path(name)), sum: hex.EncodeToString(sum[:])}
}

func (r root) packages(t *testing.T) map[string]pkg {
	t.Helper()
	all := make(map[string]pkg)
	out := r.run(t, "dpkg-query", "--show", "--showformat", "${Package} ${Architecture} ${source:Package} ${Version}\n")
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 4 {
			t.Fatalf("dpkg-query says %q", line)
		}
		all[f[0]] = pkg{name: f[0], arch: f[1], source: f[2], version: f[3]}
	}
	return all
}

// owner asks dpkg which package a file belongs to. Databases may name a file
// of /usr by its name from before the merge of / and /usr.
func (r root) owner(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(r.run(t, "sh", "-c", `dpkg-query --search "$1" || dpkg-query --search "${1#/usr}"`, "sh", name)) {
		if names, file, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasSuffix(name, file) {
			first, _, _ := strings.Cut(names, ":")
			return first
		}
	}
	t.Fatalf("nobody owns %s", name)
	return ""
}

// findings is what the sensor has to say after the upgrade: of every process,
// the files whose content is another now, and their packages.
func (b before) findings(t *testing.T) []lab.Finding {
	t.Helper()
	after := b.root.packages(t)
	var all []lab.Finding
	for pid, p := range b.processes {
		f := lab.Finding{
			PID: pid, Comm: p.comm, Exe: p.exe,
			State: sensor.Stale, Reason: sensor.Replaced, Domain: sensor.DomainHost, Action: sensor.Restart,
			Packages: []sensor.Package{},
		}
		named := make(map[string]bool)
		for name, was := range p.files {
			is := b.root.content(t, name)
			if was.same(is) {
				continue
			}
			owner := b.root.owner(t, name)
			f.Files = append(f.Files, sensor.File{
				Path: name, State: sensor.Stale, Reason: sensor.Replaced, Package: owner,
				LoadedBuildID: was.buildID, InstalledBuildID: is.buildID,
			})
			if !named[owner] {
				named[owner] = true
				f.Packages = append(f.Packages, b.root.upgraded(t, b.packages[owner], after[owner]))
			}
		}
		if len(f.Files) == 0 {
			continue
		}
		slices.SortFunc(f.Files, func(a, b sensor.File) int { return cmp.Compare(a.Path, b.Path) })
		slices.SortFunc(f.Packages, func(a, b sensor.Package) int { return cmp.Compare(a.Name, b.Name) })
		all = append(all, f)
	}
	return all
}

func (r root) upgraded(t *testing.T, was, is pkg) sensor.Package {
	t.Helper()
	cves, urgency := r.changes(t, is.name, was.version, is.version)
	return sensor.Package{
		Manager: "dpkg", Name: is.name, Source: is.source, Arch: is.arch,
		Loaded:    sensor.LoadedVersion{Version: was.version, Evidence: sensor.History},
		Installed: sensor.InstalledVersion{Version: is.version},
		CVEs:      cves, Urgency: urgency,
	}
}

var (
	entryLine = regexp.MustCompile(`^\S+ \(([^)]+)\).*urgency=(\w+)`)
	cveName   = regexp.MustCompile(`(?i)CVE-\d{4}-\d{4,}`)
	urgencies = []string{"low", "medium", "high", "emergency", "critical"}
)

// changes reads out of the package's changelog the CVEs and the highest
// urgency of the versions after from up to to.
func (r root) changes(t *testing.T, name, from, to string) (cves []string, urgency string) {
	t.Helper()
	cves = []string{}
	highest, inSpan := -1, false
	for line := range strings.Lines(r.changelog(t, name)) {
		if m := entryLine.FindStringSubmatch(line); m != nil {
			inSpan = compareVersions(m[1], from) > 0 && compareVersions(m[1], to) <= 0
			if inSpan {
				highest = max(highest, slices.Index(urgencies, strings.ToLower(m[2])))
			}
		}
		if inSpan {
			for _, cve := range cveName.FindAllString(line, -1) {
				cves = append(cves, strings.ToUpper(cve))
			}
		}
	}
	slices.Sort(cves)
	if highest >= 0 {
		urgency = urgencies[highest]
	}
	return slices.Compact(cves), urgency
}

func (r root) changelog(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{"changelog.Debian.gz", "changelog.gz"} {
		f, err := os.Open(r.path("usr/share/doc/" + name + "/" + file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Fatalf("%s has no changelog", name)
	return ""
}
