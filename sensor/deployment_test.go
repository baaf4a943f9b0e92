package sensor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// A machine that would boot another deployment needs a reboot; one that would not, or was
// not booted from one, is not mentioned; and what cannot be told is unknown.
func TestDeployment(t *testing.T) {
	a, b := strings.Repeat("a", 64)+".0", strings.Repeat("b", 64)+".1"
	for _, c := range []struct {
		name, cmdline, next string
		ostree, staged      bool
		state               State
		why                 string
	}{
		{"an ordinary machine", "quiet", "boot.1", false, false, "", ""},
		{"nothing pending", "quiet ostree=/ostree/boot.1/os/x/0", "boot.1", true, false, "", ""},
		{"pending", "ostree=/ostree/boot.1/os/x/0", "boot.2", true, false, Stale, "aaaaaaaaaa.0, and bbbbbbbbbb.1 will be"},
		{"staged", "ostree=/ostree/boot.1/os/x/0", "boot.1", true, true, Stale, "staged"},
		{"booted from what is gone", "ostree=/ostree/boot.9/os/x/0", "boot.1", true, false, Unknown, "cannot be told"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, procfs := t.TempDir(), t.TempDir()
			put := func(name, content string) {
				t.Helper()
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			put(filepath.Join(procfs, "cmdline"), c.cmdline+"\n")
			if c.ostree {
				put(filepath.Join(dir, "run/ostree-booted"), "")
			}
			if c.staged {
				put(filepath.Join(dir, "run/ostree/staged-deployment"), "")
			}
			for boot, name := range map[string]string{"boot.1": a, "boot.2": b} {
				link := filepath.Join(dir, "ostree", boot, "os/x/0")
				if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("../../../deploy/os/deploy/"+name, link); err != nil {
					t.Fatal(err)
				}
			}
			put(filepath.Join(dir, "boot/loader/entries/ostree-2.conf"), "version 2\noptions ostree=/ostree/"+c.next+"/os/x/0\n")
			fs, err := proc.NewFS(procfs)
			if err != nil {
				t.Fatal(err)
			}
			root, err := file.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			sc := newScan(New(Options{Log: zap.NewNop()}), fs, root, SourceMaps, snapshot.BootTime{})
			f, ok := sc.deployment()
			if ok != (c.state != "") || f.State != c.state || !strings.Contains(f.Why, c.why) {
				t.Errorf("%v: %+v", ok, f)
			}
			if (f.Action == Reboot) != (c.state == Stale) {
				t.Errorf("action %s", f.Action)
			}
		})
	}
}
