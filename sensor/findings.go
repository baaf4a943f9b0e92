package sensor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// report turns verdicts into findings, one for each workload.
func (sc *scan) report(ctx context.Context) *Report {
	r := &Report{
		Schema: Schema, Version: sc.opts.Version, Host: sc.describe(), Source: sc.source,
		Gaps: []Gap{}, Findings: []Finding{},
	}
	sc.openAdvisories()
	sc.age()
	actors := sc.actors()
	// Of workloads of which nothing is to be told groups has nil.
	groups, inside := make(map[string]*group, len(sc.processes)), make(map[string]*group)
	told, unreadable := 0, 0
	for _, p := range sc.processes {
		w := actors.workload(p)
		if w.Container != nil && !strings.HasPrefix(w.Key, monitorKey) {
			if inside[w.Key] == nil {
				inside[w.Key] = newGroup(w)
			}
			inside[w.Key].members = append(inside[w.Key].members, member{p: p})
		}
		m, suspicious := sc.member(ctx, p)
		g, seen := groups[w.Key]
		if suspicious && g == nil {
			g = newGroup(w)
			groups[w.Key] = g
			told++
		} else if !seen {
			groups[w.Key] = nil
		}
		if !suspicious {
			continue
		}
		if p.Err != nil {
			unreadable++
		}
		g.members = append(g.members, m)
	}
	notices := sc.supersede(ctx, groups, inside)
	unreadables := sc.unreadable(groups, inside, notices)
	r.Findings = make([]Finding, 0, len(unreadables)+told+len(inside)+len(notices)+1)
	r.Findings = append(r.Findings, unreadables...)
	for _, g := range groups {
		if g != nil {
			r.Findings = append(r.Findings, sc.finding(ctx, g))
		}
	}
	for _, n := range notices {
		r.Findings = append(r.Findings, sc.noticeFinding(n))
	}
	sc.about = sc.judgeItself(ctx, sc.pageWanted)
	if f, ok := sc.hostFinding(sc.about); ok {
		r.Findings = append(r.Findings, f)
	}
	arrange(r.Findings)
	sc.warnUnreadable(unreadable)
	sc.warnDatabases()
	r.Summary = summary(r.Findings)
	if n := r.Summary.Unknown; n > 0 {
		sc.warnings.add(SubjectFindings, fmt.Errorf("%d workloads could not be judged: see those of state unknown", n), "")
	}
	r.Summary.Workloads = len(groups)
	r.Seen = make([]Seen, 0, len(sc.processes))
	for _, p := range sc.processes {
		if !p.gone {
			r.Seen = append(r.Seen, seenOf(p, actors.workload(p)))
		}
	}
	r.Summary.Processes = len(r.Seen)
	verdict := rebootVerdict(sc.about, r, sc.opts.RebootAbove)
	r.Reboot = &verdict
	if len(r.Seen) == 0 {
		sc.warnings.add(SubjectProcesses, errors.New("there was none to look at"), "is "+sc.fs.Dir()+" a procfs?")
	}
	sc.log.Debug("judged", zap.Int("processes", len(sc.processes)), zap.Int("roots", len(sc.views)),
		zap.Int("files", len(sc.files)), zap.Int("databases_parsed", sc.parsed))
	r.Warnings = sc.warnings.all()
	r.Complete = len(r.Warnings) == 0
	return r
}

// seenOf says what is known of a process that was looked at.
func seenOf(p *process, w *workload.Workload) Seen {
	s := Seen{PID: p.PID, UID: p.UID, Workload: text(w.Name)}
	if c := w.Container; c != nil {
		s.Container, s.ContainerID, s.Image, s.ImageID = text(c.Name), text(c.ID), text(c.Image), text(c.ImageID)
		if c.Pod != nil {
			s.Namespace, s.Pod = text(c.Pod.Namespace), text(c.Pod.Name)
		}
	}
	return s
}

