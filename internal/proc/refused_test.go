package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// victimEnv names a process that TestRefused may not look into.
const victimEnv = "PROC_TEST_VICTIM"

// TestRefused looks at another user's process. Root is refused nothing, so it
// runs the test again as nobody.
func TestRefused(t *testing.T) {
	if pid, err := strconv.Atoi(os.Getenv(victimEnv)); err == nil {
		lookAt(t, pid)
		return
	}
	if os.Geteuid() != 0 {
		if info, err := os.Stat("/proc/1"); err == nil && info.Sys().(*syscall.Stat_t).Uid == uint32(os.Geteuid()) {
			t.Skip("neither root nor beside another user's process")
		}
		lookAt(t, 1)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestRefused$", "-test.v")
	cmd.Env = append(os.Environ(), victimEnv+"="+strconv.Itoa(sleeper(t).Process.Pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func lookAt(t *testing.T, pid int) {
	for _, by := range []Method{ByText, ByQuery} {
		list, err := procfs(t).Snapshot(context.Background(), by)
		if errors.Is(err, ErrNoQuery) && !hasQuery() {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		victim, own := false, false
		for _, p := range list {
			switch p.PID {
			case pid:
				victim = true
				if !errors.Is(p.Err, os.ErrPermission) || p.Mappings != nil || p.Comm == "" || p.Start == 0 {
					t.Errorf("method %d: %+v", by, p)
				}
			case os.Getpid():
				own = true
				if p.Err != nil || len(p.Mappings) == 0 {
					t.Errorf("method %d: %+v", by, p)
				}
			}
		}
		if !victim || !own {
			t.Errorf("method %d: of the processes %d and %d, not all are listed", by, pid, os.Getpid())
		}
	}
	p := open(t, pid)
	if _, err := p.Auxv(); !errors.Is(err, os.ErrPermission) || errors.Is(err, ErrGone) {
		t.Error(err)
	}
	var mem Memory
	mem.Reset(pid)
	if err := mem.Read(make([]byte, 1), 0x1000); !errors.Is(err, os.ErrPermission) || errors.Is(err, ErrGone) {
		t.Error(err)
	}
	if _, err := p.Root(); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}
