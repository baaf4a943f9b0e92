package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// Finding is what a report says of one process: a sensor.Finding cut down to
// that process, without the values that differ from run to run, which Check
// judges on its own.
type Finding struct {
	PID      int
	Comm     string
	Exe      string
	Workload string // kind
	State    sensor.State
	Reason   sensor.Reason
	Domain   sensor.Domain
	Action   sensor.Action
	Command  []string
	Files    []sensor.File
	Packages []sensor.Package
}

// ByProcess splits the findings of a report that concern the given processes,
// ordered by PID, with files and packages ordered by name. A finding keeps of
// its packages those that the process's files name.
func ByProcess(r *sensor.Report, pids ...int) ([]Finding, error) {
	found := []Finding{}
	for i := range r.Findings {
		f := &r.Findings[i]
		named := make(map[string]bool)
		strangers := 0
		for _, p := range f.Processes {
			if !slices.Contains(pids, p.PID) {
				strangers++
				continue
			}
			one := Finding{
				PID: p.PID, Comm: p.Comm, Exe: p.Exe, Workload: f.Workload.Kind,
				State: f.State, Reason: f.Reason, Domain: f.Domain,
				Action: f.Remedy.Action, Command: f.Remedy.Command,
			}
			for _, file := range p.Files {
				file.LoadedAt, file.Detail = nil, ""
				one.Files = append(one.Files, file)
				named[file.Package] = true
			}
			one.Packages = slices.DeleteFunc(slices.Clone(f.Packages), func(pkg sensor.Package) bool {
				return !part(pkg) && !slices.ContainsFunc(p.Files, func(file sensor.File) bool { return file.Package == pkg.Name })
			})
			found = append(found, one)
		}
		if strangers == len(f.Processes) {
			continue
		}
		if strangers > 0 {
			return nil, fmt.Errorf("finding %s mixes the lab's processes with %d others", f.ID, strangers)
		}
		for _, pkg := range f.Packages {
			if !named[pkg.Name] && !part(pkg) {
				return nil, fmt.Errorf("finding %s names package %s of no file", f.ID, pkg.Name)
			}
		}
	}
	for i := range found {
		slices.SortFunc(found[i].Files, func(a, b sensor.File) int { return cmp.Compare(a.Path, b.Path) })
		slices.SortFunc(found[i].Packages, func(a, b sensor.Package) int { return cmp.Compare(a.Name, b.Name) })
	}
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Compare(a.PID, b.PID) })
	return found, nil
}

// part reports whether a package is something that a program says it was built from, of
// which no file is.
func part(p sensor.Package) bool {
	return p.Manager == "go" || p.Manager == "cargo" || p.Manager == "note"
}

// Check compares what a report says of the given processes with what is
// wanted: exactly those findings, none for the rest.
func Check(t testing.TB, r *sensor.Report, pids []int, want ...Finding) {
	t.Helper()
	got, err := ByProcess(r, pids...)
	if err != nil {
		t.Error(err)
		return
	}
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b Finding) int { return cmp.Compare(a.PID, b.PID) })
	g, w := pretty(t, got), pretty(t, append([]Finding{}, want...))
	if g == w {
		return
	}
	same, g, w := difference(g, w)
	t.Errorf("findings of %d processes: after %d equal lines\n got %s\nwant %s\nwarnings %s", len(pids), same, g, w, pretty(t, r.Warnings))
}

// Matches reports whether Check would have nothing to say.
func Matches(r *sensor.Report, pids []int, want ...Finding) bool {
	got, err := ByProcess(r, pids...)
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b Finding) int { return cmp.Compare(a.PID, b.PID) })
	return err == nil && slices.EqualFunc(got, want, func(a, b Finding) bool { return reflect.DeepEqual(a, b) })
}

// difference cuts the lines off both texts in which they begin and end alike,
// and says how many there were in front.
func difference(a, b string) (front int, onlyA, onlyB string) {
	x, y := strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	for front < min(len(x), len(y)) && x[front] == y[front] {
		front++
	}
	x, y = x[front:], y[front:]
	for len(x) > 0 && len(y) > 0 && x[len(x)-1] == y[len(y)-1] {
		x, y = x[:len(x)-1], y[:len(y)-1]
	}
	return front, strings.Join(x, ""), strings.Join(y, "")
}

func pretty(t testing.TB, v any) string {
	t.Helper()
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// CheckTimes holds the times in the findings of one daemon against what the
// lab knows: since lies in the change that began at changed and ended at done
// (or is not known, where mayLack says so), and the process started when the
// lab started it.
func CheckTimes(t testing.TB, r *sensor.Report, d *Daemon, changed, done time.Time, mayLack bool) {
	t.Helper()
	// Package logs know whole seconds, and the kernel's clock ticks are as
	// long as 10 ms.
	const second, tick = time.Second, 20 * time.Millisecond
	for i := range r.Findings {
		f := &r.Findings[i]
		k := slices.IndexFunc(f.Processes, func(p sensor.Process) bool { return p.PID == d.PID })
		if k < 0 {
			continue
		}
		if start := f.Processes[k].StartTime; start.Before(d.Began.Add(-tick)) || start.After(d.Ready.Add(tick)) {
			t.Errorf("PID %d started between %v and %v, report says %v", d.PID, d.Began.UTC(), d.Ready.UTC(), start)
		}
		switch {
		case f.Since == nil && !mayLack:
			t.Errorf("PID %d: since is null, the change began %v", d.PID, changed.UTC())
		case f.Since == nil:
		case f.Since.Before(changed.Add(-second)) || f.Since.After(done.Add(tick)):
			t.Errorf("PID %d: since is %v, the change was from %v to %v", d.PID, f.Since, changed.UTC(), done.UTC())
		}
	}
}