// group is a workload with those of its processes that are not known to be
// current.
type group struct {
	w       *workload.Workload
	members []member
	one     [1]member // for the many groups that have no more
}

func newGroup(w *workload.Workload) *group {
	g := &group{w: w}
	g.members = g.one[:0]
	return g
}

// monitors reports whether it is of those that look after a container.
func (g *group) monitors() bool { return strings.HasPrefix(g.w.Key, monitorKey) }

type member struct {
	p        *process
	suspects []judgement
}

// member says what a process runs that is not known to be current, and false if there is
// nothing to tell of it.
func (sc *scan) member(ctx context.Context, p *process) (member, bool) {
	m := member{p, sc.suspects(ctx, p)}
	sc.noteStale(m.suspects)
	if len(m.suspects) == 0 && p.Err == nil {
		return m, false
	}
	if !sc.present(&m) {
		p.gone = len(m.suspects) > 0
		return m, false
	}
	return m, true
}

// suspects are the loads of a process that are not known to be current.
func (sc *scan) suspects(ctx context.Context, p *process) []judgement {
	var list []judgement
	since := oldest(p).UnixNano()
	for _, c := range p.classes {
		if c.plainUntil <= since {
			continue
		}
		if j := sc.decide(ctx, p, c); j.verdict.State != Effective && j.verdict.State != Ignored {
			list = append(list, j)
		}
	}
	return list
}

// rank orders states by how much they matter to a workload: a restart that would
// fail must be known before anything else.
func rank(s State) int { return slices.Index([]State{Unknown, Stale, Missing}, s) }

// reasonOrder is that of the decision table: of several, the first one names
// the finding.
func reasonOrder() []Reason {
	return []Reason{Replaced, Overwritten, MovedAside, SymlinkSwitched, Superseded, ImageSuperseded, PendingDeployment, KernelOutdated, ModuleReplaced, Microcode, MissingFile, Unreadable, Unresolved, Unverified, Vanished}
}

func (sc *scan) finding(ctx context.Context, g *group) Finding {
	f := Finding{
		State: Unknown, Reason: Unreadable, Workload: workloadOf(g.w),
		Packages: []Package{}, Processes: []Process{},
	}
	if len(g.members) > 1 {
		slices.SortFunc(g.members, func(a, b member) int { return cmp.Compare(a.p.PID, b.p.PID) })
	}
	t := newTally(nil)
	if !g.monitors() {
		t.container = g.w.Container
	}
	f.Processes = make([]Process, 0, len(g.members))
	for _, m := range g.members {
		f.Processes = append(f.Processes, sc.process(ctx, m, t))
	}
	if len(t.reasons) > 0 {
		f.State, f.Reason = t.worst()
	}
	f.Packages = t.packages(ctx, sc)
	f.weigh()
	if !t.since.IsZero() {
		since := t.since.UTC()
		f.Since = &since
	}
	first := g.members[0].p
	f.Domain = domainOf(exeOf(first), first.Comm)
	if f.Domain == DomainHost && t.container != nil {
		f.Domain = DomainImage
	}
	f.ID, f.Drift = sc.id(g, first), t.drift
	f.Remedy = remedy(&f, *g.w)
	if g.w.Container != nil && !g.monitors() && f.State == Stale {
		remedyContainer(&f, *g.w, t)
	}
	return f
}

// workloadOf describes what one would act on.
func workloadOf(w *workload.Workload) Workload {
	out := Workload{Kind: string(w.Kind), Name: text(w.Name), Cgroup: text(w.Cgroup)}
	c := w.Container
	if c == nil {
		return out
	}
	out.Container = &Container{ID: text(c.ID), Name: text(c.Name), Runtime: text(c.Runtime), Image: text(c.Image), ImageID: text(c.ImageID)}
	if p := c.Pod; p != nil {
		out.Pod = &Pod{Namespace: text(p.Namespace), Name: text(p.Name), OwnerKind: text(p.OwnerKind), OwnerName: text(p.OwnerName)}
	}
	return out
}

