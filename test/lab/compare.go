package lab

import (
	"cmp"
	"reflect"
	"slices"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
)

// Told makes a report of what events last said of each workload, so that it can be
// compared like one.
func Told(events []sensor.Event) *sensor.Report {
	last := make(map[string]*sensor.Finding)
	var order []string
	for i := range events {
		f := events[i].Finding
		if f == nil {
			continue
		}
		if last[f.ID] == nil {
			order = append(order, f.ID)
		}
		last[f.ID] = f
		if events[i].Type == sensor.EventResolved {
			delete(last, f.ID)
			order = slices.DeleteFunc(order, func(id string) bool { return id == f.ID })
		}
	}
	r := &sensor.Report{}
	for _, id := range order {
		r.Findings = append(r.Findings, *last[id])
	}
	return r
}

// Same compares two reports as far as they concern the given processes. Times and
// evidence are left out, and versions where one of the two does not know them: a
// sensor that runs knows more of the past than one that looks once.
func Same(t testing.TB, what string, got, want *sensor.Report, pids []int) {
	t.Helper()
	unsure := unsurePackages(got, want)
	g, w := pretty(t, timeless(got, pids, unsure)), pretty(t, timeless(want, pids, unsure))
	if g == w {
		return
	}
	same, g, w := difference(g, w)
	t.Errorf("%s: after %d equal lines\n got %s\nwant %s\nwarnings %s", what, same, g, w, pretty(t, got.Warnings))
}

// Alike is Same without a word.
func Alike(a, b *sensor.Report, pids []int) bool {
	unsure := unsurePackages(a, b)
	return reflect.DeepEqual(timeless(a, pids, unsure), timeless(b, pids, unsure))
}

// packageOf is a package of a finding.
type packageOf struct{ finding, name, arch string }

// unsurePackages are those of which one of the reports does not know the version that
// runs.
func unsurePackages(reports ...*sensor.Report) map[packageOf]bool {
	unsure := make(map[packageOf]bool)
	for _, r := range reports {
		for _, f := range r.Findings {
			for _, p := range f.Packages {
				if p.Loaded.Evidence == sensor.EvidenceUnknown {
					unsure[packageOf{f.ID, p.Name, p.Arch}] = true
				}
			}
		}
	}
	return unsure
}

// timeless are the findings of a report on the given processes without what may
// differ between two looks of which one knows more of the past.
func timeless(r *sensor.Report, pids []int, unsure map[packageOf]bool) []sensor.Finding {
	list := []sensor.Finding{}
	for _, f := range r.Findings {
		if !slices.ContainsFunc(f.Processes, func(p sensor.Process) bool { return slices.Contains(pids, p.PID) }) {
			continue
		}
		f.Since = nil
		f.Packages = slices.Clone(f.Packages)
		for i := range f.Packages {
			p := &f.Packages[i]
			p.Loaded.Evidence = ""
			if unsure[packageOf{f.ID, p.Name, p.Arch}] {
				p.Loaded.Version, p.CVEs, p.Urgency = "", nil, ""
				f.Remedy.Why = "" // it names the version
			}
		}
		f.Processes = slices.Clone(f.Processes)
		for i := range f.Processes {
			p := &f.Processes[i]
			p.Files = slices.Clone(p.Files)
			for j := range p.Files {
				p.Files[j].LoadedAt = nil
			}
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b sensor.Finding) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
