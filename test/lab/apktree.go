package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// APKTree is a root directory with an apk database of its own.
type APKTree struct {
	Dir  string
	tool string // apk; empty where the lab installs itself
}

// APKTool is the apk that SENSOR_LAB_APK names or this machine has, empty if there is
// none: Debian has no package of it.
func APKTool() string {
	if name := os.Getenv("SENSOR_LAB_APK"); name != "" {
		return name
	}
	name, err := exec.LookPath("apk")
	if err != nil {
		return ""
	}
	return name
}

// NewAPKTree makes a tree in the directory dir, with /lib beside /usr/lib as Alpine has
// it. Packages are installed by the program tool or, if that is empty, by the lab.
func NewAPKTree(t testing.TB, dir, tool string) APKTree {
	t.Helper()
	r := APKTree{dir, tool}
	for _, d := range []string{"bin", "sbin", "lib/apk/db", "usr/bin", "usr/sbin", "usr/lib", "var/log", "var/lib", "etc/apk", "tmp", "proc", "sys", "dev", "run", "empty"} {
		if err := os.MkdirAll(r.Path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, r.Path("etc/os-release"), []byte("ID=alpine\nVERSION_ID=3.20.3\n"))
	write(t, r.Path("etc/apk/arch"), []byte(APKArch(t)+"\n"))
	if tool != "" {
		r.apk(t, "add", "--initdb")
		return r
	}
	for _, name := range []string{"lib/apk/db/installed", "lib/apk/db/lock", "etc/apk/world"} {
		write(t, r.Path(name), nil)
	}
	return r
}

// Path is the path outside of the file name inside.
func (r APKTree) Path(name string) string { return filepath.Join(r.Dir, name) }

// Install installs packages, in the place of other versions of them that are there.
func (r APKTree) Install(t testing.TB, files ...string) {
	t.Helper()
	if r.tool != "" {
		r.apk(t, append([]string{"add", "--force-non-repository", "--no-cache"}, files...)...)
		return
	}
	db := r.open(t)
	defer db.close(t)
	for _, file := range files {
		db.install(t, file)
	}
}

// Remove removes packages from the tree.
func (r APKTree) Remove(t testing.TB, names ...string) {
	t.Helper()
	if r.tool != "" {
		r.apk(t, append([]string{"del"}, names...)...)
		return
	}
	db := r.open(t)
	defer db.close(t)
	for _, name := range names {
		db.remove(t, name)
	}
}

func (r APKTree) apk(t testing.TB, args ...string) {
	t.Helper()
	argv := append([]string{r.tool, "--root", r.Dir, "--allow-untrusted", "--no-network", "--no-progress",
		"--repositories-file", "/dev/null"}, args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}
