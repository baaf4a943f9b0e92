package sensor

import (
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/store"
)

// ledger keeps account of findings from one report to the next: which appeared,
// changed and were resolved, and for how long each package was exposed. It does no
// I/O: what is to be kept it hands out as entries.
type ledger struct {
	accounts map[string]*account // by the finding's ID
	// unsure are findings of state unknown that only the last report had: what
	// merely raced is not worth an event.
	unsure map[string]bool
	// carried are exposures that were open when the sensor last stopped and that
	// no report has confirmed yet, by finding.
	carried map[string][]*store.Exposure
	seen    time.Time
	wanted  []store.Exposure // of the finding at hand
	round   uint64           // reports that were entered
}

// account is one finding that lasts.
type account struct {
	finding   Finding
	exposures []*store.Exposure // nil for a finding that is unknown
	round     uint64            // of the last report that had it
}

// entries are what a report changed.
type entries struct {
	events  []Event
	opened  []*store.Exposure
	changed []*store.Exposure
	closed  []*store.Exposure
}

// newLedger makes one that goes on with exposures that were open when the sensor
// was last seen at work.
func newLedger(open []*store.Exposure, seen time.Time) *ledger {
	l := &ledger{accounts: make(map[string]*account), unsure: make(map[string]bool), carried: make(map[string][]*store.Exposure), seen: seen}
	for _, x := range open {
		l.carried[x.Finding] = append(l.carried[x.Finding], x)
	}
	return l
}

// enter compares a report with the one before.
func (l *ledger) enter(r *Report) entries {
	var e entries
	now := r.ScannedAt
	// What is not found any more may have ended while it was looked for.
	until := now.Add(time.Duration(r.DurationSeconds * float64(time.Second)))
	unsure := make(map[string]bool)
	l.round++
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.State == Effective {
			continue // it is listed, and no alarm
		}
		a := l.accounts[f.ID]
		was := Effective
		if a != nil {
			was, a.round = a.finding.State, l.round
		}
		switch {
		case f.State == Unknown && was != Unknown && !l.unsure[f.ID] && l.carried[f.ID] == nil:
			unsure[f.ID] = true
		case a == nil:
			l.open(f, now, &e)
		default:
			l.update(a, f, now, &e)
		}
	}
	l.unsure = unsure
	for id, a := range l.accounts {
		if a.round != l.round {
			l.close(a, until, now, &e)
			delete(l.accounts, id)
		}
	}
	for id, list := range l.carried {
		delete(l.carried, id)
		// Those of findings that the report has were taken over. This one ended at some
		// time in which nobody looked: at the earliest then.
		l.close(restored(list), l.seen, now, &e)
	}
	slices.SortStableFunc(e.events, func(a, b Event) int { return strings.Compare(a.Finding.ID, b.Finding.ID) })
	return e
}

// restored is the account of a finding of which only the exposures are left.
func restored(list []*store.Exposure) *account {
	first := list[0]
	a := &account{finding: Finding{
		ID: first.Finding, State: Stale, Domain: Domain(first.Domain),
		Workload: Workload{Kind: first.Kind, Name: first.Workload},
		Remedy:   Remedy{Action: None, Command: []string{}}, Packages: []Package{}, Processes: []Process{},
	}}
	for _, x := range list {
		x.AtLeast = true
		a.exposures = append(a.exposures, x)
		if x.Package == "" {
			continue
		}
		a.finding.Packages = append(a.finding.Packages, Package{
			Manager: x.Manager, Name: x.Package, Arch: x.Arch, CVEs: x.CVEs,
			Loaded: LoadedVersion{x.Loaded, Evidence(x.Evidence)}, Installed: InstalledVersion{Version: x.Installed},
		})
	}
	return a
}

