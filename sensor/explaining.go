package sensor

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// Explain looks at every process once and lays open the evidence on one target:
// a PID, the name of a workload ("ssh.service", or "ssh" for short), or the path
// of a file that is loaded. A target to which nothing belongs gives an
// explanation without workloads.
func (s *Sensor) Explain(ctx context.Context, target string) (*Explanation, error) {
	began := time.Now()
	sc, err := s.judge(ctx, false)
	if err != nil {
		return nil, err
	}
	defer sc.close()
	e := sc.explain(ctx, target)
	e.ScannedAt, e.DurationSeconds = began.UTC(), time.Since(began).Seconds()
	return e, nil
}

func (sc *scan) explain(ctx context.Context, target string) *Explanation {
	e := &Explanation{
		Schema: ExplanationSchema, Version: sc.opts.Version, Host: sc.describe(), Source: sc.source,
		Target: text(target), Complete: true, Workloads: []ExplainedWorkload{},
	}
	sc.openAdvisories()
	actors := sc.actors()
	groups := make(map[string]*group)
	var order []string
	for _, p := range sc.processes {
		w := actors.workload(p)
		if !sc.isTarget(p, w, target) {
			continue
		}
		g := groups[w.Key]
		if g == nil {
			g = newGroup(w)
			groups[w.Key] = g
			order = append(order, w.Key)
		}
		g.members = append(g.members, member{p, sc.suspects(ctx, p)})
	}
	// What looks after a container comes after it.
	slices.SortStableFunc(order, func(a, b string) int {
		switch x, y := groups[a].monitors(), groups[b].monitors(); {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	notices := sc.supersede(ctx, groups, groups)
	for _, key := range order {
		g := groups[key]
		sc.ownAll(g)
		x := sc.explainGroup(ctx, g, e)
		for _, n := range notices {
			if n.group == g && x.State == Effective {
				x.Remedy.Why += "; " + text(n.why)
			}
		}
		x.Layers, x.Hints = sc.explainLayers(ctx, g), sc.hints(ctx, g)
		e.Workloads = append(e.Workloads, x)
	}
	sc.warnDatabases()
	e.Warnings = sc.warnings.all()
	e.Complete = e.Complete && len(e.Warnings) == 0
	return e
}

func (sc *scan) isTarget(p *process, w *workload.Workload, target string) bool {
	if pid, err := strconv.Atoi(target); err == nil {
		return p.PID == pid
	}
	if strings.HasPrefix(target, "/") {
		for _, c := range p.classes {
			if c.loadedAs == target || c.shown == target || c.otherPath == target || c.name.text == target {
				return true
			}
		}
		return false
	}
	if c := w.Container; c != nil && (c.Name == target || c.ID == target || len(target) >= 12 && strings.HasPrefix(c.ID, target)) {
		return true
	}
	return w.Name == target || w.Name == target+".service"
}

// ownAll asks who owns every file of a group, not only those under suspicion.
func (sc *scan) ownAll(g *group) {
	byDB := make(map[*packages][]*class)
	for _, m := range g.members {
		for _, c := range m.p.classes {
			if c.base == nil || c.facts.Kernel || c.owners != nil {
				continue
			}
			c.owners = sc.packagesOf(c.base)
			if c.owners.db != nil {
				byDB[c.owners] = append(byDB[c.owners], c)
			}
		}
	}
	for pk, classes := range byDB {
		paths := make([]string, 0, len(classes))
		for _, c := range classes {
			paths = append(paths, c.shown)
		}
		if err := pk.ask(paths); err != nil {
			sc.warnings.add(pk.name, err, "")
			continue
		}
		for _, c := range classes {
			c.shownOwner = pk.owned[c.shown]
		}
	}
}

func (sc *scan) explainGroup(ctx context.Context, g *group, e *Explanation) ExplainedWorkload {
	f := sc.finding(ctx, g)
	out := ExplainedWorkload{Workload: f.Workload, Remedy: f.Remedy, State: f.State, Packages: f.Packages, Processes: []ExplainedProcess{}}
	suspects, unread := 0, 0
	for _, m := range g.members {
		suspects += len(m.suspects)
		if m.p.Err != nil {
			unread++
			e.Complete = false
			sc.warnings.add(fmt.Sprintf("process %d", m.p.PID), m.p.Err, "run sensor as root; `sensor doctor` tells what is missing")
		}
		p := ExplainedProcess{PID: m.p.PID, StartTime: m.p.born.Round(time.Millisecond).UTC(), Comm: text(m.p.Comm), Exe: text(exeOf(m.p)), Loads: []ExplainedLoad{}}
		for _, c := range m.p.classes {
			l := sc.explainLoad(ctx, m.p, m.judgementOf(ctx, sc, c))
			e.Complete = e.Complete && l.State != Unknown
			p.Loads = append(p.Loads, l)
		}
		sort.SliceStable(p.Loads, func(i, j int) bool { return rank(p.Loads[i].State) > rank(p.Loads[j].State) })
		out.Processes = append(out.Processes, p)
	}
	if suspects == 0 && unread == 0 {
		out.State = Effective
		out.Remedy = Remedy{Action: None, Target: out.Remedy.Target, Command: []string{}, Why: "everything it runs is what is installed"}
	}
	return out
}

// judgementOf is that on one load: the one that made it suspect, or what Decide says.
func (m *member) judgementOf(ctx context.Context, sc *scan, c *class) judgement {
	for _, j := range m.suspects {
		if j.class == c {
			return j
		}
	}
	return sc.decide(ctx, m.p, c)
}

func (sc *scan) explainLoad(ctx context.Context, p *process, j judgement) ExplainedLoad {
	c := j.class
	l := ExplainedLoad{
		Path: text(j.path()), LoadedAs: []string{}, State: j.verdict.State, Reason: j.verdict.Reason,
		Rule: j.verdict.Rule, Certainty: j.verdict.Certainty, Evidence: EvidenceUnknown,
		Mapped: sc.mappedFacts(ctx, j),
	}
	for _, name := range []string{c.name.text, c.shown} {
		if name != "" && name != j.path() {
			l.LoadedAs = append(l.LoadedAs, text(name))
		}
	}
	if c.otherOK {
		onDisk := sc.otherFacts(ctx, c)
		l.OnDisk = &onDisk
	} else if j.facts.ByName == Same || j.facts.Shown == Same {
		same := l.Mapped
		same.Path = l.Path
		l.OnDisk = &same
	}
	if o := ownerOf(c); o != nil {
		l.Owner = text(o.Package.Name + " " + o.Package.Version)
		switch {
		case j.verdict.Reason == Current, j.newer != nil:
			// The file that runs is the one which the database names now.
			l.LoadedVersion, l.Evidence = text(o.Package.Version), Observed
		case j.verdict.Reason == Identical:
			l.LoadedVersion, l.Evidence = text(o.Package.Version), Matched
		default:
			version, evidence := sc.loadedVersion(ctx, c.owners, o.Package, j)
			l.LoadedVersion, l.Evidence = text(version), evidence
		}
	}
	if ownerOf(c) == nil && !j.facts.Kernel {
		l.Modules = sc.explainModules(ctx, c.file)
	}
	l.Steps = sc.steps(p, j)
	return l
}

func (sc *scan) mappedFacts(ctx context.Context, j judgement) FileFacts {
	c := j.class
	f := FileFacts{Path: text(c.file.shown)}
	if !c.file.known {
		if j.facts.MappedKnown {
			f = factsOf(f.Path, j.facts.Mapped)
		}
		return f
	}
	f = factsOf(f.Path, c.file.info)
	f.Deleted = c.file.info.Nlink == 0
	f.BuildID, _ = sc.buildIDs(ctx, &j)
	if c.otherOK {
		// Hashed only where there is something to compare with.
		r := sc.ref(c.file)
		if sum, err := sc.cache.SHA256(ctx, r.Key, r.Open); err == nil {
			f.SHA256 = hex.EncodeToString(sum[:])
		}
	}
	return f
}

func (sc *scan) otherFacts(ctx context.Context, c *class) FileFacts {
	f := factsOf(text(c.otherPath), c.other)
	f.BuildID = sc.otherBuildID(ctx, c)
	if c.other.Regular() {
		if sum, err := sc.cache.SHA256(ctx, keyOf(c), opener(c)); err == nil {
			f.SHA256 = hex.EncodeToString(sum[:])
		}
	}
	return f
}

func factsOf(path string, i file.Info) FileFacts {
	return FileFacts{Path: path, Identity: i.ID.String(), Size: i.Size,
		Changed: moment(i.Ctime), Modified: moment(i.Mtime), Born: moment(i.Birth)}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// steps is the chain of evidence in the order in which it was looked at.
func (sc *scan) steps(p *process, j judgement) []string {
	c, f := j.class, j.facts
	var s []string
	add := func(format string, args ...any) { s = append(s, text(fmt.Sprintf(format, args...))) }
	how := "fork of the process"
	if p.ForkNoExec {
		how = "the process was forked without exec, so its code is as old as its ancestor's"
		if p.inherited {
			how += ", which is gone: it may be older than this"
		}
	}
	if m, ok := p.mappingOf(c); ok && m.At != 0 {
		add("mapped at %s, as was seen", sc.boot.Wall(m.At).UTC().Format(time.RFC3339Nano))
	} else {
		add("mapped at the earliest %s (%s)", p.started.UTC().Format(time.RFC3339Nano), how)
	}
	if f.Kernel {
		add("the kernel names the mapping %q, which is not a file of any file system", c.file.shown)
		return s
	}
	add("the kernel names the mapped file %q: %s", c.file.shown, f.Shown)
	if n := c.name.text; n != "" && n != c.shown {
		add("the process loaded it as %q: %s", n, f.ByName)
	}
	if f.LinkChanged {
		add("a symbolic link on that way changed at %s", c.linkChanged.UTC().Format(time.RFC3339Nano))
	}
	if c.otherOK {
		add("at %q now stands %s; same content, by %s: %s", c.otherPath, c.other.ID, c.how, f.Content)
	}
	if f.MappedKnown {
		add("the mapped file is %s, changed at %s, modified at %s, with %d names", f.Mapped.ID,
			f.Mapped.Ctime.UTC().Format(time.RFC3339Nano), f.Mapped.Mtime.UTC().Format(time.RFC3339Nano), f.Mapped.Nlink)
	}
	if f.WriteProtected {
		add("it is the executable, to which this kernel refuses writes while it runs")
	}
	if f.Checksum != NotKnown {
		add("its content is what its package recorded at %s: %s", f.ChecksumRecorded.UTC().Format(time.RFC3339Nano), f.Checksum)
	}
	if f.CopiedUp {
		add("overlayfs copied the file to its upper layer after it was mapped: the process runs the lower one")
	}
	if f.Rewritten != NotKnown {
		add("the file differs from what the process has of its content: %s", f.Rewritten)
	}
	if f.Truncated != NotKnown {
		add("it was truncated after it was loaded, by the process's lost copies of relocated pages: %s", f.Truncated)
	}
	if o := ownerOf(c); o != nil {
		add("%s lists %q in %s %s (%s)", o.Package.Manager, o.Path, o.Package.Name, o.Package.Version, o.Package.State)
	} else if c.owners != nil && c.owners.db != nil {
		add("no package of this root lists it")
	} else if c.owners != nil {
		add("this root has no package database that could be read")
	}
	if n := j.newer; n != nil {
		add("the image that the container's reference names now has %s %s", n.pkg.Name, n.pkg.Version)
	}
	if c.err != nil {
		add("not everything could be seen: %v", c.err)
	}
	return s
}
