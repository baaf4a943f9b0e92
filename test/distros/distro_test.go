package distros

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// release is one version of a package and of the library in it.
type release struct {
	version string
	cves    []string // that it fixes
}

// pkg is a package of any kind.
type pkg struct {
	name, source string
	// history is the package's version and those before it, newest first.
	history      []release
	files, links map[string]string
	hold         string // see lab.RPM
}

func (p pkg) version() string { return p.history[0].version }

// tree is a root directory with its packages.
type tree interface {
	Path(name string) string
	Install(t testing.TB, files ...string)
	Remove(t testing.TB, names ...string)
}

// distro is one kind of root.
type distro struct {
	name, manager string
	// history is that of the lab's package libfoo1 of source foo, newest first.
	history []release
	libdir  string
	arch    func(t testing.TB) string
	tree    func(t testing.TB, dir string) tree
	build   func(t testing.TB, p pkg) string
	// evidence is how the version is known that runs, in one look.
	evidence sensor.Evidence
	// changelogs says that packages bring them, and so that CVEs are known.
	changelogs bool
	// compiler are gcc's flags for the root's C library and its directories.
	compiler []string
}

// first, second and third are the releases of libfoo1, as histories.
func (d *distro) first() []release  { return d.history[2:] }
func (d *distro) second() []release { return d.history[1:] }
func (d *distro) third() []release  { return d.history }

// rpmHistory has an epoch, the mark of a distribution, and a fix that is no CVE's.
var rpmHistory = []release{
	{"1:1.0-10.el9_4", []string{"CVE-2026-0010", "CVE-2026-0003"}},
	{"1:1.0-9.el9", []string{"CVE-2026-0002", "CVE-2026-0003"}},
	{"1:1.0-8.el9", []string{"CVE-2025-0001"}},
}

var apkHistory = []release{{"1.0.10-r0", nil}, {"1.0.9-r1", nil}, {"1.0.9-r0", nil}}

// sqlite is the database of most distributions.
var sqlite = lab.RPMDatabase{DB: "/var/lib/rpm", Format: "sqlite"}

func rpmDistro(name string, db lab.RPMDatabase) *distro {
	return &distro{
		name: name, manager: "rpm", history: rpmHistory, libdir: "/usr/lib64", arch: lab.RPMArch,
		tree: func(t testing.TB, dir string) tree {
			t.Helper()
			return lab.NewRPMTree(t, dir, db, workshop.C(t, `-DVERSION="1"`, daemonSource))
		},
		build: func(t testing.TB, p pkg) string {
			t.Helper()
			return lab.RPM{Name: p.name, Source: p.source, Version: p.version(), Files: p.files, Links: p.links, Changelog: changelog(p.history), Hold: p.hold}.Build(t)
		},
		evidence: sensor.Embedded, changelogs: true,
		// Debian's loader does not look there by itself.
		compiler: []string{"-Wl,-rpath,/usr/lib64"},
	}
}

// changelog is what an RPM package says of its releases. Most entries have no mark of
// the distribution.
func changelog(history []release) string {
	var b strings.Builder
	for _, r := range history {
		version, _, _ := strings.Cut(r.version, ".el")
		lines := []string{"Say more."}
		for _, cve := range r.cves {
			lines = append(lines, "Fix "+cve+" (rhbz#2000000)")
		}
		b.WriteString(lab.RPMChange(version, lines...))
	}
	return b.String()
}

// apkDistro is one whose packages are installed by a program or, if that is empty, by
// the lab. logged says that the program keeps a log.
func apkDistro(name, tool string, evidence sensor.Evidence) *distro {
	d := &distro{
		name: name, manager: "apk", history: apkHistory, libdir: "/usr/lib", arch: lab.APKArch,
		build: func(t testing.TB, p pkg) string {
			t.Helper()
			return lab.APK{Name: p.name, Source: p.source, Version: p.version(), Files: p.files, Links: p.links}.Build(t)
		},
		evidence: evidence,
		compiler: []string{"-specs", "/usr/lib/" + muslTriplet() + "/musl-gcc.specs"},
	}
	d.tree = func(t testing.TB, dir string) tree {
		t.Helper()
		r := lab.NewAPKTree(t, dir, tool)
		loader, err := filepath.EvalSymlinks("/lib/ld-musl-" + d.arch(t) + ".so.1")
		if err != nil {
			t.Fatalf("%v (test/install-deps installs what the labs need)", err)
		}
		name := "/lib/ld-musl-" + d.arch(t) + ".so.1"
		r.Install(t, lab.APK{Name: "musl", Version: "1.2.5-r0", Files: map[string]string{name: loader}}.Build(t))
		return r
	}
	return d
}

// eachDistro runs a case in each kind of root.
func eachDistro(t *testing.T, f func(t *testing.T, d *distro)) {
	t.Helper()
	lab.Root(t)
	for _, d := range []*distro{rpmDistro("rpm", sqlite), apkDistro("apk", lab.APKTool(), sensor.Embedded)} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			f(t, d)
		})
	}
}

// program is testdata/daemon.c for the root's C library, in a version.
func (d *distro) program(t testing.TB, version string, flags ...string) string {
	t.Helper()
	return workshop.C(t, append(append([]string{fmt.Sprintf("-DVERSION=%q", version), daemonSource}, flags...), d.compiler...)...)
}

// library is testdata/lib.c with a soname and a content that depends on version.
func (d *distro) library(t testing.TB, soname, version string, flags ...string) string {
	t.Helper()
	args := []string{"-shared", "-fPIC", fmt.Sprintf("-DVERSION=%q", version), "-Wl,-soname," + soname, librarySource}
	return workshop.C(t, append(append(args, flags...), d.compiler...)...)
}

// noted are linker flags by which a file says what it was built from, as the builds of
// Fedora and Wolfi have it: the source package's name, and its version.
func (d *distro) noted(source, version string) []string {
	return []string{"-Xlinker", fmt.Sprintf(`--package-metadata={"type":%q,"name":%q,"version":%q,"architecture":"any"}`, d.manager, source, version)}
}

// libfoo is the package libfoo1 with a content of its library. That says of itself what
// it is, unless it is a log that has to tell.
func (d *distro) libfoo(t testing.TB, history []release, content string) pkg {
	t.Helper()
	return pkg{name: "libfoo1", source: "foo", history: history, files: map[string]string{d.lib(): d.fooLibrary(t, history, content)}}
}

// fooLibrary is the library in such a package.
func (d *distro) fooLibrary(t testing.TB, history []release, content string) string {
	t.Helper()
	if d.evidence != sensor.Embedded {
		return d.library(t, "libfoo.so.1", content)
	}
	return d.library(t, "libfoo.so.1", content, d.noted("foo", history[0].version)...)
}

func (d *distro) lib() string { return d.libdir + "/libfoo.so.1" }
