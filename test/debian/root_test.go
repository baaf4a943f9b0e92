package debian

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// candidates are packages of which the archive often holds several versions:
// of each that it knows the oldest is installed and upgraded to the newest.
// libssl3t64 is libssl3 since Debian 13.
var candidates = []string{"libssl3", "libssl3t64", "libexpat1", "openssh-server", "nginx-light"}

// others are installed beside them, in their newest version: what it takes to
// run them as services, and a daemon that has libexpat1 loaded.
var others = []string{"systemd", "systemd-sysv", "dbus"}

const (
	pins       = "etc/apt/preferences.d/lab"
	policy     = "usr/sbin/policy-rc.d"
	denyAction = "#!/bin/sh\nexit 101\n" // invoke-rc.d(8): action forbidden
)

// root is a Debian root directory.
type root struct{ dir string }

var (
	baseOnce sync.Once
	errBase  = errors.New("the bootstrap of the root did not end")
)

// newRoot makes a root with the older packages, a copy of one that is
// bootstrapped for all tests. It lives as long as the test.
func newRoot(t *testing.T) root {
	t.Helper()
	base := filepath.Join(scratch, "base")
	baseOnce.Do(func() { errBase = bootstrap(t, base) })
	if errBase != nil {
		t.Fatal(errBase)
	}
	r := root{filepath.Join(lab.Scratch(t), "root")}
	lab.Output(t, "cp", "-a", "--reflink=auto", base, r.dir)
	return r
}

// bootstrap makes the root that the tests copy: oldest candidates, no pins
// left, services not to be touched by maintainer scripts, and the upgrade
// downloaded but not installed.
func bootstrap(t *testing.T, dir string) error {
	release := osRelease(t)
	if release["ID"] != "debian" {
		return fmt.Errorf("this lab bootstraps the machine's own Debian release, here is %q", release["ID"])
	}
	packages := slices.Clone(others)
	var preferences strings.Builder
	older := 0
	for _, name := range candidates {
		versions := madison(t, name)
		if len(versions) == 0 {
			continue
		}
		packages = append(packages, name)
		if oldest, newest := versions[0], versions[len(versions)-1]; oldest != newest {
			older++
			fmt.Fprintf(&preferences, "Package: src:%s\nPin: version %s\nPin-Priority: 1001\n\n", sourceOf(t, name, oldest), oldest)
			t.Logf("%s: %s, to be upgraded to %s", name, oldest, newest)
		}
	}
	if older == 0 {
		return fmt.Errorf("the archive holds two versions of none of %v; was apt-get update run?", candidates)
	}
	preferencesFile := filepath.Join(scratch, "preferences")
	if err := os.WriteFile(preferencesFile, []byte(preferences.String()), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt/lists",
		"--setup-hook=cp '"+preferencesFile+`' "$1/`+pins+`"`,
		"--include="+strings.Join(packages, ","), release["VERSION_CODENAME"], dir, "-")
	cmd.Stdin = strings.NewReader(sourcesList(t, release["VERSION_CODENAME"]))
	cmd.Env = cleanEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, pins)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, policy), []byte(denyAction), 0o755); err != nil {
		return err
	}
	// The archive may be known to this machine by its hosts file only.
	if hosts, err := os.ReadFile("/etc/hosts"); err == nil {
		if err := os.WriteFile(filepath.Join(dir, "etc/hosts"), hosts, 0o644); err != nil {
			return err
		}
	}
	root{dir}.run(t, "apt-get", "-y", "--download-only", "dist-upgrade")
	return nil
}

// upgrade installs the downloaded newest versions.
func (r root) upgrade(t *testing.T) {
	t.Helper()
	r.run(t, upgradeCommand...)
}

var upgradeCommand = []string{"apt-get", "-y", "--no-download", "dist-upgrade"}

// run runs a command in the root and returns its output.
func (r root) run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command("chroot", append([]string{r.dir}, argv...)...)
	cmd.Env = cleanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the root, %q: %v\n%s", argv, err, out)
	}
	return string(out)
}

func (r root) path(name string) string { return filepath.Join(r.dir, name) }

// cleanEnv is an environment that fits a root of its own, with what apt needs
// to reach the archive.
func cleanEnv() []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func osRelease(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	return values
}

// sourcesList is the part main of this machine's apt sources for the release,
// its updates and security updates included, whatever format they are kept in.
func sourcesList(t *testing.T, codename string) string {
	t.Helper()
	var list strings.Builder
	out := lab.Output(t, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] == "main" && (f[1] == codename || strings.HasPrefix(f[1], codename+"-")) {
			fmt.Fprintf(&list, "deb %s %s main\n", f[0], f[1])
		}
	}
	return list.String()
}

// madison lists the versions of a package in the archive, oldest first; none
// when it has no such package.
func madison(t *testing.T, name string) []string {
	t.Helper()
	var versions []string
	for line := range strings.Lines(lab.Output(t, "apt-cache", "madison", name)) {
		f := strings.Split(line, "|")
		if len(f) == 3 && strings.Contains(f[2], "/main ") {
			versions = append(versions, strings.TrimSpace(f[1]))
		}
	}
	slices.SortFunc(versions, compareVersions)
	return slices.Compact(versions)
}

// compareVersions asks dpkg, which the sensor does not.
func compareVersions(a, b string) int {
	switch {
	case a == b:
		return 0
	case exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil:
		return -1
	}
	return 1
}

func sourceOf(t *testing.T, name, version string) string {
	t.Helper()
	for line := range strings.Lines(lab.Output(t, "apt-cache", "show", name+"="+version)) {
		if value, ok := strings.CutPrefix(line, "Source: "); ok {
			return strings.Fields(value)[0]
		}
	}
	return name
}
