package deploy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// include is what the root has beside what every Debian has.
const include = "systemd,rpm"

// root is a Debian root directory.
type root struct{ dir string }

var (
	baseOnce sync.Once
	errBase  = errors.New("the bootstrap of the root did not end")
)

// newRoot makes a Debian root with systemd and rpm, a copy of one that is
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

func bootstrap(t *testing.T, dir string) error {
	sources := lab.Output(t, "apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) main", "Created-By: Packages", "Component: main")
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--include="+include, codename(t), dir, "-")
	cmd.Stdin = strings.NewReader(sources)
	cmd.Env = cleanEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, out)
	}
	return nil
}

// codename is that of this machine's Debian release.
func codename(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return name
		}
	}
	t.Fatal("this machine's release has no codename; the lab bootstraps the machine's own Debian release")
	return ""
}

// command is one to be run in the root.
func (r root) command(argv ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{r.dir}, argv...)...)
	cmd.Env = cleanEnv()
	return cmd
}

// run runs a command in the root and returns what it printed.
func (r root) run(t *testing.T, argv ...string) string {
	t.Helper()
	return output(t, r.command(argv...))
}

// path is the name outside of a file in the root.
func (r root) path(name string) string { return filepath.Join(r.dir, name) }

// put copies a file into /var/tmp of the root and returns its name there.
func (r root) put(t *testing.T, file string) string {
	t.Helper()
	name := "/var/tmp/" + filepath.Base(file)
	lab.Output(t, "cp", file, r.path(name))
	return name
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// cleanEnv is an environment that fits a root of its own, with what apt needs to
// reach the archive.
func cleanEnv() []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
