package sensor

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// tally sums up what the processes of one workload run. As a rule that is next to
// nothing, for thousands of workloads.
type tally struct {
	reasons []reasoned
	room    [2]reasoned // for reasons, of which there are seldom more
	loads   []packageLoads
	places  map[packageLoad]int // of loads, once there are many
	since   time.Time
	// container is the one that they are in, nil if none; drift says that something newer
	// was put into it.
	container *workload.Container
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

// packageLoads is what is known of one version of a package that runs.
type packageLoads struct {
	packageLoad
	from *packages
	// judged says that something is known of it not to be current.
	judged bool
	layer  *Layer // that shipped it, as far as that is known
}

func newTally(c *workload.Container) *tally {
	t := &tally{container: c}
	t.reasons = t.room[:0]
	return t
}

// fewLoads is up to how many loads are looked through one by one.
const fewLoads = 8

// load is what is known of one version of a package, to be added to.
func (t *tally) load(p owner.Package, version string, evidence Evidence) *packageLoads {
	key := packageLoad{p, version, evidence}
	if t.places == nil {
		for i := range t.loads {
			if t.loads[i].packageLoad == key {
				return &t.loads[i]
			}
		}
	} else if i, ok := t.places[key]; ok {
		return &t.loads[i]
	}
	t.loads = append(t.loads, packageLoads{packageLoad: key})
	last := len(t.loads) - 1
	if last == fewLoads {
		t.places = make(map[packageLoad]int)
		for i := range t.loads {
			t.places[t.loads[i].packageLoad] = i
		}
	} else if t.places != nil {
		t.places[key] = last
	}
	return &t.loads[last]
}

// place notes which layer shipped a file of a package that was added.
func (t *tally) place(l *Layer, p owner.Package, version string, evidence Evidence) {
	if l == nil {
		return
	}
	if at := t.load(p, version, evidence); at.layer == nil {
		at.layer = l
	}
}

func (t *tally) count(j *judgement) {
	if r := (reasoned{j.verdict.State, j.verdict.Reason}); !slices.Contains(t.reasons, r) {
		t.reasons = append(t.reasons, r)
	}
	if since := j.since(); !since.IsZero() && (t.since.IsZero() || since.Before(t.since)) {
		t.since = since
	}
}

func (t *tally) add(pk *packages, p owner.Package, version string, evidence Evidence, state State) {
	l := t.load(p, version, evidence)
	l.from, l.judged = pk, l.judged || state != Unknown
}

// has reports whether anything is in a state for a reason.
func (t *tally) has(state State, reason Reason) bool {
	return slices.Contains(t.reasons, reasoned{state, reason})
}

// worst is the state that decides for the workload, and the first of the
// decision table's reasons for it.
func (t *tally) worst() (State, Reason) {
	state := Unknown
	for _, r := range t.reasons {
		if rank(r.state) > rank(state) {
			state = r.state
		}
	}
	for _, reason := range reasonOrder() {
		if t.has(state, reason) {
			return state, reason
		}
	}
	return state, Unreadable
}

func (t *tally) anyJudged() bool {
	return slices.ContainsFunc(t.loads, func(l packageLoads) bool { return l.judged })
}

// packages describes the packages that run, with what was fixed since.
func (t *tally) packages(ctx context.Context, sc *scan) []Package {
	list := make([]Package, 0, len(t.loads))
	judged := t.anyJudged()
	for i := range t.loads {
		l := &t.loads[i]
		// Beside packages that are stale, those that could not be judged would
		// pass for stale too.
		if judged && !l.judged {
			continue
		}
		p := Package{
			Manager: l.pkg.Manager, Name: text(l.pkg.Name), Source: text(l.pkg.Source), Arch: text(l.pkg.Arch),
			Loaded:    LoadedVersion{text(l.version), l.evidence},
			Installed: InstalledVersion{Version: text(l.pkg.Version)},
			Layer:     l.layer,
		}
		if l.pkg.State != owner.StateInstalled && l.pkg.Version != "" {
			p.Installed.State = text(l.pkg.State)
		}
		if l.version != "" && l.from != nil {
			ch := sc.changesOf(ctx, l.from, l.pkg, l.version)
			p.CVEs, p.Urgency, p.Vulnerabilities = slices.Clone(ch.cves), ch.urgency, slices.Clone(ch.fixed)
		}
		list = append(list, p)
	}
	if len(list) > 1 {
		slices.SortFunc(list, func(a, b Package) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Loaded.Version, b.Loaded.Version))
		})
	}
	return list
}