// open begins the account of a finding, or goes on with the one that it had when
// the sensor last stopped.
func (l *ledger) open(f *Finding, now time.Time, e *entries) {
	a := &account{finding: *f, round: l.round}
	l.accounts[f.ID] = a
	carried := l.carried[f.ID]
	delete(l.carried, f.ID)
	a.exposures = append(a.exposures, carried...)
	news := l.expose(a, f, now, e)
	if len(carried) > 0 {
		if news {
			e.tell(EventChanged, a, now)
		}
		return
	}
	e.tell(typeOf(f.State), a, now)
}

func typeOf(s State) EventType {
	switch s {
	case Stale:
		return EventStale
	case Missing:
		return EventMissing
	}
	return EventUnknown
}

func (l *ledger) update(a *account, f *Finding, now time.Time, e *entries) {
	before := a.finding
	a.finding = *f
	news := l.expose(a, f, now, e)
	if !news && alike(&before, f) {
		return
	}
	kind := EventChanged
	if before.State != f.State {
		kind = typeOf(f.State)
	}
	e.tell(kind, a, now)
}

// alike reports whether two findings on one workload say the same to whoever acts
// on them; processes come and go.
func alike(a, b *Finding) bool {
	return a.State == b.State && a.Reason == b.Reason && a.Domain == b.Domain && a.Remedy.Action == b.Remedy.Action &&
		slices.EqualFunc(a.Packages, b.Packages, func(p, q Package) bool {
			return p.Name == q.Name && p.Arch == q.Arch && p.Manager == q.Manager && p.Loaded == q.Loaded && p.Installed == q.Installed
		})
}

// expose brings an account's exposures into line with its finding, and reports
// whether any was opened or closed, or another version was installed.
func (l *ledger) expose(a *account, f *Finding, now time.Time, e *entries) bool {
	l.wanted = appendExposures(l.wanted[:0], f, now)
	wanted := l.wanted
	news := false
	kept := a.exposures[:0] // each is read before its place is written
	for _, x := range a.exposures {
		i := slices.IndexFunc(wanted, func(w store.Exposure) bool { return sameExposure(&w, x) })
		switch {
		case i >= 0:
			w := wanted[i]
			wanted = slices.Delete(wanted, i, i+1)
			if w.Installed != x.Installed || w.Evidence != x.Evidence || !slices.Equal(w.CVEs, x.CVEs) {
				news = news || w.Installed != x.Installed
				x.Installed, x.Evidence, x.CVEs = w.Installed, w.Evidence, w.CVEs
				e.changed = append(e.changed, x)
			}
			kept = append(kept, x)
		case f.State == Unknown:
			// Not knowing closes nothing.
			kept = append(kept, x)
		default:
			x.Closed = now
			e.closed = append(e.closed, x)
			news = true
		}
	}
	clear(a.exposures[len(kept):])
	for i := range wanted {
		x := new(store.Exposure)
		*x = wanted[i]
		e.opened = append(e.opened, x)
		kept = append(kept, x)
		news = true
	}
	a.exposures = kept
	return news
}

func sameExposure(a, b *store.Exposure) bool {
	return a.Manager == b.Manager && a.Package == b.Package && a.Arch == b.Arch && a.Loaded == b.Loaded
}

// exposuresOf are the exposures that a finding means: one for each package, or one
// for files of no package.
func exposuresOf(f *Finding, now time.Time) []store.Exposure { return appendExposures(nil, f, now) }

func appendExposures(list []store.Exposure, f *Finding, now time.Time) []store.Exposure {
	if f.State == Unknown {
		return list
	}
	x := store.Exposure{Finding: f.ID, Domain: string(f.Domain), Kind: f.Workload.Kind, Workload: f.Workload.Name}
	x.Opened, x.AtLeast = openedAt(f, now)
	if len(f.Packages) == 0 {
		return append(list, x)
	}
	for i := range f.Packages {
		p := &f.Packages[i]
		x.Manager, x.Package, x.Arch = p.Manager, p.Name, p.Arch
		x.Loaded, x.Evidence, x.Installed, x.CVEs = p.Loaded.Version, string(p.Loaded.Evidence), p.Installed.Version, p.CVEs
		list = append(list, x)
	}
	return list
}

