package live

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// storm executes the smallest program as often as the machine can, until the test
// or its time ends, and tells how often that was.
func storm(t *testing.T, m *machine, seconds int) (wait func() int) {
	t.Helper()
	const program, drop = "/usr/bin/storm", "/usr/bin/drop"
	m.put(workshop.C(t, "testdata/storm.c"), program)
	m.put(workshop.C(t, "-static", "-nostdlib", "testdata/drop.c"), drop)
	var spawners []*exec.Cmd
	var counts []*bytes.Buffer
	for range runtime.NumCPU() + 1 {
		argv := append(m.Via(), program, drop, fmt.Sprint(seconds))
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		count := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = count, os.Stderr
		must(t, cmd.Start())
		spawners, counts = append(spawners, cmd), append(counts, count)
	}
	return func() (total int) {
		for i, cmd := range spawners {
			must(t, cmd.Wait())
			var n int
			if _, err := fmt.Sscan(counts[i].String(), &n); err != nil {
				t.Fatalf("a spawner says %q", counts[i])
			}
			total += n
		}
		return total
	}
}

// The ring has one page, and more happens than anybody can follow, while packages
// are upgraded and daemons come and go. What is lost is counted, the time is a gap,
// and the answer is right all the same.
func TestStorm(t *testing.T) {
	m := newMachine(t)
	const seconds = 5
	food, plain := m.start(foodPath), m.start(plainPath)
	r := m.run("--ring-bytes", fmt.Sprint(os.Getpagesize()))
	events := r.Follow(t, 0)
	began := time.Now()
	wait := storm(t, m, seconds)
	lab.NextSecond()
	m.upgrade()
	stale, received := events.Await(t, "food is stale", is(sensor.EventStale, food))
	t.Logf("told %v after the change, in the midst of the storm", received.Sub(*stale.Finding.Since))
	late := m.start(foodPath)
	plain.Do(t, "open "+m.lib())
	lab.NextSecond() // dpkg's log, by which one that looks once goes
	m.upgrade()
	food.Stop()
	again := m.start(foodPath)
	total := wait()
	ended := time.Now()
	rate := float64(total) / ended.Sub(began).Seconds()
	t.Logf("%d processes, %.0f a second", total, rate)

	m.equal(r, "after the storm")
	// The library that plain opened and late needs is of the second version.
	pids, want := []int{food.PID, late.PID, plain.PID, again.PID, m.control.PID}, []lab.Finding{m.upgraded(late, 2, 3), m.upgraded(plain, 2, 3)}
	// Where the storm let nobody look while that was installed, dpkg's log tells it.
	known := func(report *sensor.Report) *sensor.Report {
		for i, d := range []*lab.Daemon{late, plain} {
			want[i].Packages[0].Loaded.Evidence = sensor.Observed
			if f := findingOf(t, report, d); len(f.Packages) == 1 && f.Packages[0].Loaded.Evidence == sensor.History {
				want[i].Packages[0].Loaded.Evidence = sensor.History
			}
		}
		return report
	}
	lab.Until(t, "the answer is right, or Check says why not", func() bool {
		return lab.Matches(known(r.Ask(t)), pids, want...) || time.Since(ended) > 5*time.Second
	})
	lab.Check(t, known(r.Ask(t)), pids, want...)
	events.Await(t, "food has ended", is(sensor.EventResolved, food))
	m.silent(r, events.Events(), m.control.PID)
	// What could not be read for a moment is not known for that long, and no more.
	for _, e := range events.About(again.PID) {
		t.Logf("%s: %+v", e.Type, e.Finding.Processes[0])
		if e.Finding.State != sensor.Unknown {
			t.Errorf("a current process is told to be %s", e.Finding.State)
		}
	}

	status := r.State(t)
	t.Logf("losses: %+v", status.Losses)
	if lab.Lost(status) == 0 {
		t.Error("one page was enough?")
	}
	lossy := func(gaps []sensor.Gap) bool {
		return slices.ContainsFunc(gaps, func(g sensor.Gap) bool {
			return strings.Contains(g.Why, "ring") && g.From.After(began.Add(-2*time.Second)) && g.From.Before(ended) && g.To.After(g.From)
		})
	}
	if report := r.Ask(t); !lossy(status.Gaps) || !lossy(report.Gaps) {
		t.Errorf("the storm was from %v to %v, gaps are %+v by the status, %+v by the report", began.UTC(), ended.UTC(), status.Gaps, report.Gaps)
	}
	// The gap lasts as long as anything is lost, and in a ring of one page that may be
	// whatever this machine does beside. At the latest it is told at the end.
	seen := len(events.Close(t))
	r.Stop(t)
	r = m.run()
	gap, _ := r.Follow(t, 0).Await(t, "the gap", func(e *sensor.Event) bool { return e.Gap != nil && lossy([]sensor.Gap{*e.Gap}) })
	t.Logf("%d events; gap from %v to %v: %s", seen, gap.Gap.From, gap.Gap.To, gap.Gap.Why)
	if report := r.Ask(t); !lossy(report.Gaps) {
		t.Errorf("after the restart, gaps are %+v", report.Gaps)
	}
	m.equal(r, "after the restart")
}
