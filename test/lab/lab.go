// Package lab is the bench on which the end-to-end tests work: it builds the
// sensor and small daemons, package roots and upgrades, runs the sensor from
// outside as a person would, and compares its report with what is expected.
//
// It knows the sensor's public report and nothing of its inside.
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Root skips the test unless it runs as root: daemons of other roots and
// namespaces can be neither started nor read without. Root's runs never skip.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: this lab needs root (sudo make test)")
	}
}

// Scratch makes an empty directory that lives as long as the test.
func Scratch(t testing.TB) string {
	t.Helper()
	dir, err := NewScratch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := RemoveScratch(dir); err != nil {
			t.Errorf("scratch directory stays: %v", err)
		}
	})
	return dir
}

// NewScratch makes an empty directory for RemoveScratch to remove. It is not
// under /tmp, whose deleted files the sensor rightly takes for ephemeral ones;
// SENSOR_LAB_DIR names another parent than /opt.
func NewScratch() (string, error) {
	parent := os.Getenv("SENSOR_LAB_DIR")
	if parent == "" {
		parent = "/opt"
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "sensor-lab.")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// RemoveScratch removes dir and what it holds, unless something is still
// mounted there: what is mounted would be emptied with it.
func RemoveScratch(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			return fmt.Errorf("%s is mounted", f[4])
		}
	}
	return os.RemoveAll(dir)
}

// LeaveUnit moves the calling process, and so all that it starts, out of the
// session or service it was started from: the labs' daemons then belong to no
// unit, wherever the tests run. Where the cgroups are not to be written, all
// stays as it is.
func LeaveUnit() {
	for _, hierarchy := range cgroupHierarchies() {
		// "0" means the writer (cgroups(7)).
		_ = os.WriteFile(filepath.Join(hierarchy, "cgroup.procs"), []byte("0"), 0)
	}
}

// cgroupHierarchies are the mount points of the hierarchies in which systemd
// keeps its units: cgroup v2's, and name=systemd where v1 is in use.
func cgroupHierarchies() []string {
	var found []string
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// NextSecond waits until the clock has left the present second for good. Logs
// of package managers and the kernel's boot time are kept in whole seconds, so
// what has to be told apart by them must not share one.
func NextSecond() {
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(1100 * time.Millisecond).Sub(now))
}

// Output runs a command and returns what it printed; it ends the test when the
// command fails.
func Output(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", argv, err, out, stderr.String())
	}
	return string(out)
}
