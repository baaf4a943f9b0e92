package sensor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/track"
	"github.com/patchsensor/patchsensor/internal/workload"
)

// inode is a file as events name it, whatever the view.
type inode struct {
	dev file.Dev
	ino uint64
}

func inodeOf(id file.ID) inode { return inode{id.Dev, id.Ino} }

// seenFile is a file as processes of one view see it: what is current for one may
// have been replaced for another, with the same inode.
type seenFile struct {
	inode
	viewKey
}

// knownFile is what the last judgement says of a file, for processes that come and
// go between two judgements.
type knownFile struct {
	// current says that whoever loads the file by its name now loads what is
	// installed.
	current bool
	// Of a stale one:
	name  string
	since time.Time
	pkg   *Package
	build string
}

// noteStale keeps one judgement for each class that is stale.
func (sc *scan) noteStale(suspects []judgement) {
	for i := range suspects {
		j := &suspects[i]
		if j.verdict.State == Stale && sc.stale[j.class] == nil {
			// The suspects may be cut down yet.
			kept := *j
			sc.stale[j.class] = &kept
		}
	}
}

// knownFiles sums up what the scan says of each file that is mapped.
func (sc *scan) knownFiles(ctx context.Context) map[seenFile]*knownFile {
	known := make(map[seenFile]*knownFile, len(sc.order))
	current := &knownFile{current: true} // nearly all
	for _, c := range sc.order {
		f := &c.facts
		k := current
		j := sc.stale[c]
		switch {
		case f.Shown == Same && f.ByName != Other && !f.CopiedUp:
		case j != nil:
			k = new(knownFile)
			k.name, k.since = text(j.path()), installed(c)
			if e, err := sc.elf(ctx, c.file); err == nil {
				k.build = e.BuildID
			}
			if o := ownerOf(c); o != nil {
				version, evidence := sc.loadedVersion(ctx, c.owners, o.Package, *j)
				t := newTally(nil)
				t.add(c.owners, o.Package, version, evidence, Stale)
				k.pkg = &t.packages(ctx, sc)[0]
			}
		default:
			continue
		}
		as := [...]inode{inodeOf(c.file.id), inodeOf(c.file.info.ID)}
		for i, id := range as {
			if id.ino == 0 || i > 0 && id == as[0] {
				continue
			}
			seen := seenFile{id, c.view.key}
			if before := known[seen]; before == nil || !before.current {
				known[seen] = k
			}
		}
	}
	return known
}

// gatherEnded takes over the processes that have ended. It reports whether the last
// report told of any; the others are left for afterlife.
func (d *daemon) gatherEnded() (reported bool) {
	d.mu.Lock()
	ended := d.state.Ended()
	d.mu.Unlock()
	for i := range ended {
		switch {
		case d.reported[ended[i].Process.PID]:
			reported = true
		case len(d.ended) < maxTransient: // or judging has failed for long
			d.ended = append(d.ended, ended[i])
		}
	}
	return reported
}

// afterlife tells of processes that ran old code after the newer was installed and
// ended before they could be judged. What starts such a process will do so again.
func (d *daemon) afterlife(ctx context.Context) error {
	ended := d.ended
	d.ended = nil
	if len(ended) == 0 {
		return nil
	}
	boot, err := bootTime()
	if err != nil {
		return err
	}
	var late []lateCode
	var parents []int
	for i := range ended {
		e := &ended[i]
		if l := d.oldCode(e, boot); len(l.files) > 0 {
			late = append(late, l)
			parents = append(parents, e.Process.PPID)
		}
	}
	if len(late) == 0 {
		return nil
	}
	// Whose they were is said by what their parents are now.
	if err := d.reread(ctx, parents); err != nil {
		return err
	}
	sc, err := d.scan(ctx, parents, 0)
	if err != nil {
		return err
	}
	defer sc.close()
	actors := sc.actors()
	for i := range late {
		d.tellEnded(ctx, sc, actors, boot, &late[i])
	}
	return nil
}

// lateCode is the old code that a process ran which has ended.
type lateCode struct {
	*track.Ended
	files []File
	known []*knownFile // of files, same order
}

// oldCode finds what a process loaded after something newer was installed.
func (d *daemon) oldCode(e *track.Ended, boot snapshot.BootTime) lateCode {
	l := lateCode{Ended: e}
	for i, m := range e.Process.Mappings {
		if m.At == 0 || m.File == nil {
			continue
		}
		view := viewKey{e.Process.RootKey, e.Process.MntNS}
		k := d.known[seenFile{inodeOf(m.File.ID), view}]
		if k == nil && d.hosts[view] {
			name := ""
			if i < len(e.Names) {
				name = e.Names[i]
			}
			k = d.formerly(m.File, name)
		}
		at := boot.Wall(m.At)
		if k == nil || k.current || k.since.IsZero() || !at.After(k.since.Add(clockSlack)) {
			continue
		}
		f := File{Path: k.name, State: Stale, Reason: Replaced, LoadedBuildID: k.build, LoadedAt: moment(at.Round(time.Microsecond))}
		if k.pkg != nil {
			f.Package = k.pkg.Name
		}
		l.files = append(l.files, f)
		l.known = append(l.known, k)
	}
	return l
}