// id is stable for as long as the workload is the same one; a bare process is
// told from a later one of the same number by its start.
func (sc *scan) id(g *group, first *process) string {
	var room [256]byte
	key := append(append(append(room[:0], g.w.Kind...), 0), g.w.Key...)
	if g.w.Kind == workload.KindProcess {
		key = strconv.AppendInt(append(key, ':'), int64(first.Start/proc.Tick), 10)
	}
	sum := sha256.Sum256(key)
	return string(hex.AppendEncode(room[:0], sum[:8]))
}

// process describes one process of a finding and adds what it runs to the tally.
func (sc *scan) process(ctx context.Context, m member, t *tally) Process {
	p := m.p
	out := Process{
		PID: p.PID, ContainerPID: p.InnerPID, StartTime: p.born.Round(time.Millisecond).UTC(),
		Comm: text(p.Comm), Exe: text(exeOf(p)), UID: p.UID, Files: make([]File, 0, len(m.suspects)),
	}
	for i := range m.suspects {
		j := &m.suspects[i]
		c := j.class
		f := File{Path: text(j.path()), State: j.verdict.State, Reason: j.verdict.Reason}
		if at, ok := p.mappingOf(c); ok && at.At != 0 {
			f.LoadedAt = moment(sc.boot.Wall(at.At).Round(time.Microsecond))
		}
		f.LoadedBuildID, f.InstalledBuildID = sc.buildIDs(ctx, j)
		if f.State != Stale {
			f.Detail = j.verdict.Rule
			if c.err != nil {
				f.Detail += ": " + text(c.err.Error())
			}
		}
		if n := j.newer; n != nil && n.pkg.Name != "" {
			f.Package = text(n.pkg.Name)
			t.add(n.from, n.pkg, n.version, n.evidence, j.verdict.State)
			t.place(sc.layerOf(ctx, t.container, *j), n.pkg, n.version, n.evidence)
		} else if o := ownerOf(c); o != nil && n == nil {
			f.Package = text(o.Package.Name)
			version, evidence := "", EvidenceUnknown
			if j.verdict.State == Stale || j.verdict.State == Missing {
				version, evidence = sc.loadedVersion(ctx, c.owners, o.Package, *j)
			}
			t.add(c.owners, o.Package, version, evidence, j.verdict.State)
			if t.container != nil {
				t.place(sc.layerOf(ctx, t.container, *j), o.Package, version, evidence)
			}
		}
		if ownerOf(c) == nil && j.newer == nil && (j.verdict.State == Stale || j.verdict.State == Missing) {
			for _, m := range sc.moduleLoads(ctx, j) {
				if f.Package == "" {
					f.Package = text(m.pkg.Name)
				}
				t.add(&sc.modules, m.pkg, m.loaded, Embedded, j.verdict.State)
			}
		}
		if t.container != nil && j.newer == nil {
			t.drift = t.drift || sc.drifted(ctx, t.container, *j)
		}
		t.count(j)
		out.Files = append(out.Files, f)
	}
	if len(out.Files) > 1 {
		slices.SortFunc(out.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	}
	return out
}

// ownerOf is the package that a load belongs to: the one that ships what stands
// there now, else the one that lists what is gone.
func ownerOf(c *class) *owner.Owned {
	if c.otherOwner != nil {
		return c.otherOwner
	}
	return c.shownOwner
}

// buildIDs are those of the code that runs and of the file that would be loaded
// now. Of a file that was written over only the latter is left to read.
func (sc *scan) buildIDs(ctx context.Context, j *judgement) (loaded, installed string) {
	c := j.class
	if !c.loadedBuild.known {
		if e, err := sc.elf(ctx, c.file); err == nil {
			c.loadedBuild = knownBuild{e.BuildID, true}
		}
	}
	loaded = c.loadedBuild.id
	if j.newer != nil {
		return loaded, sc.newerBuildID(ctx, *j)
	}
	if j.verdict.Reason == Overwritten || j.verdict.Reason == Unverified {
		return "", loaded
	}
	return loaded, sc.otherBuildID(ctx, c)
}

func (sc *scan) otherBuildID(ctx context.Context, c *class) string {
	if !c.otherOK || !c.other.Regular() || c.otherBuild.known {
		return c.otherBuild.id
	}
	e, err := usable(sc.cache.Facts(ctx, keyOf(c), opener(c)))
	if err != nil {
		return ""
	}
	c.otherBuild = knownBuild{e.BuildID, true}
	return e.BuildID
}

// weight is what findings are ordered by: what must not be restarted first, then by how
// bad what they leave open is, and by how long they have been exposed.
type weight struct {
	// class is less for what comes first, by all but the time.
	class int
	// Since the epoch; what is not known comes last.
	seconds int64
	nanos   int
	of      *Finding
	at      int // in the list
}

func weightOf(f *Finding, at int) weight {
	w := weight{class: -2*rank(f.State) + 1, seconds: math.MaxInt64, of: f, at: at}
	if f.Exploited {
		w.class--
	}
	w.class = w.class*(len(severities)+1) - severityRank(f.Severity)
	if f.Since != nil {
		w.seconds, w.nanos = f.Since.Unix(), f.Since.Nanosecond()
	}
	return w
}

func (w *weight) compare(o *weight) int {
	switch {
	case w.class != o.class:
		return cmp.Compare(w.class, o.class)
	case w.seconds != o.seconds:
		return cmp.Compare(w.seconds, o.seconds)
	case w.nanos != o.nanos:
		return cmp.Compare(w.nanos, o.nanos)
	}
	return cmp.Or(strings.Compare(w.of.Workload.Name, o.of.Workload.Name), strings.Compare(w.of.ID, o.of.ID))
}

// arrange orders findings. They are large, so each is moved once.
func arrange(list []Finding) {
	order := make([]weight, len(list))
	for i := range list {
		order[i] = weightOf(&list[i], i)
	}
	slices.SortFunc(order, func(a, b weight) int { return a.compare(&b) })
	for i := range order {
		if order[i].at == i {
			continue
		}
		// Those that take one another's places form a circle.
		first := list[i]
		for to := i; order[to].at != to; {
			from := order[to].at
			order[to].at = to
			if from == i {
				list[to] = first
				break
			}
			list[to] = list[from]
			to = from
		}
	}
}

// summary counts findings by state and action.
func summary(findings []Finding) Summary {
	var s Summary
	for i := range findings {
		switch findings[i].State {
		case Stale:
			s.Stale++
		case Missing:
			s.Missing++
		case Unknown:
			s.Unknown++
		}
		switch findings[i].Remedy.Action {
		case Restart:
			s.Restart++
		case Redeploy:
			s.Redeploy++
		case Reboot:
			s.Reboot++
		case Reload:
			s.Reload++
		}
	}
	return s
}

func (sc *scan) warnUnreadable(n int) {
	if n == 0 {
		return
	}
	help := "run sensor as root, or with CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE; `sensor doctor` tells what is missing"
	if os.Geteuid() == 0 {
		help = "they refuse even root; `sensor doctor` tells whether a privilege is missing"
	}
	sc.warnings.add(SubjectProcesses, fmt.Errorf("%d could not be read", n), help)
}

// warnDatabases passes on the defects that the package databases met.
func (sc *scan) warnDatabases() {
	for _, pk := range sc.databases {
		if pk.db == nil {
			continue
		}
		for _, err := range pk.db.Problems() {
			var oe *owner.Error
			if errors.As(err, &oe) && !(Warning{Subject: pk.name}).AboutContainers() {
				sc.warnings.add(oe.File, err, "")
			} else {
				sc.warnings.add(pk.name, err, "")
			}
		}
	}
}
