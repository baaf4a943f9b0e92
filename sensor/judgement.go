package sensor

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// judgement is the verdict on one load of one process.
type judgement struct {
	class   *class
	verdict Verdict
	facts   Facts
	newer   *newer // of ImageSuperseded
}

// decide judges one of a process's loads.
func (sc *scan) decide(ctx context.Context, p *process, c *class) judgement {
	f := c.facts
	seen := false
	f.Started, seen = sc.loadedSince(p, c)
	f.LinkChanged = c.linkChanged.After(f.Started)
	changed := f.MappedKnown && f.Mapped.Ctime.After(f.Started)
	f.Renamed = c.renamed && changed
	if (c.guessed || c.bySoname) && f.Shown == Same && f.ByName == Other && !changed && !f.LinkChanged {
		f.ByName, f.Content = Unnamed, NotKnown
	}
	f.Inherited = !seen && p.inherited && f.MappedKnown && f.Mapped.Ctime.After(oldest(p))
	if !f.Kernel && (f.Shown == Gone || f.Unusable) {
		f.WasNeeded, f.Needed = sc.needed(ctx, p, c)
	}
	if f.MappedKnown && (changed || f.Inherited) && (f.ByName == Same || f.Shown == Same) {
		if sc.stacked(c) {
			// A copy in the upper layer has a birth of its own.
			f.Mapped.Birth = time.Time{}
		}
		e, err := sc.elf(ctx, c.file)
		if errors.Is(err, file.ErrChanged) {
			e, err = sc.elfNow(ctx, c.file)
		}
		f.Foreign = err == nil && e.Class == 0 && f.ShownOwned == No
	}
	v := Decide(f)
	if v.Certainty == Likely && v.Reason == Current && (changed || f.Inherited) || v.Reason == Unverified || v.Reason == Overwritten {
		f.Truncated, f.Rewritten = sc.evidence(ctx, p, c)
		v = Decide(f)
	}
	return judgement{class: c, verdict: v, facts: f}
}

// clockSlack is how far the kernel's clock for change times, which ticks at least
// every 10 ms, may lag behind the one by which events are told.
const clockSlack = 20 * time.Millisecond

// loadedSince is the earliest moment at which a process can have loaded a file, and
// whether that was seen.
func (sc *scan) loadedSince(p *process, c *class) (at time.Time, seen bool) {
	m, ok := p.mappingOf(c)
	if !ok || m.At == 0 {
		return p.started, false
	}
	at = sc.boot.Wall(m.At).Add(-clockSlack)
	if at.Before(p.started) {
		return p.started, true
	}
	return at, true
}

// inheritance is how long before its fork the vanished ancestors of a process may
// have loaded its code. Daemons fork twice within a moment of their start; what is
// older than this is not looked into, for that costs a reading of each process.
const inheritance = time.Hour

// oldest is the earliest moment at which the process may have had its code mapped.
func oldest(p *process) time.Time {
	if p.inherited {
		return p.started.Add(-inheritance)
	}
	return p.started
}

// plainUntil is the change time of a file whose loads are so plainly current, if
// they are younger, that Decide need not be asked; that holds for nearly all of them.
func plainUntil(f *Facts) int64 {
	if f.ByName == Same && f.MappedKnown && !f.Kernel && !f.CopiedUp && !f.Orphan {
		return f.Mapped.Ctime.UnixNano()
	}
	return math.MaxInt64
}

// needs are the libraries that the objects of a process name as DT_NEEDED: then,
// in what is loaded, and now, in what stands at their names.
type needs struct{ then, now map[string]bool }

// needed reports whether what is loaded names the file as needed, and whether what
// would be loaded now does.
func (sc *scan) needed(ctx context.Context, p *process, c *class) (then, now bool) {
	if c.exe {
		return true, true
	}
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.Class == 0 {
		return false, false
	}
	if p.needs == nil {
		p.needs = sc.readNeeds(ctx, p)
	}
	for _, name := range []string{e.Soname, path.Base(c.shown), c.shown} {
		then = then || name != "" && p.needs.then[name]
		now = now || name != "" && p.needs.now[name]
	}
	return then, now
}

