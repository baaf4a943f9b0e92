package lab

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Suite is a release of Debian, this machine's or another, as the archive has it now.
// apt keeps what it knows of it in a directory of its own: this machine's packages and
// lists stay as they are.
type Suite struct {
	Codename string
	dir      string // of apt
	cache    string
}

// suiteCache is where suites and what is downloaded from them are kept between runs.
// It may be removed at any time.
func suiteCache() (string, error) {
	if dir := os.Getenv("SENSOR_LAB_KERNELS"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; SENSOR_LAB_KERNELS may name a directory", err)
	}
	return filepath.Join(cache, "patchsensor-kernels"), nil
}

// NewSuite fetches the lists of a release from the archive that this machine uses.
func NewSuite(t testing.TB, codename string) Suite {
	t.Helper()
	cache, err := suiteCache()
	if err != nil {
		t.Fatal(err)
	}
	s := Suite{Codename: codename, dir: filepath.Join(cache, "apt", codename), cache: cache}
	unlock := s.lock(t, "apt")
	defer unlock()
	for _, dir := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s.status(), nil)
	write(t, filepath.Join(s.dir, "etc/apt/sources.list"), []byte(sourcesOf(t, codename)))
	if msg, err := s.apt("", "apt-get", "-qq", "update").CombinedOutput(); err != nil {
		t.Fatalf("the lists of %s: %v\n%s", codename, err, msg)
	}
	return s
}

// sourcesOf is sources.list(5) for a release, from where this machine has its own.
func sourcesOf(t testing.TB, codename string) string {
	t.Helper()
	var main, security string
	out := Output(t, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages")
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 4 || f[2] != "main" || f[3] != "Debian" {
			continue
		}
		if strings.HasSuffix(f[1], "-security") {
			security = cmp.Or(security, f[0])
		} else {
			main = cmp.Or(main, f[0])
		}
	}
	if main == "" || security == "" {
		t.Fatalf("apt has no archive of Debian and of its security team:\n%s(was apt-get update run?)", out)
	}
	const key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
	sources := fmt.Sprintf("deb %s %s %s main\n", key, main, codename)
	if codename != "sid" {
		sources += fmt.Sprintf("deb %s %s %s-security main\n", key, security, codename)
	}
	return sources
}

func (s Suite) status() string { return filepath.Join(s.dir, "var/lib/dpkg-status") }

// apt is one of apt's commands for this suite. The host's own settings hold, for one
// of them may be a proxy.
func (s Suite) apt(dir string, argv ...string) *exec.Cmd {
	options := []string{
		"-o", "Dir=" + s.dir, "-o", "Dir::State::status=" + s.status(),
		// As root apt fetches as another user, who may not write here.
		"-o", "APT::Sandbox::User=root",
		"-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3",
		// What is no more supported is signed no more.
		"-o", "Acquire::Check-Valid-Until=false",
	}
	cmd := exec.Command(argv[0], append(options, argv[1:]...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.Dir = dir
	return cmd
}

// ask runs one of apt's commands in the directory dir, while nobody else fetches lists.
func (s Suite) ask(t testing.TB, dir string, argv ...string) string {
	t.Helper()
	unlock := s.lock(t, "apt")
	defer unlock()
	cmd := s.apt(dir, argv...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %q: %v\n%s%s", s.Codename, argv, err, out, stderr.String())
	}
	return string(out)
}

// lock holds something of the suite's until the function is called.
func (s Suite) lock(t testing.TB, what string) (unlock func()) {
	t.Helper()
	if err := os.MkdirAll(s.cache, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.cache, s.Codename+"-"+what+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", f.Name(), err)
	}
	return func() { f.Close() }
}

// Versions lists the versions of a package, oldest first; none when there is no such
// package.
func (s Suite) Versions(t testing.TB, name string) []string {
	t.Helper()
	var versions []string
	for line := range strings.Lines(s.ask(t, "", "apt-cache", "madison", name)) {
		if f := strings.Split(line, "|"); len(f) == 3 {
			versions = append(versions, strings.TrimSpace(f[1]))
		}
	}
	slices.SortFunc(versions, CompareVersions)
	return slices.Compact(versions)
}

// Depends lists what a version of a package depends on, the first of alternatives,
// without versions.
func (s Suite) Depends(t testing.TB, name, version string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(s.ask(t, "", "apt-cache", "show", name+"="+version)) {
		list, ok := strings.CutPrefix(line, "Depends: ")
		if !ok {
			continue
		}
		for one := range strings.SplitSeq(list, ",") {
			if f := strings.Fields(one); len(f) > 0 {
				names = append(names, f[0])
			}
		}
	}
	return names
}

// download fetches a package into the directory dir and returns its file.
func (s Suite) download(t testing.TB, dir, name, version string) string {
	t.Helper()
	s.ask(t, dir, "apt-get", "-qq", "download", name+"="+version)
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(files) != 1 {
		t.Fatalf("download of %s %s left %q, %v", name, version, files, err)
	}
	return files[0]
}
