package lab

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Archive is the Debian archive that this machine uses, as far as it is of the
// machine's own release. Which versions it has is asked, never known.
type Archive struct {
	Codename string
	sources  string // sources.list(5)
}

// NewArchive asks apt for the archive.
func NewArchive(t testing.TB) Archive {
	t.Helper()
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	release := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			release[key] = strings.Trim(value, `"'`)
		}
	}
	if release["ID"] != "debian" {
		t.Fatalf("this lab bootstraps the machine's own Debian release, here is %q", release["ID"])
	}
	a := Archive{Codename: release["VERSION_CODENAME"]}
	out := Output(t, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] == "main" && (f[1] == a.Codename || strings.HasPrefix(f[1], a.Codename+"-")) {
			a.sources += fmt.Sprintf("deb %s %s main\n", f[0], f[1])
		}
	}
	return a
}

// Versions lists the versions of a package, oldest first; none when there is no
// such package.
func (a Archive) Versions(t testing.TB, name string) []string {
	t.Helper()
	var versions []string
	for line := range strings.Lines(Output(t, "apt-cache", "madison", name)) {
		f := strings.Split(line, "|")
		if len(f) == 3 && strings.Contains(f[2], "/main ") && strings.Contains(f[2], " "+a.Codename) {
			versions = append(versions, strings.TrimSpace(f[1]))
		}
	}
	slices.SortFunc(versions, CompareVersions)
	return slices.Compact(versions)
}

// Upgrade is a package of which the archive has an older version beside the newest.
type Upgrade struct{ Name, From, To string }

// Upgrade is the longest upgrade of a package that the archive has. It ends the test
// where there is none.
func (a Archive) Upgrade(t testing.TB, name string) Upgrade {
	t.Helper()
	versions := a.Versions(t, name)
	if len(versions) < 2 {
		t.Fatalf("the archive has %q of %s and no older one; was apt-get update run?", versions, name)
	}
	return Upgrade{name, versions[0], versions[len(versions)-1]}
}

// CompareVersions asks dpkg, which the sensor does not.
func CompareVersions(a, b string) int {
	switch {
	case a == b:
		return 0
	case exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil:
		return -1
	}
	return 1
}

func (a Archive) source(t testing.TB, name, version string) string {
	t.Helper()
	for line := range strings.Lines(Output(t, "apt-cache", "show", name+"="+version)) {
		if value, ok := strings.CutPrefix(line, "Source: "); ok {
			return strings.Fields(value)[0]
		}
	}
	return name
}

// Root bootstraps the smallest root in which dpkg works, with the given packages and
// all upgrades in the version they are from, and writes it to the file out, an
// archive of tar(1).
func (a Archive) Root(t testing.TB, out string, upgrades []Upgrade, packages ...string) {
	t.Helper()
	var pins strings.Builder
	for _, u := range upgrades {
		fmt.Fprintf(&pins, "Package: src:%s\nPin: version %s\nPin-Priority: 1001\n\n", a.source(t, u.Name, u.From), u.From)
	}
	preferences := filepath.Join(t.TempDir(), "preferences")
	write(t, preferences, []byte(pins.String()))
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=essential", "--format=tar",
		"--setup-hook=cp '"+preferences+`' "$1/etc/apt/preferences.d/lab"`,
		"--customize-hook=rm \"$1/etc/apt/preferences.d/lab\"",
		"--include="+strings.Join(packages, ","), a.Codename, out, "-")
	cmd.Stdin = strings.NewReader(a.sources)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, msg)
	}
}

// Download fetches a package into the directory dir and returns its file.
func (a Archive) Download(t testing.TB, dir, name, version string) string {
	t.Helper()
	empty := t.TempDir()
	// As root apt fetches as another user, who may not write here.
	cmd := exec.Command("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name+"="+version)
	cmd.Dir = empty
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, msg)
	}
	files, err := filepath.Glob(filepath.Join(empty, "*.deb"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q left %q, %v", cmd.Args, files, err)
	}
	// Versions hold characters that shells and runtimes read otherwise.
	out := filepath.Join(dir, name+"_"+strings.Map(plain, version)+".deb")
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, out, content)
	return out
}

func plain(r rune) rune {
	if strings.ContainsRune(":~+%", r) {
		return '-'
	}
	return r
}

// Unpacked is the directory that holds what a package's file would install. It lives
// as long as the test.
func Unpacked(t testing.TB, deb string) string {
	t.Helper()
	dir := t.TempDir()
	Output(t, "dpkg-deb", "--extract", deb, dir)
	return dir
}

// Changelog is the text of a package's changelog below a root directory.
func Changelog(t testing.TB, root, name string) string {
	t.Helper()
	for _, file := range []string{"changelog.Debian.gz", "changelog.gz"} {
		packed, err := os.ReadFile(filepath.Join(root, "usr/share/doc", name, file))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
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

// Changes reads out of a changelog (deb-changelog(5)) the CVEs, sorted, and the
// highest urgency of the versions after from up to to.
func Changes(changelog, from, to string) (cves []string, urgency string) {
	entry := regexp.MustCompile(`^\S+ \(([^)]+)\).*urgency=(\w+)`)
	cve := regexp.MustCompile(`(?i)CVE-\d{4}-\d{4,}`)
	urgencies := []string{"low", "medium", "high", "emergency", "critical"}
	cves = []string{}
	highest, inSpan := -1, false
	for line := range strings.Lines(changelog) {
		if m := entry.FindStringSubmatch(line); m != nil {
			inSpan = CompareVersions(m[1], from) > 0 && CompareVersions(m[1], to) <= 0
			if inSpan {
				highest = max(highest, slices.Index(urgencies, strings.ToLower(m[2])))
			}
		}
		if inSpan {
			for _, name := range cve.FindAllString(line, -1) {
				cves = append(cves, strings.ToUpper(name))
			}
		}
	}
	slices.Sort(cves)
	if highest >= 0 {
		urgency = urgencies[highest]
	}
	return slices.Compact(cves), urgency
}
