package live

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// write writes a text file in the host.
func (m *machine) write(name, text string) {
	m.t.Helper()
	must(m.t, os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	must(m.t, os.WriteFile(m.path(name), []byte(text), 0o644))
}

// What every thread of the sensor is able to do, once it is ready; the other tests of
// this package are the proof that it is enough.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.run()
	if strings.Contains(r.Log(), "all privileges are kept") {
		t.Skip("SKIPPED, NOT TESTED: this binary was built with cgo, and cannot give up privileges")
	}
	var most uint64
	for _, c := range []int{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_CHECKPOINT_RESTORE} {
		most |= 1 << c
	}
	// What starts threads.
	for range 20 {
		r.Ask(t)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.PID))
	must(t, err)
	if len(threads) < 3 {
		t.Fatalf("threads: %q", threads)
	}
	for _, name := range threads {
		status, err := os.ReadFile(name)
		must(t, err)
		held := make(map[string]uint64)
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(line, ":")
			if strings.HasPrefix(key, "Cap") {
				var set uint64
				if _, err := fmt.Sscanf(value, "%x", &set); err != nil {
					t.Fatal(err)
				}
				held[key] = set
			}
		}
		for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if set, ok := held[key]; !ok || set&^most != 0 {
				t.Errorf("%s: %s is %016x, allowed is %016x", name, key, set, most)
			}
		}
		if held["CapEff"] == 0 {
			t.Errorf("%s: nothing is held", name)
		}
		if !strings.Contains(string(status), "NoNewPrivs:\t1\n") {
			t.Errorf("%s: new privileges may be gained", name)
		}
	}
}

// The tiers that see less: events may come later, answers are right.
func TestTiers(t *testing.T) {
	for _, tier := range []string{"perf", "syscall", "exec", "poll"} {
		t.Run(tier, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			food, plain := m.start(foodPath), m.start(plainPath)
			r := m.run("--tier", tier, "--sweep", "off")
			if got := r.State(t).Tracking.Tier; got != tier {
				t.Fatalf("the tier is %s", got)
			}
			events := r.Follow(t, 0)
			lab.Check(t, r.Ask(t), []int{food.PID, plain.PID, m.control.PID})
			plain.Do(t, "open "+m.lib())
			late := m.start(foodPath)
			other := m.start(plainPath)
			m.upgrade()
			// Even before the sensor has noticed.
			m.equal(r, "after the upgrade")
			want := []lab.Finding{m.upgraded(food, 1, 2), m.upgraded(plain, 1, 2), m.upgraded(late, 1, 2)}
			report := r.Ask(t)
			if tier == "exec" || tier == "poll" {
				// It may be that nobody has seen this load while the database was old.
				for i := range want {
					want[i] = m.asKnown(report, want[i])
				}
			}
			lab.Check(t, report, []int{food.PID, plain.PID, late.PID, other.PID, m.control.PID}, want...)
			events.Await(t, "food is stale", is(sensor.EventStale, food))

			other.Do(t, "open "+m.lib()) // current
			plain.Do(t, "exec "+foodPath)
			food.Stop()
			late.Stop()
			lab.Check(t, r.Ask(t), []int{food.PID, plain.PID, late.PID, other.PID, m.control.PID})
			events.Await(t, "food has ended", is(sensor.EventResolved, food))
			m.upgrade()
			want = []lab.Finding{m.upgraded(plain, 2, 3), m.upgraded(other, 2, 3)}
			want[0].Comm, want[0].Exe = "food", foodPath
			report = r.Ask(t)
			lab.Check(t, report, []int{food.PID, plain.PID, late.PID, other.PID, m.control.PID}, want...)
		})
	}
}

// asKnown takes over from a report how a version is known.
func (m *machine) asKnown(r *sensor.Report, f lab.Finding) lab.Finding {
	m.t.Helper()
	found, err := lab.ByProcess(r, f.PID)
	must(m.t, err)
	if len(found) == 1 && len(found[0].Packages) == 1 {
		f.Packages = slices.Clone(f.Packages)
		f.Packages[0].Loaded.Evidence = found[0].Packages[0].Loaded.Evidence
	}
	return f
}
