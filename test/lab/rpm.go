package lab

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// RPM is a small RPM package.
type RPM struct {
	Name    string
	Version string // [EPOCH:]VERSION-RELEASE
	Source  string // of another name than the package, or empty
	// Files maps paths in the package to the files that are put there, Links
	// paths to the targets of symbolic links.
	Files map[string]string
	Links map[string]string
	// Changelog is the text of %changelog; empty for none.
	Changelog string
	// Hold is a file in the root that the transaction waits for to go away, once
	// the files are installed; empty for none. It makes the file Hold.held when it
	// begins to wait.
	Hold string
}

// RPMChange is one version's section of the changelog of an RPM package.
func RPMChange(version string, lines ...string) string {
	return fmt.Sprintf("* Mon Nov 02 2026 Lab <lab@localhost> - %s\n- %s\n\n", version, strings.Join(lines, "\n- "))
}

// RPMArch is the machine's architecture as rpm calls it.
func RPMArch(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(Output(t, "rpm", "--eval", "%{_arch}"))
}

// Build makes the package with rpmbuild and returns its file, which lives as long as
// the test.
func (p RPM) Build(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	tree := filepath.Join(top, "tree")
	fillTree(t, tree, p.Files, p.Links)
	spec := filepath.Join(top, "lab.spec")
	write(t, spec, []byte(p.spec(tree)))
	cmd := exec.Command("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_rpmfilename lab.rpm",
		// Nothing is stripped, linked or compiled.
		"--define", "__os_install_post %{nil}", "--define", "debug_package %{nil}", "--define", "_build_id_links none", spec)
	cmd.Env = rpmEnv(top)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s(test/install-deps installs what the labs need)", cmd.Args, err, out)
	}
	return filepath.Join(top, "RPMS/lab.rpm")
}

func (p RPM) spec(tree string) string {
	epoch, rest, ok := strings.Cut(p.Version, ":")
	if !ok {
		epoch, rest = "0", p.Version
	}
	version, release, _ := strings.Cut(rest, "-")
	source := cmp.Or(p.Source, p.Name)
	var b strings.Builder
	fmt.Fprintf(&b, "Name: %s\nEpoch: %s\nVersion: %s\nRelease: %s\nVendor: Lab\nLicense: none\n", source, epoch, version, release)
	const common = "Summary: a package of the lab\nAutoReqProv: no\n"
	of := ""
	b.WriteString(common)
	if source != p.Name {
		of = " -n " + p.Name
		b.WriteString("%description\nThe lab's.\n%package" + of + "\n" + common)
	}
	b.WriteString("%description" + of + "\nThe lab's.\n%install\nmkdir -p %{buildroot}\ncp -a '" + tree + "/.' %{buildroot}\n")
	if p.Hold != "" {
		// rpm's own interpreter: the root has no shell.
		fmt.Fprintf(&b, "%%post%s -p <lua>\nif posix.access(%q) then\n  io.open(%[2]q .. '.held', 'w'):close()\n"+
			"  while posix.access(%[2]q) do posix.sleep(1) end\nend\n", of, p.Hold)
	}
	b.WriteString("%files" + of + "\n")
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(p.Files)), slices.Sorted(maps.Keys(p.Links))) {
		fmt.Fprintf(&b, "%q\n", name)
	}
	if p.Changelog != "" {
		b.WriteString("%changelog\n" + p.Changelog)
	}
	return b.String()
}

// rpmEnv is an environment with a home of the lab's own: in Debian the database of the
// machine itself is there, and so is a user's configuration of rpm.
func rpmEnv(home string) []string {
	return append(os.Environ(), "HOME="+home, "LC_ALL=C.UTF-8", "TZ=UTC")
}

// fillTree makes a directory of files, all as old as those of a package are, and of
// links.
func fillTree(t testing.TB, tree string, files, links map[string]string) {
	t.Helper()
	write(t, filepath.Join(tree, ".made"), nil)
	if err := os.Remove(filepath.Join(tree, ".made")); err != nil {
		t.Fatal(err)
	}
	for name, from := range files {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(tree, name), content)
	}
	for name, target := range links {
		name = filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	age(t, tree)
}

