package lab

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// ContainerFinding is what a report says of one container, without the values that
// differ from run to run.
type ContainerFinding struct {
	Workload sensor.Workload
	State    sensor.State
	Reason   sensor.Reason
	Domain   sensor.Domain
	Drift    bool
	Action   sensor.Action
	// Packages and the files of Processes are ordered by name, Processes by PID.
	// Evidence is empty in them: any but none.
	Packages  []sensor.Package
	Processes []sensor.Process
	// Forgotten says that a report need not tell the packages' layers: the runtime has no
	// more than the ID of the image that the container was made from.
	Forgotten bool `json:"-"`
}

// concerns reports whether a finding is about the container, which has these processes.
func (c *Container) concerns(f *sensor.Finding, pids []int) bool {
	return f.Workload.Container != nil && f.Workload.Container.ID == c.ID || strings.Contains(f.Workload.Cgroup, c.ID) ||
		slices.ContainsFunc(f.Processes, func(p sensor.Process) bool { return slices.Contains(pids, p.PID) })
}

// FindingsOf are the findings of a report that concern any of the containers: by what
// they say, or by the processes that they name.
func FindingsOf(r *sensor.Report, containers ...*Container) []sensor.Finding {
	pids := PIDs(containers...)
	found := []sensor.Finding{}
	for i := range r.Findings {
		if slices.ContainsFunc(containers, func(c *Container) bool { return c.concerns(&r.Findings[i], pids[c.ID]) }) {
			found = append(found, r.Findings[i])
		}
	}
	return found
}

// CheckContainers compares what a report says of containers with what is wanted:
// exactly those findings, none for the rest.
func CheckContainers(t testing.TB, r *sensor.Report, containers []*Container, want ...ContainerFinding) {
	t.Helper()
	got := []ContainerFinding{}
	for _, f := range FindingsOf(r, containers...) {
		got = append(got, contained(&f))
	}
	want = slices.Clone(want)
	for i := range want {
		want[i] = ordered(want[i])
	}
	forgive(got, want)
	byName := func(list []ContainerFinding) map[string][]ContainerFinding {
		names := make(map[string][]ContainerFinding)
		for _, f := range list {
			names[f.Workload.Name] = append(names[f.Workload.Name], f)
		}
		return names
	}
	g, w := byName(got), byName(want)
	wrong := 0
	for _, name := range slices.Sorted(maps.Keys(merged(g, w))) {
		a, b := pretty(t, g[name]), pretty(t, w[name])
		if a == b {
			continue
		}
		if wrong++; wrong > 3 {
			continue // they are wrong alike, mostly
		}
		same, a, b := difference(a, b)
		t.Errorf("%s: after %d equal lines\n got %s\nwant %s", name, same, a, b)
	}
	if wrong > 0 {
		t.Errorf("findings of %d containers: wrong of %d names; warnings %s", len(containers), wrong, pretty(t, r.Warnings))
	}
}

func merged(a, b map[string][]ContainerFinding) map[string][]ContainerFinding {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func contained(f *sensor.Finding) ContainerFinding {
	c := ordered(ContainerFinding{
		Workload: f.Workload, State: f.State, Reason: f.Reason, Domain: f.Domain, Drift: f.Drift,
		Action: f.Remedy.Action, Packages: f.Packages, Processes: f.Processes,
	})
	for i := range c.Packages {
		if e := &c.Packages[i].Loaded.Evidence; *e != sensor.EvidenceUnknown {
			*e = ""
		}
	}
	for i := range c.Processes {
		p := &c.Processes[i]
		p.StartTime = time.Time{}
		for j := range p.Files {
			p.Files[j].LoadedAt, p.Files[j].Detail = nil, ""
		}
	}
	return c
}

// ordered is a finding with its own lists, in order.
func ordered(c ContainerFinding) ContainerFinding {
	c.Packages = append([]sensor.Package{}, c.Packages...)
	slices.SortFunc(c.Packages, func(a, b sensor.Package) int { return cmp.Compare(a.Name, b.Name) })
	c.Processes = append([]sensor.Process{}, c.Processes...)
	slices.SortFunc(c.Processes, func(a, b sensor.Process) int { return cmp.Compare(a.PID, b.PID) })
	for i := range c.Processes {
		p := &c.Processes[i]
		p.Files = slices.Clone(p.Files)
		slices.SortFunc(p.Files, func(a, b sensor.File) int { return cmp.Compare(a.Path, b.Path) })
	}
	return c
}

// forgive takes out of what is wanted the build IDs of files in newer images where
// what was got has none: two package databases are compared, not the files. So it does
// with layers of forgotten images.
func forgive(got, want []ContainerFinding) {
	type place struct {
		pid  int
		path string
	}
	without := make(map[place]bool)
	layerless := make(map[string]bool) // workloads by name
	for _, f := range got {
		layerless[f.Workload.Name] = !slices.ContainsFunc(f.Packages, func(p sensor.Package) bool { return p.Layer != nil })
		for _, p := range f.Processes {
			for _, file := range p.Files {
				if file.Reason == sensor.ImageSuperseded && file.InstalledBuildID == "" {
					without[place{p.PID, file.Path}] = true
				}
			}
		}
	}
	for _, f := range want {
		for i := range f.Packages {
			if f.Forgotten && layerless[f.Workload.Name] {
				f.Packages[i].Layer = nil
			}
		}
		for _, p := range f.Processes {
			for i := range p.Files {
				if without[place{p.PID, p.Files[i].Path}] {
					p.Files[i].InstalledBuildID = ""
				}
			}
		}
	}
}
