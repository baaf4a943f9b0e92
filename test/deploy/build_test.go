package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/patchsensor/patchsensor/test/lab"
)

// service is the unit that the packages bring.
const service = "sensor.service"

// packages are the two files that deploy/package/build makes.
type packages struct{ deb, rpm string }

// pack packs a binary as the version that git would call described.
func pack(t *testing.T, binary, described string) packages {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("../../deploy/package/build", binary, described, dir)
	// A time that is not the commit's, so that it is the script that sets it.
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	output(t, cmd)
	return packages{only(t, filepath.Join(dir, "*.deb")), only(t, filepath.Join(dir, "*.rpm"))}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s matches %q, %v, want one file", pattern, found, err)
	}
	return found[0]
}

// TestVersion holds the versions of packages against the order in which dpkg and rpm
// put them.
func TestVersion(t *testing.T) {
	lab.Root(t)
	r := newRoot(t)
	version := func(described string) string {
		out := lab.Output(t, "../../deploy/package/version", described, "20261121235958")
		return out[:len(out)-1]
	}
	for described, want := range map[string]string{
		"unknown": "0.0.0~dev", "": "0.0.0~dev", "v1.0; true": "0.0.0~dev", "v1.0\nv1.0": "0.0.0~dev",
		"1738205": "0.0.0~dev.20261121235958.g1738205",
		"v1.2.0":  "1.2.0", "1.2": "1.2", "v1.2.0-rc.1": "1.2.0~rc.1", "v1.2.0-4-gabcdef0-dirty": "1.2.0+4.gabcdef0.dirty",
	} {
		if got := version(described); got != want {
			t.Errorf("%q becomes %q, want %q", described, got, want)
		}
	}
	older := version("unknown")
	for _, described := range []string{
		"1738205", "1738205-dirty", "v1.2.0-alpha", "v1.2.0-rc.1", "v1.2.0-rc.1-3-gabcdef0", "v1.2.0-rc.2", "v1.2.0-rc.10",
		"v1.2.0", "v1.2.0-dirty", "v1.2.0-4-gabcdef0", "v1.2.0-4-gabcdef0-dirty", "v1.2.0-10-g0123456", "v1.2.1", "v1.10.0",
	} {
		newer := version(described)
		if err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).Run(); err != nil {
			t.Errorf("dpkg does not take %s for older than %s: %v", older, newer, err)
		}
		if got := r.run(t, "rpm", "--eval", `%{lua:print(rpm.vercmp("`+older+`", "`+newer+`"))}`); got != "-1\n" {
			t.Errorf("rpm compares %s with %s: %q, want -1", older, newer, got)
		}
		older = newer
	}
}
