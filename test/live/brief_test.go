package live

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// children are the PIDs in an actor's answer.
func children(t *testing.T, answer string) []int {
	t.Helper()
	words := strings.Fields(answer)
	if len(words) < 2 || words[0] != "DONE" {
		t.Fatalf("an actor says %q", answer)
	}
	var pids []int
	for _, word := range words[1:] {
		pid, err := strconv.Atoi(word)
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// Something opened files before the upgrade and goes on to start processes from
// them: they begin after it, run the old code, and are gone before anybody can look.
func TestBriefProcessesOfOldCode(t *testing.T) {
	for name, observed := range map[string]bool{
		// Others still run the old files.
		"others run it": true,
		// Those that ran them have ended before the upgrade: what they were is known
		// from then.
		"nobody runs it": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brief(t, observed)
		})
	}
}

func brief(t *testing.T, observed bool) {
	m := newMachine(t)
	const loader = "/usr/sbin/loader" // another name, so that it is another workload
	m.put(actor(t, "1"), loader)
	food, helper, launcher := m.start(foodPath), m.start(helperPath), m.start(plainPath)
	for _, name := range []string{m.lib(), helperPath} {
		launcher.Do(t, "hold "+name)
	}
	r := m.run()
	events := r.Follow(t, 0)
	if !observed {
		food.Stop()
		helper.Stop()
	}
	_, upgraded := m.upgrade()
	events.Await(t, "the patch", m.isPatch(1, 2))
	r.Ask(t)

	lib := m.upgraded(launcher, 1, 2)
	program := m.upgraded(launcher, 1, 2)
	program.Files[0].Path = helperPath
	program.Files[0].LoadedBuildID, program.Files[0].InstalledBuildID = lab.BuildID(t, actor(t, "1")), lab.BuildID(t, actor(t, "2"))
	for _, test := range []struct {
		command string
		want    lab.Finding
	}{
		{"map 20 " + m.lib(), lib},
		{"load 20 " + m.lib() + " " + loader, lib},
		{"run 20 " + helperPath, program},
	} {
		began := time.Now()
		pids := children(t, launcher.Do(t, test.command))
		each := time.Since(began) / time.Duration(len(pids))
		isOne := func(kind sensor.EventType) func(*sensor.Event) bool {
			return func(e *sensor.Event) bool { return e.Type == kind && lab.Concerns(e, pids...) }
		}
		stale, received := events.Await(t, test.command, isOne(sensor.EventStale))
		t.Logf("%s: %v each; told %v after", test.command, each, received.Sub(began))
		p := stale.Finding.Processes[0]
		want := test.want
		want.PID, want.Comm, want.Exe = p.PID, p.Comm, p.Exe
		want.Files[0].InstalledBuildID = ""
		lab.Check(t, lab.Told([]sensor.Event{stale}), pids, want)
		if p.EndedAt == nil || p.EndedAt.Before(p.StartTime) || p.StartTime.Before(upgraded.Add(-20*time.Millisecond)) {
			t.Errorf("%s: upgraded at %v, began %v, ended %v", test.command, upgraded.UTC(), p.StartTime, p.EndedAt)
		}
		resolved, _ := events.Await(t, test.command+" ended", isOne(sensor.EventResolved))
		if resolved.Finding.ID != stale.Finding.ID || resolved.Exposure.Seconds > 60 || !resolved.Exposure.Opened.After(upgraded.Add(-time.Second)) {
			t.Errorf("%s: resolved %+v, %+v", test.command, resolved.Finding, resolved.Exposure)
		}
	}
	m.silent(r, events.Close(t), m.control.PID, launcher.PID)
}

// Many short processes of what is installed now are not worth a word.
func TestBriefProcessesOfCurrentCode(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	food, launcher := m.start(foodPath), m.start(plainPath)
	r := m.run()
	events := r.Follow(t, 0)
	m.upgrade()
	events.Await(t, "food is stale", is(sensor.EventStale, food))
	launcher.Do(t, "hold "+m.lib())
	launcher.Do(t, "hold "+helperPath)
	var pids []int
	for _, command := range []string{
		"spawn 80 " + foodPath, "spawn 40 " + plainPath, "map 40 " + m.lib(),
		fmt.Sprintf("load 20 %s %s", m.lib(), plainPath), "run 20 " + helperPath,
	} {
		pids = append(pids, children(t, launcher.Do(t, command))...)
	}
	if len(pids) != 200 {
		t.Fatalf("%d processes", len(pids))
	}
	m.silent(r, events.Events(), slices.Concat(pids, []int{m.control.PID, launcher.PID})...)
	// What ended is judged at the next look; one that is told of shows that it was.
	again := m.start(foodPath)
	again.Do(t, "open "+m.lib())
	m.upgrade()
	events.Await(t, "food is stale again", is(sensor.EventStale, again))
	m.silent(r, events.Close(t), slices.Concat(pids, []int{m.control.PID, launcher.PID})...)
}
