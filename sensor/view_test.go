package sensor

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/proc"
)

func TestPointsToAvoid(t *testing.T) {
	mounts := []proc.Mount{
		{Point: "/", Type: "ext4"},
		{Point: "/proc/sys/fs/binfmt_misc", Type: "autofs"},
		{Point: "/data", Type: "autofs"},
		{Point: "/data", Type: "ext4"}, // what the autofs mounted
		{Point: "/net", Type: "autofs"},
		{Point: "/home/a/mnt", Type: "fuse.sshfs"},
		{Point: "/host", Type: "ext4"},
		{Point: "/host/win", Type: "fuseblk"},
		{Point: "/virt", Type: "virtiofs"},
	}
	for at, want := range map[string][]string{
		"/":      {"/home/a/mnt", "/host/win", "/net"},
		"/host":  {"/win"},
		"/net":   {"/"},
		"/data":  nil,
		"/other": nil,
	} {
		if got := pointsToAvoid(at, mounts); !slices.Equal(got, want) {
			t.Errorf("root at %s: %q, want %q", at, got, want)
		}
	}
}

// TestExplainUntouched holds what is said of a program that is as it was installed.
func TestExplainUntouched(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var e *Explanation
	for range 50 { // until it has loaded its libraries
		var err error
		if e, err = New(Options{}).Explain(t.Context(), "/usr/bin/sleep"); err != nil {
			t.Fatal(err)
		}
		for _, w := range e.Workloads {
			for _, p := range w.Processes {
				if p.PID != cmd.Process.Pid || len(p.Loads) < 3 {
					continue
				}
				for _, l := range p.Loads {
					if l.State != Effective || l.Evidence != Observed || l.LoadedVersion == "" || !strings.HasSuffix(l.Owner, " "+l.LoadedVersion) {
						t.Errorf("%s: %s, version %q (%s) of %q", l.Path, l.State, l.LoadedVersion, l.Evidence, l.Owner)
					}
				}
				return
			}
		}
	}
	t.Errorf("the program is not explained: %+v", e)
}