// formerly recognises a file that no living process had when it was last judged:
// what was observed of it tells which version it was, and its name what took its
// place; nil if that cannot be told. Only the host's names can be followed when the
// process is gone.
func (d *daemon) formerly(f *snapshot.File, name string) *knownFile {
	k := d.mem.byInode(inodeOf(f.ID))
	if k == nil {
		return nil
	}
	// Numbers are used again: the name has to fit or, where none is told, the size.
	name = strings.TrimSuffix(name, deletedMark)
	if name == "" && f.Size != k.File.Size || name != "" && path.Base(k.Path) != path.Base(name) || temporary(name) {
		return nil
	}
	info, err := d.root.Stat(k.Path)
	if err != nil || inodeOf(info.ID) == inodeOf(f.ID) {
		return nil
	}
	pk := d.mem.host
	if pk == nil || pk.db == nil || pk.ask([]string{k.Path}) != nil {
		return nil
	}
	o := pk.owned[k.Path]
	if o == nil || o.Package.Name != k.Name || o.Package.Version == k.Version {
		return nil
	}
	p := &Package{
		Manager: o.Package.Manager, Name: text(k.Name), Source: text(k.Source), Arch: text(k.Arch),
		Loaded: LoadedVersion{text(k.Version), Observed}, Installed: InstalledVersion{Version: text(o.Package.Version)},
	}
	if log, err := pk.db.Changelog(o.Package, k.Version); err == nil {
		ch := summarise(log)
		p.CVEs, p.Urgency = ch.cves, ch.urgency
	}
	return &knownFile{name: text(k.Path), since: info.Ctime, pkg: p, build: k.BuildID}
}

// silence is for how long one workload's short-lived processes are not told of
// again.
const silence = 10 * time.Minute

// tellEnded tells of one process that ended, once in a while for each workload and
// package.
func (d *daemon) tellEnded(ctx context.Context, sc *scan, actors *actors, boot snapshot.BootTime, l *lateCode) {
	p := &l.Process
	w := workload.Bare(workload.Process{PID: p.PID, UID: p.UID, Comm: p.Comm})
	w.Command, w.Target, w.Key = nil, "", ""
	if parent := sc.byPID[p.PPID]; parent != nil && p.PPID > 1 {
		w = *actors.workload(parent)
	}
	f := l.finding(w, boot)
	if a := d.ledger.accounts[f.ID]; a != nil && a.covers(f.Packages) || d.told(f.ID) {
		return
	}
	opened, closed := boot.Wall(l.At).UTC(), boot.Wall(l.At).UTC()
	for i := range l.files {
		if at := l.files[i].LoadedAt; at.Before(opened) {
			opened = *at
		}
	}
	open := Exposure{Opened: opened, Seconds: 0}
	window := Exposure{Opened: opened, Closed: &closed, Seconds: closed.Sub(opened).Seconds()}
	var list entries
	list.events = []Event{
		{Schema: EventSchema, Time: opened, Type: EventStale, Finding: &f, Exposure: &open},
		{Schema: EventSchema, Time: closed, Type: EventResolved, Finding: &f, Exposure: &window},
	}
	for _, x := range exposuresOf(&f, closed) {
		x.Opened, x.Closed, x.AtLeast = opened, closed, false
		list.opened = append(list.opened, &x)
	}
	d.book.write(ctx, list, sc.describe())
}

// finding is what is told of a process that has ended.
func (l *lateCode) finding(w workload.Workload, boot snapshot.BootTime) Finding {
	p := &l.Process
	f := Finding{
		State: Stale, Reason: Replaced, Domain: domainOf("", p.Comm), ID: idOfEnded(w, p),
		Workload: Workload{Kind: string(w.Kind), Name: text(w.Name), Cgroup: text(w.Cgroup)},
		Packages: []Package{},
		Processes: []Process{{
			PID: p.PID, ContainerPID: p.InnerPID, StartTime: boot.Wall(p.Start).Round(time.Millisecond).UTC(),
			EndedAt: moment(boot.Wall(l.At).Round(time.Millisecond)), Comm: text(p.Comm), Exe: text(p.Exe), UID: p.UID, Files: l.files,
		}},
	}
	for _, k := range l.known {
		if f.Since == nil || k.since.Before(*f.Since) {
			f.Since = moment(k.since)
		}
		if k.pkg != nil && !listed(f.Packages, k.pkg) {
			f.Packages = append(f.Packages, *k.pkg)
		}
	}
	f.Remedy = remedy(&f, w)
	f.Remedy.Why = "a process that has ended ran old code, and whatever keeps that is likely to start it again: " + f.Remedy.Why
	return f
}

// told reports whether a finding on ended processes was told a short while ago,
// and takes note that it is told now.
func (d *daemon) told(id string) bool {
	now := time.Now()
	if at, ok := d.transient[id]; ok && now.Sub(at) < silence {
		return true
	}
	if len(d.transient) >= maxTransient {
		clear(d.transient)
	}
	d.transient[id] = now
	return false
}

// maxTransient bounds how many workloads are remembered for their silence.
const maxTransient = 10000

func listed(list []Package, p *Package) bool {
	for i := range list {
		if list[i].Manager == p.Manager && list[i].Name == p.Name && list[i].Arch == p.Arch && list[i].Loaded == p.Loaded {
			return true
		}
	}
	return false
}

// covers reports whether an account already says all this.
func (a *account) covers(packages []Package) bool {
	for i := range packages {
		if !listed(a.finding.Packages, &packages[i]) {
			return false
		}
	}
	return len(packages) > 0
}

// idOfEnded is stable for all processes that one workload starts from the same
// program.
func idOfEnded(w workload.Workload, p *snapshot.Process) string {
	sum := sha256.Sum256([]byte("ended\x00" + string(w.Kind) + "\x00" + w.Key + "\x00" + p.Comm))
	return hex.EncodeToString(sum[:8])
}
