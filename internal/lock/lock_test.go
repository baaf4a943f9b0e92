package lock

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// holdEnv names the lock that the test binary is to hold, run as another process.
const holdEnv = "SENSOR_LOCK_TEST_HOLD"

func TestMain(m *testing.M) {
	if name := os.Getenv(holdEnv); name != "" {
		if _, err := Take(name); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

// holder starts another process that holds the lock, and is killed with the test.
func holder(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdEnv+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "held\n" {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	return cmd
}

// kill ends a process in a way that it cannot notice.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestTakeFromAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	other := holder(t, name)

	_, err := Take(name)
	if !errors.Is(err, ErrHeld) {
		t.Fatalf("Take = %v, want %v", err, ErrHeld)
	}
	if want := fmt.Sprintf("(PID %d)", other.Process.Pid); !strings.Contains(err.Error(), want) {
		t.Errorf("Take = %q, want it to name %s", err, want)
	}

	kill(other)
	l, err := Take(name)
	if err != nil {
		t.Fatalf("after kill -9 of its holder: %v", err)
	}
	defer l.Release()
	text, err := os.ReadFile(name)
	if want := strconv.Itoa(os.Getpid()) + "\n"; err != nil || string(text) != want {
		t.Errorf("the file holds %q, %v, want %q", text, err, want)
	}
}

func TestTakeTwice(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	l, err := Take(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(name); !errors.Is(err, ErrHeld) {
		t.Errorf("Take of what is held = %v, want %v", err, ErrHeld)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Take(name)
	if err != nil {
		t.Fatalf("after Release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

// TestTakeRace holds that never two of many hold the lock, although its file is
// removed again and again.
func TestTakeRace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	var holders, taken atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				l, err := Take(name)
				if err != nil {
					continue
				}
				taken.Add(1)
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				holders.Add(-1)
				// The name goes while the lock is still held, as the last act.
				if err := os.Remove(name); err != nil {
					t.Error(err)
				}
				if err := l.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if taken.Load() == 0 {
		t.Error("nobody ever got the lock")
	}
}

func TestTakeRefuses(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, fifo, dir, filepath.Join(dir, "none", "lock")} {
		if l, err := Take(name); err == nil || errors.Is(err, ErrHeld) {
			t.Errorf("Take(%s) = %v, %v, want another error", name, l, err)
		}
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the link was followed")
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		pid  int
		ok   bool
	}{
		{"1\n", 1, true},
		{"4194304\n", 4194304, true},
		{"", 0, false},
		{"12", 0, false}, // half written
		{"0\n", 0, false},
		{"-3\n", 0, false},
		{"+3\n", 0, false},
		{"1 \n", 0, false},
		{"99999999999\n", 0, false},
		{strings.Repeat("1", 1000) + "\n", 0, false},
		{"\x1b[2J\n", 0, false},
	} {
		if pid, ok := parse(strings.NewReader(tt.text)); ok != tt.ok || ok && pid != tt.pid {
			t.Errorf("parse(%q) = %d, %v, want %d, %v", tt.text, pid, ok, tt.pid, tt.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1\n")
	f.Add("4194304\n1")
	f.Add("000000010000001\n\n") // as many bytes as are looked at, and one
	f.Fuzz(func(t *testing.T, text string) {
		pid, ok := parse(strings.NewReader(text))
		if ok && strconv.Itoa(pid)+"\n" != strings.TrimLeft(text, "0") {
			t.Errorf("parse(%q) = %d", text, pid)
		}
	})
}
