package lab

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guestLimit bounds a guest's life from one boot to the next, which is a minute on a
// machine that has nothing else to do.
const guestLimit = 8 * time.Minute

// loginTimeout bounds how long it may take until one can log in.
const loginTimeout = time.Minute

// Guest is a Debian that runs in an emulated machine.
type Guest struct {
	disk GuestDisk
	vm   *VM
	port int
	// leave ends the login of root's that all commands share.
	leave func()
}

// bootLimit bounds how long it may take until the guest asks who logs in, which is a
// quarter of a minute on a machine that has nothing else to do; and bootTries how often
// that is tried: now and then an emulated machine gets nowhere.
const (
	bootLimit = 2 * time.Minute
	bootTries = 3
)

// Boot starts the guest and waits until its units are up. It ends with the test.
func (d GuestDisk) Boot(t testing.TB) *Guest {
	t.Helper()
	g := &Guest{disk: d, port: freePort(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the guest's console: …%s", tail(g.vm.Console()))
		}
	})
	for try := 1; ; try++ {
		g.vm = d.start(t, g.port)
		began := time.Now()
		asks := func() bool { return strings.Contains(g.vm.Console(), " login: ") }
		g.vm.Until(t, "there is a prompt to log in", func() bool { return asks() || try < bootTries && time.Since(began) > bootLimit })
		if asks() {
			break
		}
		t.Logf("the guest did not boot within %v, and is started anew; its console: …%s", bootLimit, tail(g.vm.Console()))
		g.vm.Kill()
	}
	g.enter(t)
	_, _ = g.Try("systemctl", "is-system-running", "--wait") // degraded is an answer, too
	g.setClock(t)
	return g
}

// start starts the emulated machine.
func (d GuestDisk) start(t testing.TB, port int) *VM {
	t.Helper()
	return Machine{
		Kernel: Kernel{Release: "its own", PackageVersion: "as GRUB decides", Suite: "guest", Image: d.grub},
		Memory: 768, Limit: guestLimit,
		Args: []string{
			"-drive", "file=" + d.image + ",format=raw,if=none,id=disk,cache=unsafe", "-device", "nvme,drive=disk,serial=disk",
			// The guest reaches nothing, and is reached from this machine only.
			"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", port), "-device", "virtio-net-pci,netdev=net",
			"-device", "virtio-rng-pci",
		},
	}.Boot(t)
}

// setClock sets the guest's clock, for what it has from the machine are whole seconds.
// How late it then is no one knows, but the time that it took to tell it is a bound.
func (g *Guest) setClock(t testing.TB) {
	t.Helper()
	const enough, tries = 300 * time.Millisecond, 20
	for range tries {
		now := time.Now()
		g.Run(t, "date", "--set", fmt.Sprintf("@%d.%09d", now.Unix(), now.Nanosecond()))
		if time.Since(now) < enough {
			return
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// enter logs root in.
func (g *Guest) enter(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(loginTimeout); ; {
		var said bytes.Buffer
		argv := append(g.ssh("root"), "-o", "ControlMaster=yes", "-o", "ConnectTimeout=10", "-N")
		login, ended := exec.Command(argv[0], argv[1:]...), make(chan struct{})
		login.Stderr = &said
		if err := login.Start(); err != nil {
			t.Fatalf("%v (test/install-deps installs what the labs need)", err)
		}
		go func() { _ = login.Wait(); close(ended) }()
		g.leave = func() {
			_ = login.Process.Signal(syscall.SIGTERM) // it removes its socket
			<-ended
		}
		t.Cleanup(g.leave)
		if g.entered(ended) {
			return
		}
		if time.Now().After(deadline) {
			g.vm.fail(t, fmt.Sprintf("nobody can log in within %v: %s", loginTimeout, said.String()))
		}
	}
}

// entered waits for the end of a login, whether it succeeded or not.
func (g *Guest) entered(ended <-chan struct{}) bool {
	for {
		argv := append(g.ssh("root"), "-O", "check")
		if exec.Command(argv[0], argv[1:]...).Run() == nil {
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ssh begins a command line of ssh(1), of which the destination is the last word.
func (g *Guest) ssh(user string) []string {
	return []string{
		"ssh", "-F", "none", "-i", g.disk.key, "-p", strconv.Itoa(g.port), "-S", filepath.Join(g.disk.dir, "login"),
		"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		user + "@127.0.0.1",
	}
}

// Via begins a command that runs in the guest as root. Its words are read by a shell.
func (g *Guest) Via() []string { return append(g.ssh("root"), "--") }

// Try runs a command in the guest as root and returns all that it printed.
func (g *Guest) Try(argv ...string) (string, error) {
	line := g.Via()
	for _, arg := range argv {
		line = append(line, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	return string(out), err
}

// Run is Try for a command that must succeed.
func (g *Guest) Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := g.Try(argv...)
	if err != nil {
		t.Fatalf("in the guest, %q: %v\n%s", argv, err, out)
	}
	return out
}

// Reenter logs root out and in again.
func (g *Guest) Reenter(t testing.TB) {
	t.Helper()
	g.leave()
	g.enter(t)
}

// Login is a session of a user at a terminal of the guest's.
type Login struct {
	Terminal string // as in pts/0
	cmd      *exec.Cmd
	ended    chan struct{}
}

// Login logs a user in who runs a command in the session. It ends with the test.
func (g *Guest) Login(t testing.TB, user, command string) *Login {
	t.Helper()
	argv := append(g.ssh(user), "-S", "none", "-tt", "tty; exec "+command)
	l := &Login{cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{})}
	var said bytes.Buffer
	l.cmd.Stderr = &said
	stdin, err := l.cmd.StdinPipe() // which is to stay open
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make(chan string, 1)
	go func() {
		defer close(l.ended)
		var line []byte
		for b := make([]byte, 1); len(line) < 100; line = append(line, b[0]) {
			if _, err := stdout.Read(b); err != nil || b[0] == '\n' {
				break
			}
		}
		first <- strings.TrimSpace(string(line))
		_, _ = io.Copy(io.Discard, stdout)
		_ = l.cmd.Wait()
	}()
	t.Cleanup(func() {
		stdin.Close()
		l.End()
	})
	select {
	case name := <-first:
		l.Terminal = strings.TrimPrefix(name, "/dev/")
	case <-time.After(loginTimeout):
	}
	if l.Terminal == "" {
		l.End()
		t.Fatalf("%s cannot log in: %s", user, said.String())
	}
	return l
}

// End ends the session by the loss of its connection.
func (l *Login) End() {
	_ = l.cmd.Process.Kill()
	<-l.ended
}

// Wait waits until the guest has ended the session.
func (l *Login) Wait(t testing.TB) {
	t.Helper()
	select {
	case <-l.ended:
	case <-time.After(loginTimeout):
		t.Fatalf("the session at %s is not ended", l.Terminal)
	}
}

// Reboot shuts the guest down and boots it anew: with what GRUB then finds on its disk.
func (g *Guest) Reboot(t testing.TB) *Guest {
	t.Helper()
	_, _ = g.Try("systemctl", "reboot") // the connection may end before the answer
	g.vm.Wait(t)
	return g.disk.Boot(t)
}
