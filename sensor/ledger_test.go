package sensor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/store"
)

var day = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func second(n int) time.Time { return day.Add(time.Duration(n) * time.Second) }

// ran is a finding on a unit whose process started at second start and runs old
// versions of packages, newer ones of which were installed at second since.
func ran(id string, state State, start, since int, packages ...string) Finding {
	f := Finding{ID: id, State: state, Reason: Replaced, Domain: DomainHost, Workload: Workload{Kind: "unit", Name: id + ".service"}, Remedy: Remedy{Action: Restart},
		Processes: []Process{{PID: 7, StartTime: second(start)}}}
	if since >= 0 {
		f.Since = moment(second(since))
	}
	for _, p := range packages {
		f.Packages = append(f.Packages, Package{Manager: "dpkg", Name: p, Arch: "amd64", Loaded: LoadedVersion{"1", Observed}, Installed: InstalledVersion{Version: "2"}})
	}
	return f
}

func reportOf(on int, findings ...Finding) *Report {
	return &Report{ScannedAt: second(on), Findings: findings}
}

// told is what an event says, in short.
func told(e Event) string {
	s := string(e.Type) + " " + e.Finding.ID
	if x := e.Exposure; x != nil {
		s += fmt.Sprintf(" from %d for %g", int(x.Opened.Sub(day).Seconds()), x.Seconds)
		if x.AtLeast {
			s += " at least"
		}
		if (x.Closed != nil) != (e.Type == EventResolved) {
			s += " CLOSED?"
		}
	}
	return s
}

