package live

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// soon is what nobody should have to wait for who is not held up: many times what is
// needed, and a fraction of what many times in vain take.
const soon = 20 * time.Second

// threads is how many threads the sensor has.
func threads(t *testing.T, r *lab.Running) int {
	t.Helper()
	list, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", r.PID))
	must(t, err)
	return len(list)
}

// healthy asks all the time whether the sensor gets on with its work.
func healthy(t *testing.T, r *lab.Running) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sensor/healthz", nil)
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := lab.HTTP(r.Socket).Do(request)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.Errorf("/healthz: %v", err)
				return
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("/healthz: %s", answer.Status)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// askSoon is Ask, which must not take long.
func askSoon(t *testing.T, r *lab.Running) *sensor.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	report, err := r.Stale(ctx, false)
	if err != nil {
		t.Fatalf("the sensor was asked: %v", err)
	}
	return report
}

// Somebody without privileges runs processes that keep whoever reads their memory
// waiting. That is said, and costs others neither their verdict nor much time. It runs
// alone, for the sake of whatever else looks at all processes.
func TestMemoryThatDoesNotAnswer(t *testing.T) {
	for name, ms := range map[string]int{"quiet": 0, "looked at again and again": 200} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			const program = "/opt/hostile"
			m.put(workshop.C(t, "testdata/hostile.c"), program)
			app, gone := m.shifter("app"), m.shifter("gone")
			r := m.run("--sweep", "1s")
			stop := healthy(t, r)
			defer stop()
			events := r.Follow(t, 0)
			before := threads(t, r)
			var hostile []int
			for range 8 {
				d := lab.Start(t, lab.Command{Path: program, Args: []string{fmt.Sprint(user), fmt.Sprint(ms)}, Via: m.Via()})
				hostile = append(hostile, d.PID)
			}
			time.Sleep(30 * time.Millisecond)
			want, old := app.replaceLib(), gone.replaceLib()
			pids := []int{app.PID, gone.PID, m.control.PID}
			events.Await(t, "the app is stale", is(sensor.EventStale, app.Daemon))
			lab.Check(t, askSoon(t, r), pids, want, old)
			gone.Stop()
			ended := time.Now()
			_, at := events.Await(t, "the other has ended", is(sensor.EventResolved, gone.Daemon))
			if t.Logf("told %v after", at.Sub(ended)); at.Sub(ended) > soon {
				t.Errorf("told only %v after", at.Sub(ended))
			}
			most := 0
			for range 5 {
				time.Sleep(time.Second)
				report := askSoon(t, r)
				lab.Check(t, report, pids, want)
				for _, pid := range hostile {
					subject := fmt.Sprintf("process %d", pid)
					if !slices.ContainsFunc(report.Warnings, func(w sensor.Warning) bool { return w.Subject == subject }) {
						t.Errorf("no warning of %s: %v", subject, report.Warnings)
					}
				}
				most = max(most, threads(t, r))
			}
			t.Logf("%d threads became up to %d", before, most)
			if most > before+2*len(hostile) {
				t.Errorf("%d threads became %d", before, most)
			}
			m.silent(r, events.Close(t), m.control.PID)
		})
	}
}