func (sc *scan) readNeeds(ctx context.Context, p *process) *needs {
	n := &needs{make(map[string]bool), make(map[string]bool)}
	for _, c := range p.classes {
		loaded, err := sc.elf(ctx, c.file)
		if err != nil {
			continue
		}
		for _, name := range loaded.Needed {
			n.then[name] = true
		}
		would := loaded
		if c.facts.ByName == Other || c.facts.Shown == Other {
			if would, err = usable(sc.cache.Facts(ctx, keyOf(c), opener(c))); err != nil {
				would = loaded
			}
		}
		for _, name := range would.Needed {
			n.now[name] = true
		}
	}
	return n
}

// stacked reports whether the file lies on a file system that puts one over
// another.
func (sc *scan) stacked(c *class) bool {
	if c.base == nil {
		return false
	}
	if c.file.id.View == file.LayerView && c.file.id.Dev != c.file.info.ID.Dev {
		return true
	}
	if c.onOverlay == NotKnown {
		fstype, err := c.base.root.FSType(c.shown)
		if err != nil {
			return false
		}
		c.onOverlay = answer(fstype == unix.OVERLAYFS_SUPER_MAGIC)
	}
	return c.onOverlay == Yes
}

// path is the name that a person knows the file by: the kernel's, except where that
// is where the file went, or how one version of it is called.
func (j judgement) path() string {
	switch j.verdict.Reason {
	case MovedAside, SymlinkSwitched:
		return j.class.loadedAs
	case MissingFile:
		if j.facts.Shown == Same {
			return j.class.loadedAs
		}
	}
	return j.class.shown
}

// since is when the code that is newer than the load came to be installed.
func (j judgement) since() time.Time {
	c := j.class
	m := j.facts.Mapped
	switch j.verdict.Reason {
	case Replaced, Superseded, MovedAside:
		// Losing its last name is the last thing that changed the inode; being
		// put in place is, as a rule, the last that changed the new one.
		at := installed(c)
		if j.facts.MappedKnown && m.Nlink == 0 && (at.IsZero() || m.Ctime.Before(at)) {
			at = m.Ctime
		}
		return notBefore(at, j.facts.Started)
	case ImageSuperseded:
		return notBefore(j.newer.created, j.facts.Started)
	case SymlinkSwitched:
		if j.facts.LinkChanged {
			return c.linkChanged
		}
		return notBefore(installed(c), j.facts.Started)
	case Overwritten:
		if m.Mtime.After(j.facts.Started) {
			return m.Mtime
		}
		return m.Ctime
	}
	return time.Time{}
}

// installed is when the file on disk was put there or changed last.
func installed(c *class) time.Time {
	if !c.otherOK {
		return time.Time{}
	}
	return c.other.Ctime
}

// notBefore is at, or start if that is later: a process cannot be exposed before
// it runs.
func notBefore(at, start time.Time) time.Time {
	if !at.IsZero() && at.Before(start) {
		return start
	}
	return at
}

// present reports whether the process of the snapshot still runs, and leaves out
// of its suspects what it does not run any more: a process keeps its number and its
// start when it calls execve.
func (sc *scan) present(m *member) bool {
	if m.p.recent {
		return true
	}
	dir, err := sc.open(m.p)
	if err != nil {
		return !errors.Is(err, proc.ErrGone) || sc.doubt(m.p)
	}
	defer dir.Close()
	still := m.suspects[:0]
	for _, j := range m.suspects {
		at, ok := m.p.mappingOf(j.class)
		if ok && (!unmapped(dir, j.class.file, at) || sc.doubt(m.p)) {
			still = append(still, j)
		}
	}
	m.suspects = still
	return len(still) > 0 || m.p.Err != nil
}

// unmapped reports whether a process no longer has a mapping of the snapshot. One
// that has ended but is not reaped has none either.
func unmapped(dir *proc.Process, l *loaded, m snapshot.Mapping) bool {
	if _, err := dir.NameOf(m); err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	if !m.Exe || !l.known {
		return false
	}
	info, err := dir.StatOf(m)
	return err == nil && info.ID != l.info.ID
}
