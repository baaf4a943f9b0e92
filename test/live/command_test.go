package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// cli runs a command of the sensor in the host.
func (m *machine) cli(args ...string) lab.Result {
	m.t.Helper()
	return lab.Run(m.t, slices.Concat(m.Via(), []string{sensorPath}, args)...)
}

// What people type while the sensor runs.
func TestCommands(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food := m.start(foodPath)

	if r := m.cli("status"); r.Exit != lab.ExitUnknown || !strings.Contains(r.Stderr, "no sensor is running") {
		t.Errorf("status without a sensor: exit code %d, %q, %q", r.Exit, r.Stdout, r.Stderr)
	}
	r := m.run()
	events := r.Follow(t, 0)
	follow := watch(t, m, r, "text")
	lines := watch(t, m, r, "jsonl", "--since", "0")
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	for name, w := range map[string]*watcher{"text": follow, "jsonl": lines} {
		lab.Until(t, "watch -o "+name+" shows it", func() bool { return strings.Contains(w.text(), m.name) && strings.Contains(w.text(), "food") })
	}

	var status lab.Result
	// That food is stale may be noticed before the packages have settled.
	lab.Until(t, "status names the patch", func() bool {
		status = m.cli("status")
		return strings.Contains(string(status.Stdout), m.name)
	})
	for _, word := range []string{"perf", m.name, versionOf(1), versionOf(2)} {
		if r.State(t).Tracking.Tier != "perf" && word == "perf" {
			continue // a kernel that can do better
		}
		if status.Exit != 0 || !strings.Contains(string(status.Stdout), word) {
			t.Errorf("status, exit code %d, does not say %q:\n%s%s", status.Exit, word, status.Stdout, status.Stderr)
		}
	}
	// stale asks the sensor that runs, and one that looks once on request.
	for source, args := range map[string][]string{"daemon": nil, "bpf": {"--source", "bpf"}} {
		if got := m.sensor.StaleBy(t, m.Via(), args...); got.Report.Source != source || got.Exit != lab.ExitStale {
			t.Errorf("stale %q: source %s, exit code %d", args, got.Report.Source, got.Exit)
		}
	}
	if e := m.cli("stale", "--pid", strconv.Itoa(food.PID)); e.Exit != lab.ExitStale || !strings.Contains(string(e.Stdout), "food") {
		t.Errorf("stale --pid: exit code %d\n%s%s", e.Exit, e.Stdout, e.Stderr)
	}
	if e := m.cli("stale", "--pid", strconv.Itoa(m.control.PID)); e.Exit != lab.ExitClean {
		t.Errorf("stale --pid of the control: exit code %d\n%s%s", e.Exit, e.Stdout, e.Stderr)
	}
	if e := m.cli("explain", strconv.Itoa(food.PID)); e.Exit == lab.ExitUsage || !strings.Contains(string(e.Stdout), m.lib()) {
		t.Errorf("explain: exit code %d\n%s%s", e.Exit, e.Stdout, e.Stderr)
	}
	if e := m.cli("doctor"); e.Exit == lab.ExitUsage || !strings.Contains(string(e.Stdout), r.State(t).Tracking.Tier) {
		t.Errorf("doctor: exit code %d\n%s%s", e.Exit, e.Stdout, e.Stderr)
	}

	// watch outlives the sensor, and goes on where it was.
	r.Stop(t)
	r = m.run()
	events = r.Follow(t, 0)
	food.Stop()
	events.Await(t, "food has ended", is(sensor.EventResolved, food))
	lab.Until(t, "watch shows what came after the restart", func() bool {
		return strings.Count(lines.text(), `"type":"resolved"`) > 0 && strings.Contains(lines.text(), "not running")
	})
	var shown []sensor.Event
	for line := range strings.Lines(lines.end(t)) {
		var e sensor.Event
		must(t, json.Unmarshal([]byte(line), &e))
		shown = append(shown, e)
	}
	continues(t, shown, kept(t, r))
	if !strings.Contains(follow.end(t), "resolved") {
		t.Errorf("watch shows\n%s", follow.text())
	}
	past := m.cli("watch", "--since", "1h", "--no-follow", "-o", "jsonl", "--type", "patch")
	if past.Exit != 0 || strings.Count(string(past.Stdout), "\n") != 1 || !strings.Contains(string(past.Stdout), versionOf(2)) {
		t.Errorf("watch --since: exit code %d\n%s%s", past.Exit, past.Stdout, past.Stderr)
	}
}

// watcher is a "sensor watch".
type watcher struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  *lab.Log
}

func watch(t *testing.T, m *machine, r *lab.Running, output string, args ...string) *watcher {
	t.Helper()
	before := metric(t, r, "sensor_api_streams")
	argv := slices.Concat(m.Via(), []string{sensorPath, "watch", "-o", output}, args)
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), out: new(lab.Log), done: make(chan struct{})}
	var said bytes.Buffer
	w.cmd.Stdout, w.cmd.Stderr = w.out, &said
	must(t, w.cmd.Start())
	go func() {
		_ = w.cmd.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-w.done
	})
	lab.Until(t, "the sensor has one more stream", func() bool { return metric(t, r, "sensor_api_streams") > before })
	return w
}

// metric is the value of one of the sensor's metrics that has no labels.
func metric(t *testing.T, r *lab.Running, name string) float64 {
	t.Helper()
	answer, err := lab.HTTP(r.Socket).Get("http://sensor/metrics")
	must(t, err)
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(rest, 64)
			must(t, err)
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func (w *watcher) text() string { return w.out.String() }

// end interrupts it, as people do.
func (w *watcher) end(t *testing.T) string {
	t.Helper()
	must(t, w.cmd.Process.Signal(syscall.SIGINT))
	<-w.done
	if code := w.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("watch, interrupted, ended with %v", w.cmd.ProcessState)
	}
	return w.text()
}
