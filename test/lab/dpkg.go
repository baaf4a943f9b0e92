package lab

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Deb is a small Debian package.
type Deb struct {
	Name    string
	Version string
	Source  string // of another name than the package, or empty
	// Files maps paths in the package to the files that are put there, Links
	// paths to the targets of symbolic links.
	Files map[string]string
	Links map[string]string
	// Changelog is the text of changelog.Debian; empty for none.
	Changelog string
}

// ChangelogEntry is one version's section of a Debian changelog
// (deb-changelog(5)).
func ChangelogEntry(source, version, urgency string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s) bookworm-security; urgency=%s\n\n", source, version, urgency)
	for _, line := range lines {
		fmt.Fprintf(&b, "  * %s\n", line)
	}
	fmt.Fprintf(&b, "\n -- Lab <lab@localhost>  Mon, 02 Nov 2026 10:00:00 +0000\n\n")
	return b.String()
}

// Arch is the machine's architecture as dpkg calls it.
func Arch(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(Output(t, "dpkg", "--print-architecture"))
}

// Build makes the package with dpkg-deb and returns its file, which lives as
// long as the test.
func (d Deb) Build(t testing.TB) string {
	t.Helper()
	tree := t.TempDir()
	var sums strings.Builder
	put := func(name string, content []byte) {
		write(t, filepath.Join(tree, name), content)
		sum := md5.Sum(content)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), strings.TrimPrefix(name, "/"))
	}
	for name, from := range d.Files {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		put(name, content)
	}
	if d.Changelog != "" {
		put(path.Join("/usr/share/doc", d.Name, "changelog.Debian.gz"), gzipped(t, d.Changelog))
	}
	for name, target := range d.Links {
		name = filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(tree, "DEBIAN/md5sums"), []byte(sums.String()))
	write(t, filepath.Join(tree, "DEBIAN/control"), []byte(d.control(Arch(t))))
	age(t, tree)
	out := filepath.Join(t.TempDir(), d.Name+".deb")
	Output(t, "dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, out)
	return out
}

func (d Deb) control(arch string) string {
	source := ""
	if d.Source != "" {
		source = "Source: " + d.Source + "\n"
	}
	return "Package: " + d.Name + "\n" + source + "Version: " + d.Version + "\nArchitecture: " + arch +
		"\nMulti-Arch: same\nMaintainer: Lab <lab@localhost>\nDescription: a package of the lab\n"
}

// age gives every file a time long past: that of a package's build, which dpkg
// restores at installation.
func age(t testing.TB, tree string) {
	t.Helper()
	past := time.Now().Add(-30 * 24 * time.Hour)
	err := filepath.WalkDir(tree, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(name, past, past)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Tree is a root directory with a dpkg database of its own and what a
// dynamically linked program needs to start in it.
type Tree struct{ Dir string }

// NewTree makes a tree in the directory dir. The dynamic loader and the C
// library come from this machine; program is one that names them.
func NewTree(t testing.TB, dir, program string) Tree {
	t.Helper()
	tree := Tree{dir}
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "etc", "tmp", "proc", "sys", "dev", "run", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// /lib and its like are links into /usr, as in every Debian since 12.
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(dir, "usr", d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("usr/"+d, filepath.Join(dir, d)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "var/lib/dpkg/status"), nil)
	write(t, filepath.Join(dir, "etc/os-release"), []byte("ID=debian\nVERSION_ID=\"12\"\n"))
	for _, lib := range loaderLibraries(t, program) {
		content, err := os.ReadFile(lib)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, lib), content)
	}
	return tree
}

// loaderLibraries are the absolute paths in what ldd(1) prints. Libraries that
// are not found on this machine come from packages of the lab.
func loaderLibraries(t testing.TB, program string) []string {
	t.Helper()
	var found []string
	for word := range strings.FieldsSeq(Output(t, "ldd", program)) {
		if strings.HasPrefix(word, "/") && strings.Contains(path.Base(word), ".so") {
			found = append(found, word)
		}
	}
	return found
}

// Path is the path outside of the file name inside.
func (r Tree) Path(name string) string { return filepath.Join(r.Dir, name) }

// Install installs packages into the tree by this machine's dpkg, which leaves
// the machine's own database and log alone.
func (r Tree) Install(t testing.TB, debs ...string) {
	t.Helper()
	r.dpkg(t, append([]string{"--install"}, debs...)...)
}

// Unpack unpacks packages and leaves them unconfigured, like a dpkg that was
// stopped half way.
func (r Tree) Unpack(t testing.TB, debs ...string) {
	t.Helper()
	r.dpkg(t, append([]string{"--unpack"}, debs...)...)
}

// Purge removes packages from the tree.
func (r Tree) Purge(t testing.TB, names ...string) {
	t.Helper()
	r.dpkg(t, append([]string{"--purge"}, names...)...)
}

// RotateLog does what logrotate does to dpkg's log.
func (r Tree) RotateLog(t testing.TB) {
	t.Helper()
	log := r.Path("var/log/dpkg.log")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	write(t, log+".2.gz", gzipped(t, string(text)))
	write(t, log+".1", nil)
	write(t, log, nil)
}

func (r Tree) dpkg(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.Command("dpkg", append([]string{"--root=" + r.Dir, "--log=" + r.Path("var/log/dpkg.log"),
		// Containers' dpkg configuration often leaves the documentation out,
		// and with it the changelogs.
		"--path-include=/usr/share/doc/*", "--force-unsafe-io"}, args...)...)
	// The tree has no /etc/localtime, so its log is in UTC.
	cmd.Env = append(os.Environ(), "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dpkg %q: %v\n%s", args, err, out)
	}
}