// openedAt is when both the newer code was installed and the old code ran.
func openedAt(f *Finding, now time.Time) (opened time.Time, atLeast bool) {
	if f.Since == nil {
		return now, true
	}
	opened = *f.Since
	var first time.Time
	for _, p := range f.Processes {
		at := p.StartTime
		for _, file := range p.Files {
			if file.LoadedAt != nil && file.LoadedAt.After(at) {
				at = *file.LoadedAt
			}
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if first.After(opened) {
		opened = first
	}
	if opened.After(now) {
		opened = now
	}
	return opened, false
}

// close closes an account at now, and its exposures at the time given.
func (l *ledger) close(a *account, closed, now time.Time, e *entries) {
	for _, x := range a.exposures {
		x.Closed = closed
		if closed.Before(x.Opened) {
			x.Closed = x.Opened
		}
		e.closed = append(e.closed, x)
	}
	e.tell(EventResolved, a, now)
	if x := e.events[len(e.events)-1].Exposure; x != nil {
		if closed.Before(x.Opened) {
			closed = x.Opened
		}
		x.Closed, x.Seconds = &closed, closed.Sub(x.Opened).Seconds()
	}
}

// An event is read by people and kept for long: it lists this many processes, and
// of each this many files.
const (
	toldProcesses = 20
	toldFiles     = 50
)

// digest is a finding as events tell it.
func digest(f Finding) Finding {
	if n := len(f.Processes) - toldProcesses; n > 0 {
		f.Processes, f.ProcessesOmitted = f.Processes[:toldProcesses], n
	}
	f.Processes = slices.Clone(f.Processes)
	for i := range f.Processes {
		p := &f.Processes[i]
		p.Files = p.Files[:min(len(p.Files), toldFiles)]
	}
	return f
}

// tell adds an event about an account.
func (e *entries) tell(kind EventType, a *account, now time.Time) {
	f := digest(a.finding)
	event := Event{Schema: EventSchema, Time: now, Type: kind, Finding: &f}
	if len(a.exposures) > 0 {
		x := &Exposure{Opened: a.exposures[0].Opened, AtLeast: a.exposures[0].AtLeast}
		for _, other := range a.exposures[1:] {
			if other.Opened.Before(x.Opened) {
				x.Opened, x.AtLeast = other.Opened, other.AtLeast
			}
		}
		if kind == EventResolved {
			closed := now
			x.Closed = &closed
		}
		// A clock that was set back makes it end before it began.
		x.Seconds = max(0, now.Sub(x.Opened).Seconds())
		event.Exposure = x
	}
	e.events = append(e.events, event)
}

// ages are how long the open exposures have lasted, by domain.
func (l *ledger) ages(now time.Time) map[Domain][]time.Duration {
	ages := make(map[Domain][]time.Duration)
	domain, list := Domain(""), make([]time.Duration, 0, len(l.accounts)) // those of one domain after another
	for _, a := range l.accounts {
		for _, x := range a.exposures {
			if d := Domain(x.Domain); d != domain {
				if len(list) > 0 {
					ages[domain], list = list, ages[d]
				}
				domain = d
			}
			list = append(list, now.Sub(x.Opened))
		}
	}
	if len(list) > 0 {
		ages[domain] = list
	}
	return ages
}

// exposed counts the workloads that run an older version of a package than the
// one that a patch brought, and when the first of these exposures began.
func (l *ledger) exposed(manager, name, arch string) (n int, since *time.Time) {
	for _, a := range l.accounts {
		for _, x := range a.exposures {
			if x.Manager != manager || x.Package != name || x.Arch != arch {
				continue
			}
			n++
			if since == nil || x.Opened.Before(*since) {
				opened := x.Opened.UTC()
				since = &opened
			}
			break
		}
	}
	return n, since
}