// RPMTree is a root directory with an rpm database of its own and what a dynamically
// linked program needs to start in it.
type RPMTree struct {
	Dir string
	RPMDatabase
}

// RPMDatabase is where a database lies in a root, and what it is.
type RPMDatabase struct {
	DB     string  // directory: /var/lib/rpm, or /usr/lib/sysimage/rpm
	Format string  // sqlite, ndb or bdb
	Tool   RPMTool // that writes the format
}

// File is the main file of the database in the root.
func (d RPMDatabase) File() string {
	return d.DB + "/" + map[string]string{"sqlite": "rpmdb.sqlite", "ndb": "Packages.db", "bdb": "Packages"}[d.Format]
}

// NewRPMTree makes a tree in the directory dir. The dynamic loader and the C library
// come from this machine, unpackaged; program is one that names them.
func NewRPMTree(t testing.TB, dir string, db RPMDatabase, program string) RPMTree {
	t.Helper()
	tree := NewTree(t, dir, program)
	if err := os.RemoveAll(tree.Path("var/lib/dpkg")); err != nil {
		t.Fatal(err)
	}
	write(t, tree.Path("etc/os-release"), []byte("ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n"))
	r := RPMTree{dir, db}
	out := r.RPM(t, "--initdb")
	if _, err := os.Stat(r.Path(db.File())); err != nil {
		t.Fatalf("rpm --initdb: %v\n%s", err, out)
	}
	return r
}

// Path is the path outside of the file name inside.
func (r RPMTree) Path(name string) string { return filepath.Join(r.Dir, name) }

// Install installs packages, in the place of other versions of them that are there,
// be they newer or the same.
func (r RPMTree) Install(t testing.TB, files ...string) {
	t.Helper()
	r.RPM(t, append([]string{"-U", "--oldpackage", "--replacepkgs"}, files...)...)
}

// Remove removes packages from the tree.
func (r RPMTree) Remove(t testing.TB, names ...string) {
	t.Helper()
	r.RPM(t, append([]string{"-e"}, names...)...)
}

// RPM runs rpm on the tree and returns what it printed.
func (r RPMTree) RPM(t testing.TB, args ...string) string {
	t.Helper()
	cmd := r.Command(t, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// Command is rpm on the tree.
func (r RPMTree) Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	// rpm follows links by itself, so that /proc/PID/root is this machine's root to it.
	if real, err := filepath.EvalSymlinks(r.Dir); err != nil || real != r.Dir {
		t.Fatalf("rpm would change %s instead of %s: %v", real, r.Dir, err)
	}
	return r.Tool.command(t.TempDir(), append([]string{"--root", r.Dir, "--dbpath", r.DB, "--define", "_db_backend " + r.Format, "--nosignature"}, args...)...)
}

// DNF has this machine's dnf install package files in the tree, by which it keeps a
// history there. It asks no repository.
func (r RPMTree) DNF(t testing.TB, command string, files ...string) {
	t.Helper()
	cmd := exec.Command("dnf", append([]string{"--installroot", r.Dir, "--releasever", "9", "--disablerepo", "*", "--assumeyes", "--quiet",
		"--setopt", "gpgcheck=0", "--setopt", "localpkg_gpgcheck=0", "--setopt", "cachedir=" + r.Path("var/cache/dnf"), "--setopt", "logdir=" + r.Path("var/log"),
		"--setopt", "tsflags=nodocs", "--setopt", "plugins=0", command}, files...)...)
	// It has no option for the database's place, which in Debian is in the user's home.
	home := t.TempDir()
	write(t, filepath.Join(home, ".rpmmacros"), []byte("%_dbpath "+r.DB+"\n%_db_backend "+r.Format+"\n"))
	cmd.Env = rpmEnv(home)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s(test/install-deps installs what the labs need)", cmd.Args, err, out)
	}
}
