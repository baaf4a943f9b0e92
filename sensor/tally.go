package sensor

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// tally sums up what the processes of one workload run.
type tally struct {
	reasons map[reasoned]bool
	loads   map[packageLoad]*packages
	// judged are the loads of which something is known not to be current.
	judged map[packageLoad]bool
	since  time.Time
	// container is the one that they are in, nil if none; layers are those that shipped
	// the packages, and drift says that something newer was put into it.
	container *workload.Container
	layers    map[packageLoad]*Layer
	drift     bool
}

type reasoned struct {
	state  State
	reason Reason
}

// packageLoad is one version of a package that runs.
type packageLoad struct {
	pkg      owner.Package
	version  string
	evidence Evidence
}

func newTally(c *workload.Container) *tally {
	return &tally{
		reasons: make(map[reasoned]bool), loads: make(map[packageLoad]*packages), judged: make(map[packageLoad]bool),
		container: c, layers: make(map[packageLoad]*Layer),
	}
}

// place notes which layer shipped a file of a package.
func (t *tally) place(l *Layer, p owner.Package, version string, evidence Evidence) {
	if key := (packageLoad{p, version, evidence}); l != nil && t.layers[key] == nil {
		t.layers[key] = l
	}
}

func (t *tally) count(j judgement) {
	t.reasons[reasoned{j.verdict.State, j.verdict.Reason}] = true
	if since := j.since(); !since.IsZero() && (t.since.IsZero() || since.Before(t.since)) {
		t.since = since
	}
}

func (t *tally) add(pk *packages, p owner.Package, version string, evidence Evidence, state State) {
	l := packageLoad{p, version, evidence}
	t.loads[l] = pk
	t.judged[l] = t.judged[l] || state != Unknown
}

// worst is the state that decides for the workload, and the first of the
// decision table's reasons for it.
func (t *tally) worst() (State, Reason) {
	state := Unknown
	for r := range t.reasons {
		if rank(r.state) > rank(state) {
			state = r.state
		}
	}
	for _, reason := range reasonOrder() {
		if t.reasons[reasoned{state, reason}] {
			return state, reason
		}
	}
	return state, Unreadable
}

func (t *tally) anyJudged() bool {
	for _, judged := range t.judged {
		if judged {
			return true
		}
	}
	return false
}

// packages describes the packages that run, with what was fixed since.
func (t *tally) packages(ctx context.Context, sc *scan) []Package {
	list := make([]Package, 0, len(t.loads))
	for l, pk := range t.loads {
		// Beside packages that are stale, those that could not be judged would
		// pass for stale too.
		if !t.judged[l] && t.anyJudged() {
			continue
		}
		p := Package{
			Manager: l.pkg.Manager, Name: text(l.pkg.Name), Source: text(l.pkg.Source), Arch: text(l.pkg.Arch),
			Loaded:    LoadedVersion{text(l.version), l.evidence},
			Installed: InstalledVersion{Version: text(l.pkg.Version)},
			Layer:     t.layers[l],
		}
		if l.pkg.State != owner.StateInstalled && l.pkg.Version != "" {
			p.Installed.State = text(l.pkg.State)
		}
		if l.version != "" && pk != nil {
			ch := sc.changesOf(ctx, pk, l.pkg, l.version)
			p.CVEs, p.Urgency, p.Vulnerabilities = slices.Clone(ch.cves), ch.urgency, slices.Clone(ch.fixed)
		}
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		if a.Arch != b.Arch {
			return a.Arch < b.Arch
		}
		return a.Loaded.Version < b.Loaded.Version
	})
	return list
}
