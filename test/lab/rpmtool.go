package lab

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// RPMTool is an rpm: this machine's, or that of another release of Debian, whose
// databases have another format.
type RPMTool struct {
	dir    string // of the other release's files; empty for this machine's rpm
	loader string
}

// NewRPMTool unpacks the rpm of a release of Debian, and what that needs, from the
// archive that this machine uses. The test is skipped if it cannot be had: an archive
// drops releases in time.
func NewRPMTool(t testing.TB, release string) RPMTool {
	t.Helper()
	dir := filepath.Join(t.TempDir(), release)
	source, _, _ := strings.Cut(NewArchive(t).sources, "\n")
	f := strings.Fields(source) // deb URI RELEASE main
	if len(f) != 4 {
		t.Fatalf("apt knows no archive: %q", source)
	}
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=extract", "--include=rpm", "--aptopt=Acquire::Check-Valid-Until \"false\"",
		release, dir, strings.Join([]string{"deb", f[1], release, "main"}, " "))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: the archive has no rpm of Debian %s: %v\n%s", release, err, out)
	}
	tool := RPMTool{dir: dir}
	for _, pattern := range []string{"lib/*-linux-gnu/ld-linux-*.so.*", "usr/lib/*-linux-gnu/ld-linux-*.so.*"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
			tool.loader = found[0]
		}
	}
	if tool.loader == "" {
		t.Fatalf("rpm of Debian %s has no dynamic loader", release)
	}
	return tool
}

// command is the tool with arguments; home is its user's, which is in Debian where this
// machine's own database lies.
func (r RPMTool) command(home string, args ...string) *exec.Cmd {
	if r.dir == "" {
		cmd := exec.Command("rpm", args...)
		cmd.Env = rpmEnv(home)
		return cmd
	}
	program := "usr/bin/rpm"
	if slices.Contains(args, "--initdb") {
		program = "usr/bin/rpmdb" // to which rpm hands that on, to this machine's
	}
	var libraries []string
	for _, pattern := range []string{"lib/*-linux-gnu", "usr/lib/*-linux-gnu"} {
		found, _ := filepath.Glob(filepath.Join(r.dir, pattern))
		libraries = append(libraries, found...)
	}
	argv := append([]string{"--library-path", strings.Join(libraries, ":"), filepath.Join(r.dir, program)}, args...)
	cmd := exec.Command(r.loader, argv...)
	cmd.Env = append(rpmEnv(home), fmt.Sprintf("RPM_CONFIGDIR=%s/usr/lib/rpm", r.dir))
	return cmd
}
