package live

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// user is somebody without privileges, and group one that nobody else has.
const user, group = 65534, 54321

// as runs a command of the sensor in the host, as a user with groups.
func (m *machine) as(uid, gid uint32, groups []uint32, args ...string) (exit int, stdout, stderr string) {
	m.t.Helper()
	list := make([]string, 0, len(groups))
	for _, g := range groups {
		list = append(list, fmt.Sprint(g))
	}
	via := m.Via()
	chroot := []string{"chroot", fmt.Sprintf("--userspec=%d:%d", uid, gid), "--groups=" + strings.Join(list, ","), m.Host.Dir}
	argv := append(append(via[:len(via)-2:len(via)-2], chroot...), append([]string{sensorPath}, args...)...)
	cmd := exec.CommandContext(m.t.Context(), argv[0], argv[1:]...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// Who may ask: root, and the members of one group if there is one.
func TestWhoMayAsk(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	type who struct {
		uid, gid uint32
		groups   []uint32
	}
	nobody, member, primary := who{user, user, nil}, who{user, user, []uint32{group}}, who{user, group, nil}
	for _, test := range []struct {
		name    string
		args    []string
		may     []who
		mayNot  []who
		because string
	}{
		{"by default", nil, []who{{}}, []who{nobody, member}, "does not answer this user"},
		{"a group", []string{"--socket-group", fmt.Sprint(group)}, []who{{}, member, primary}, []who{nobody}, "does not answer this user"},
		// A door that is open to all still asks the kernel who comes.
		{"open to all", []string{"--socket-mode", "0666"}, []who{{}}, []who{nobody, member}, "may not ask"},
		{"open to all, and a group", []string{"--socket-mode", "0666", "--socket-group", fmt.Sprint(group)}, []who{{}, member, primary}, []who{nobody}, "may not ask"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := m.run(test.args...)
			for _, w := range test.may {
				for _, command := range []string{"status", "stale"} {
					args := []string{command, "-o", "json"}
					if command == "stale" {
						args = append(args, "--source", "daemon")
					}
					exit, out, said := m.as(w.uid, w.gid, w.groups, args...)
					if exit == lab.ExitUsage || !strings.Contains(out, `"schema":"sensor.`) && !strings.Contains(out, `"schema": "sensor.`) {
						t.Errorf("%+v asks for %s: exit code %d, %q, %q", w, command, exit, out, said)
					}
				}
			}
			for _, w := range test.mayNot {
				for _, args := range [][]string{{"status"}, {"stale", "--source", "daemon"}, {"watch"}, {"watch", "--since", "0", "--no-follow"}} {
					exit, out, said := m.as(w.uid, w.gid, w.groups, args...)
					if exit != lab.ExitUnknown || out != "" || !strings.Contains(said, test.because) {
						t.Errorf("%+v asks by %q: exit code %d, %q, %q", w, args, exit, out, said)
					}
				}
			}
			r.Stop(t)
		})
	}
}

// What the sensor reads again on SIGHUP.
func TestReload(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	app, lib := m.app()
	config := func(text string) { m.write(configPath, text) }
	config("sweep: off\n")
	r := m.run()
	events := r.Follow(t, 0)
	time.Sleep(30 * time.Millisecond)
	m.put(library(t, "libapp.so.1", 2), lib)

	// A configuration that is wrong changes nothing, and is no end.
	config("sweep: sometimes\n")
	r.Signal(t, syscall.SIGHUP)
	lab.Until(t, "the log says that the configuration is wrong", func() bool { return strings.Contains(r.Log(), "sweep") })
	if told := lab.About(events.Events(), app.PID); len(told) > 0 {
		t.Errorf("told of the app: %v", kinds(told))
	}

	config("sweep: 1s\ntier: poll\n")
	r.Signal(t, syscall.SIGHUP)
	events.Await(t, "the app is stale", is(sensor.EventStale, app))
	lab.Until(t, "the log says which key waits", func() bool { return strings.Contains(r.Log(), "tier") && strings.Contains(r.Log(), "started again") })
	if tier := r.State(t).Tracking.Tier; tier == "poll" {
		t.Error("the tier changed while it ran")
	}
	// And now it sweeps.
	m.put(library(t, "libapp.so.1", 1), lib)
	events.Await(t, "the app is current", is(sensor.EventResolved, app))
}

// A second sensor would tell everything twice.
func TestSecondInstance(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.run()
	for name, args := range map[string][]string{
		"the same":                       nil,
		"the same state, another socket": {"--socket", "/run/other.sock"},
	} {
		said := m.sensor.Refused(t, m.command(args...))
		if said.Exit != lab.ExitUnknown || !strings.Contains(said.Stderr, "another instance is running") || !strings.Contains(said.Stderr, fmt.Sprint(r.PID)) {
			t.Errorf("%s: exit code %d, PID of the first is %d\n%s", name, said.Exit, r.PID, said.Stderr)
		}
	}
	said := m.sensor.Refused(t, m.command("--state-dir", "/var/lib/other"))
	if said.Exit != lab.ExitUnknown || !strings.Contains(said.Stderr, socketPath) {
		t.Errorf("another state, the same socket: exit code %d\n%s", said.Exit, said.Stderr)
	}
	if r.State(t).PID != r.PID {
		t.Error("the first does not answer any more")
	}
	// One that was killed leaves its lock and its socket behind.
	r.Kill(t)
	m.run()
}

// Clients that are slow, too many, and send what nobody asked for.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food := m.start(foodPath)
	r := m.run()
	events := r.Follow(t, 0)
	var conns []net.Conn
	dial := func() net.Conn {
		c, err := net.Dial("unix", r.Socket)
		if err != nil {
			return nil // the backlog is full, which is as good
		}
		conns = append(conns, c)
		return c
	}
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	done := make(chan struct{})
	var senders sync.WaitGroup
	send := func(c net.Conn, each string, pause time.Duration) {
		senders.Go(func() {
			for {
				if _, err := io.WriteString(c, each); err != nil {
					return
				}
				select {
				case <-done:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	t.Cleanup(senders.Wait)
	t.Cleanup(func() { close(done) })
	for i := range 1000 {
		c := dial()
		switch {
		case c == nil:
		case i%10 == 0: // a request that never ends
			send(c, "GET /v1/stale HTTP/1.1\r\nHost: x\r\nX-"+strings.Repeat("y", i)+": ", 50*time.Millisecond)
		case i%10 == 1: // one of a gigabyte
			send(c, "GET /"+strings.Repeat("a", 1<<20), time.Millisecond)
		case i%10 == 2: // a stream that nobody reads
			send(c, "GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n", time.Second)
		case i%10 == 3: // many questions in a row
			send(c, strings.Repeat("GET /v1/stale HTTP/1.1\r\nHost: x\r\n\r\n", 100), time.Millisecond)
		}
	}
	_, upgraded := m.upgrade()
	stale, received := events.Await(t, "food is stale", is(sensor.EventStale, food))
	t.Logf("told %v after dpkg ended, with %d connections", received.Sub(upgraded), len(conns))
	if f := stale.Finding; f.Packages[0].Loaded != m.upgraded(food, 1, 2).Packages[0].Loaded {
		t.Errorf("told: %+v", f.Packages)
	}
	events.Await(t, "the patch", m.isPatch(1, 2))
	lab.Until(t, "it is told as it is now", func() bool {
		// The clients ask while dpkg is at work, so what was told first may be of then.
		all := events.About(food.PID)
		return all[len(all)-1].Finding.Packages[0].Installed == sensor.InstalledVersion{Version: versionOf(2)}
	})
	lab.Check(t, lab.Told(events.Events()), []int{food.PID}, m.upgraded(food, 1, 2))
	food.Stop()
	events.Await(t, "food has ended", is(sensor.EventResolved, food))
	for _, c := range conns {
		c.Close()
	}
	// When they are gone, others are answered again.
	lab.Until(t, "the sensor answers", func() bool {
		_, err := r.Status(t.Context())
		return err == nil
	})
	m.equal(r, "after the clients")
	if status := r.State(t); status.MemoryBytes > 512<<20 {
		t.Errorf("%d MB resident", status.MemoryBytes>>20)
	}
	m.silent(r, events.Close(t), m.control.PID)
}
