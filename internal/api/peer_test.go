package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// The environment variables that make another user's program of the test's.
const (
	envTask   = "SENSOR_TEST_TASK"
	envSocket = "SENSOR_TEST_SOCKET"
)

// A user and a group that no machine gives to anybody: systemd's table of UIDs and
// GIDs calls 60706 to 61183 unused.
const (
	stranger = 60707
	club     = 60709
)

func TestMain(m *testing.M) {
	if task := os.Getenv(envTask); task != "" {
		os.Exit(perform(task, os.Getenv(envSocket)))
	}
	os.Exit(m.Run())
}

// perform does as another user what a test wants of one, until its standard
// input ends.
func perform(task, socket string) int {
	switch task {
	case "ask":
		_, err := sensor.NewClient(socket).Status(context.Background())
		fmt.Println(verdict(err))
	case "listen":
		l, err := net.Listen("unix", socket)
		if err == nil {
			err = os.Chmod(socket, 0o666)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer l.Close()
		fmt.Println("listening")
		io.Copy(io.Discard, os.Stdin)
	case "crowd":
		var held []net.Conn
		for range 1000 {
			c, err := net.Dial("unix", socket)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			held = append(held, c)
		}
		fmt.Println("crowded", len(held))
		io.Copy(io.Discard, os.Stdin)
		runtime.KeepAlive(held)
	default:
		return 2
	}
	return 0
}

// verdict names the kind of an error.
func verdict(err error) string {
	var refusal *sensor.AnswerError
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &refusal) && refusal.Code == http.StatusForbidden && refusal.Help != "" && errors.Is(err, sensor.ErrForbidden):
		return "refused"
	case errors.Is(err, sensor.ErrForbidden):
		return "kept out"
	}
	return err.Error()
}

// other is a program of another user.
type other struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// become starts a task as another user. /proc/self/exe is for those who may not
// go where go test builds.
func become(t *testing.T, task, socket string, cred syscall.Credential) *other {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{envTask + "=" + task, envSocket + "=" + socket}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &cred, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &other{cmd, stdin, bufio.NewReader(stdout)}
	t.Cleanup(func() {
		o.stdin.Close()
		o.cmd.Wait()
	})
	return o
}

func (o *other) says(t *testing.T) string {
	t.Helper()
	line, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the other user's program: %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// TestWhoMayAsk asks as other users.
func TestWhoMayAsk(t *testing.T) {
	many := make([]uint32, 200)
	for i := range many {
		many[i] = uint32(club + len(many) - i)
	}
	for _, test := range []struct {
		name  string
		mode  os.FileMode
		group string
		cred  syscall.Credential
		want  string
	}{
		{"nobody's group", 0o660, "", syscall.Credential{Uid: stranger, Gid: stranger}, "kept out"},
		{"an open socket", 0o666, "", syscall.Credential{Uid: stranger, Gid: stranger}, "refused"},
		{"an open socket with a group", 0o666, fmt.Sprint(club), syscall.Credential{Uid: stranger, Gid: stranger, Groups: []uint32{club + 1}}, "refused"},
		{"the main group", 0o660, fmt.Sprint(club), syscall.Credential{Uid: stranger, Gid: club}, "answered"},
		{"a further group", 0o660, fmt.Sprint(club), syscall.Credential{Uid: stranger, Gid: stranger, Groups: []uint32{club}}, "answered"},
		{"the last of many groups", 0o660, fmt.Sprint(club + 1), syscall.Credential{Uid: stranger, Gid: stranger, Groups: many}, "answered"},
		{"a group of root", 0o666, "", syscall.Credential{Uid: stranger, Gid: 0, Groups: []uint32{0}}, "refused"},
		{"root", 0o600, "", syscall.Credential{}, "answered"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, &sinktest.Live{}, func(s *Server) { s.opts.Mode, s.opts.Group = test.mode, test.group })
			if got := become(t, "ask", s.opts.Socket, test.cred).says(t); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if got := s.Stats().Refused["forbidden"] > 0; got != (test.want == "refused") {
				t.Errorf("refusals: %v", s.Stats().Refused)
			}
		})
	}
}

// TestImpostor holds that root does not believe another user's socket.
func TestImpostor(t *testing.T) {
	socket := socketPath(t)
	if err := os.Chown(filepath.Dir(socket), stranger, stranger); err != nil {
		t.Skip("giving a directory away needs root")
	}
	if got := become(t, "listen", socket, syscall.Credential{Uid: stranger, Gid: stranger}).says(t); got != "listening" {
		t.Fatal(got)
	}
	if r, err := sensor.NewClient(socket).Stale(t.Context(), false); !errors.Is(err, sensor.ErrUntrusted) {
		t.Errorf("%v, %v, want ErrUntrusted", r, err)
	}
}

func TestPolicy(t *testing.T) {
	groups := func() ([]uint32, error) { return []uint32{5, 6}, nil }
	broken := func() ([]uint32, error) { return nil, syscall.EINVAL }
	for _, test := range []struct {
		policy   policy
		uid, gid uint32
		groups   func() ([]uint32, error)
		want     bool
	}{
		{policy{own: 100, group: noGroup}, 0, 7, nil, true},
		{policy{own: 100, group: noGroup}, 100, 7, nil, true},
		{policy{own: 100, group: noGroup}, 101, 7, nil, false},
		{policy{own: 100, group: noGroup}, 101, noGroup, nil, false},
		{policy{own: 100, group: 7}, 101, 7, nil, true},
		{policy{own: 100, group: 6}, 101, 7, groups, true},
		{policy{own: 100, group: 8}, 101, 7, groups, false},
		{policy{own: 100, group: 8}, 101, 7, broken, false},
		{policy{own: 100, group: 0}, 101, 0, groups, true},
	} {
		if got, _ := test.policy.admits(test.uid, test.gid, test.groups); got != test.want {
			t.Errorf("%+v admits %d:%d: %t", test.policy, test.uid, test.gid, got)
		}
	}
}

func TestLookupGroup(t *testing.T) {
	for _, test := range []struct {
		name string
		want uint32
		ok   bool
	}{
		{"", noGroup, true},
		{"0", 0, true},
		{"root", 0, true},
		{"1234", 1234, true},
		{"65534", noGroup, false},
		{"4294967295", noGroup, false},
		{"4294967296", noGroup, false},
		{"-1", noGroup, false},
		{"no such group", noGroup, false},
	} {
		got, err := lookupGroup(test.name)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%q: %d, %v", test.name, got, err)
		}
	}
}