func TestLedger(t *testing.T) {
	type step struct {
		report *Report
		want   []string
	}
	for _, c := range []struct {
		name    string
		carried []store.Exposure
		steps   []step
	}{
		{"appears and is resolved", nil, []step{
			{reportOf(100, ran("a", Stale, 10, 60, "ssl")), []string{"stale a from 60 for 40"}},
			{reportOf(110, ran("a", Stale, 10, 60, "ssl")), nil},
			{reportOf(160), []string{"resolved a from 60 for 100"}},
			{reportOf(170), nil},
		}},
		{"started after the patch", nil, []step{
			{reportOf(100, ran("a", Stale, 80, 60, "ssl")), []string{"stale a from 80 for 20"}},
		}},
		{"not known since when", nil, []step{
			{reportOf(100, ran("a", Stale, 10, -1, "ssl")), []string{"stale a from 100 for 0 at least"}},
			{reportOf(130), []string{"resolved a from 100 for 30 at least"}},
		}},
		{"a second package", nil, []step{
			{reportOf(100, ran("a", Stale, 10, 60, "ssl")), []string{"stale a from 60 for 40"}},
			{reportOf(200, ran("a", Stale, 10, 60, "ssl", "zlib")), []string{"changed a from 60 for 140"}},
			{reportOf(300, ran("a", Stale, 10, 60, "zlib")), []string{"changed a from 60 for 240"}},
			{reportOf(400), []string{"resolved a from 60 for 340"}},
		}},
		{"becomes missing", nil, []step{
			{reportOf(100, ran("a", Stale, 10, 60, "ssl")), []string{"stale a from 60 for 40"}},
			{reportOf(200, ran("a", Missing, 10, 60, "ssl")), []string{"missing a from 60 for 140"}},
		}},
		{"unknown once is a race", nil, []step{
			{reportOf(100, ran("a", Unknown, 10, -1)), nil},
			{reportOf(110), nil},
			{reportOf(120, ran("a", Unknown, 10, -1)), nil},
			{reportOf(130, ran("a", Unknown, 10, -1)), []string{"unknown a"}},
			{reportOf(140, ran("a", Unknown, 10, -1)), nil},
			{reportOf(150), []string{"resolved a"}},
		}},
		{"not knowing resolves nothing", nil, []step{
			{reportOf(100, ran("a", Stale, 10, 60, "ssl")), []string{"stale a from 60 for 40"}},
			{reportOf(110, ran("a", Unknown, 10, -1)), nil},
			{reportOf(120, ran("a", Unknown, 10, -1)), []string{"unknown a from 60 for 60"}},
			{reportOf(130, ran("a", Stale, 10, 60, "ssl")), []string{"stale a from 60 for 70"}},
			{reportOf(140), []string{"resolved a from 60 for 80"}},
		}},
		{"no package", nil, []step{
			{reportOf(100, ran("a", Stale, 10, 60)), []string{"stale a from 60 for 40"}},
			{reportOf(120), []string{"resolved a from 60 for 60"}},
		}},
		{"goes on after a restart of the sensor", []store.Exposure{
			{ID: 1, Finding: "a", Manager: "dpkg", Package: "ssl", Arch: "amd64", Loaded: "1", Evidence: "observed", Installed: "2", Opened: second(5)},
		}, []step{
			{reportOf(100, ran("a", Stale, 10, 60, "ssl")), nil},
			{reportOf(110), []string{"resolved a from 5 for 105"}},
		}},
		{"ended while the sensor did not run", []store.Exposure{
			{ID: 1, Finding: "a", Kind: "unit", Workload: "a.service", Manager: "dpkg", Package: "ssl", Arch: "amd64", Loaded: "1", Opened: second(5)},
		}, []step{
			{reportOf(100), []string{"resolved a from 5 for 45 at least"}},
			{reportOf(110), nil},
		}},
		{"more after a restart of the sensor", []store.Exposure{
			{ID: 1, Finding: "a", Manager: "dpkg", Package: "ssl", Arch: "amd64", Loaded: "1", Evidence: "observed", Installed: "2", Opened: second(5)},
		}, []step{
			{reportOf(100, ran("a", Stale, 10, 60, "ssl", "zlib")), []string{"changed a from 5 for 95"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var carried []*store.Exposure
			for i := range c.carried {
				carried = append(carried, &c.carried[i])
			}
			l := newLedger(carried, second(50))
			for i, s := range c.steps {
				var got []string
				for _, e := range l.enter(s.report).events {
					got = append(got, told(e))
				}
				if !slices.Equal(got, s.want) {
					t.Errorf("report %d: got %q, want %q", i+1, got, s.want)
				}
			}
		})
	}
}

// Whatever the reports, each exposure is opened once and closed at most once, after
// it was opened, and those that are open are those of the last report whose state
// was known.
func TestLedgerKeepsAccount(t *testing.T) {
	states := []State{Stale, Missing, Unknown}
	names := []string{"ssl", "zlib", "xml"}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newLedger(nil, time.Time{})
		open := make(map[*store.Exposure]bool)
		for n := range 40 {
			var findings []Finding
			known := make(map[string][]string)
			for _, id := range []string{"a", "b", "c"} {
				if rng.IntN(3) == 0 {
					continue
				}
				state := states[rng.IntN(len(states))]
				var packages []string
				for _, n := range names {
					if state != Unknown && rng.IntN(2) == 0 {
						packages = append(packages, n)
					}
				}
				findings = append(findings, ran(id, state, rng.IntN(20), rng.IntN(60)-1, packages...))
				if state != Unknown {
					known[id] = packages
					if packages == nil {
						known[id] = []string{""}
					}
				} else {
					known[id] = nil
				}
			}
			e := l.enter(reportOf(100+n, findings...))
			for _, x := range e.opened {
				if open[x] || x.Opened.After(second(100+n)) {
					t.Fatalf("seed %d: opened %+v", seed, x)
				}
				open[x] = true
			}
			for _, x := range e.closed {
				if !open[x] || x.Closed.Before(x.Opened) {
					t.Fatalf("seed %d: closed %+v", seed, x)
				}
				delete(open, x)
			}
			have := make(map[string][]string)
			for x := range open {
				have[x.Finding] = append(have[x.Finding], x.Package)
			}
			for id, want := range known {
				slices.Sort(have[id])
				slices.Sort(want)
				if want != nil && !slices.Equal(have[id], want) {
					t.Fatalf("seed %d: %s: open %q, want %q", seed, id, have[id], want)
				}
				delete(have, id)
			}
			if len(have) > 0 {
				t.Fatalf("seed %d: still open %v", seed, have)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	f := ran("a", Stale, 1, 2, "ssl")
	for i := range 30 {
		p := Process{PID: i, Files: make([]File, 60)}
		f.Processes = append(f.Processes, p)
	}
	d := digest(f)
	if len(d.Processes) != 20 || d.ProcessesOmitted != 11 || len(d.Processes[5].Files) != 50 {
		t.Errorf("%d processes, %d omitted, %d files", len(d.Processes), d.ProcessesOmitted, len(d.Processes[5].Files))
	}
	if len(f.Processes) != 31 || len(f.Processes[5].Files) != 60 {
		t.Error("the finding itself was cut")
	}
}

func TestDiff(t *testing.T) {
	list := func(s string) []packageVersion {
		var out []packageVersion
		for _, one := range strings.Fields(s) {
			name, version, _ := strings.Cut(one, "=")
			out = append(out, packageVersion{Manager: "dpkg", Name: name, Arch: "amd64", Version: version})
		}
		return out
	}
	for _, c := range []struct{ before, after, want string }{
		{"a=1 b=1", "a=1 b=1", ""},
		{"a=1 b=1", "a=1 b=2", "b:1>2"},
		{"b=1", "a=1 b=1 c=1", "a:>1 c:>1"},
		{"a=1 b=1 c=1", "b=1", "a:1> c:1>"},
		{"a=1", "b=1", "a:1> b:>1"},
		{"", "a=1", "a:>1"},
		{"a=2", "a=1", "a:2>1"},
		{"k=1 k=2", "k=2 k=3", "k:1>3"},
		{"k=1 k=2", "k=1 k=2 k=3", "k:>3"},
		{"a=1 k=1 k=2", "a=1 k=2", "k:1>"},
		{"k=1 k=2", "k=3 z=1", "k:1> k:2> k:>3 z:>1"},
	} {
		var got []string
		for _, p := range diff(list(c.before), list(c.after)) {
			if p.Source != p.Package || p.Arch != "amd64" || p.Manager != "dpkg" {
				t.Errorf("patch %+v", p)
			}
			got = append(got, p.Package+":"+p.From+">"+p.To)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q to %q: %q, want %q", c.before, c.after, got, c.want)
		}
	}
}

// A database that cannot be read in full tells of what is newer, and of nothing as removed.
func TestDiffOfDamaged(t *testing.T) {
	v := func(name, version string) packageVersion {
		return packageVersion{Manager: "dpkg", Name: name, Arch: "amd64", Version: version}
	}
	before := []packageVersion{v("a", "1"), v("b", "1"), v("c", "1")}
	now := withMissing(before, []packageVersion{v("b", "2"), v("d", "1")})
	if want := []packageVersion{v("a", "1"), v("b", "2"), v("c", "1"), v("d", "1")}; !slices.Equal(now, want) {
		t.Errorf("%v, want %v", now, want)
	}
	var got []string
	for _, p := range diff(before, now) {
		got = append(got, p.Package+":"+p.From+">"+p.To)
	}
	if want := []string{"b:1>2", "d:>1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A look follows soon after the first event; under load the sensor takes no more
// than its share.
func TestPace(t *testing.T) {
	var p pace
	now := time.Now()
	if p.timer() != nil {
		t.Error("there is something to do before anything happened")
	}
	p.schedule(now)
	if p.timer() == nil {
		t.Fatal("nothing is to be done")
	}
	<-p.timer()
	p.done(now, now.Add(50*time.Millisecond))
	if p.timer() != nil {
		t.Error("the same is to be done twice")
	}
	if got := p.next.Sub(now); got < 500*time.Millisecond {
		t.Errorf("the next look may come %s after one of 50 ms", got)
	}
}

// A process that ended while everything was looked at was exposed until then at the most.
func TestExposedUntilLookedFor(t *testing.T) {
	l := newLedger(nil, time.Time{})
	began := time.Unix(1000, 0)
	f := Finding{ID: "a", State: Stale, Reason: Replaced, Packages: []Package{}, Processes: []Process{}}
	l.enter(&Report{ScannedAt: began, Findings: []Finding{f}})
	e := l.enter(&Report{ScannedAt: began.Add(time.Minute), DurationSeconds: 0.5})
	if len(e.closed) != 1 || !e.closed[0].Closed.Equal(began.Add(time.Minute+500*time.Millisecond)) {
		t.Errorf("closed %+v", e.closed)
	}
}
