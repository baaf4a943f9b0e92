package proc

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ttyLine is a line of /proc/PID/stat with the terminal in its place.
func ttyLine(tty string) string {
	return "1 (sh) S 1 1 1 " + tty + " 1 0" + strings.Repeat(" 0", 13) + "\n"
}

func TestTerminal(t *testing.T) {
	for tty, want := range map[string]string{
		"0":       "",
		"1025":    "tty1",
		"1087":    "tty63",
		"1088":    "ttyS0",
		"1279":    "ttyS191",
		"1281":    "console",
		"34816":   "pts/0",
		"34819":   "pts/3",
		"1083647": "pts/511", // its minor number has more than 8 bits
		"35072":   "pts/256", // as before Linux 2.6.30
		"52288":   "ttyAMA0",
		"52304":   "",
		"58624":   "hvc0",
		"48128":   "", // ttyUSB0 is made by a driver that may be called otherwise
		"-1":      "",
	} {
		st, err := ParseStat(strings.NewReader(ttyLine(tty)))
		if got := st.Terminal(); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", tty, got, err, want)
		}
	}
	for _, tty := range []string{"x", "4294967296", "1.5"} {
		if _, err := ParseStat(strings.NewReader(ttyLine(tty))); err == nil || !strings.Contains(err.Error(), "field 7") {
			t.Errorf("%s: %v", tty, err)
		}
	}
}

// A process on a terminal of its own.
func TestTerminalOfProcess(t *testing.T) {
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	number, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	want := "pts/" + strconv.Itoa(number)
	tty, err := os.OpenFile("/dev/"+want, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	cmd := exec.Command("sleep", "60")
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	fs, err := NewFS("/proc")
	if err != nil {
		t.Fatal(err)
	}
	p, err := fs.Process(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if st, err := p.Stat(); err != nil || st.Terminal() != want {
		t.Errorf("%q, %v, want %q", st.Terminal(), err, want)
	}
}
