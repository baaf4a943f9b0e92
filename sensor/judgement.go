package sensor

import (
	"context"
	"errors"
	"path"
	"time"

	"github.com/patchsensor/patchsensor/internal/proc"
)

// judgement is the verdict on one load of one process.
type judgement struct {
	class   *class
	verdict Verdict
	facts   Facts
}

// decide judges one of a process's loads.
func (sc *scan) decide(ctx context.Context, p *process, c *class) judgement {
	f := c.facts
	f.Started = p.started
	f.LinkChanged = c.linkChanged.After(p.started)
	gone := f.Shown == Gone && f.ByName != Same && f.ByName != Other
	if gone && !f.Kernel {
		f.Needed = c.exe || sc.needed(ctx, p, c)
	}
	v := Decide(f)
	if v.Reason == Unverified || v.Reason == Overwritten {
		f.Truncated = sc.truncated(ctx, p, c)
		v = Decide(f)
	}
	return judgement{c, v, f}
}

// plain reports whether a load is so plainly current that Decide need not be
// asked; it holds for nearly all of them.
func plain(p *process, c *class) bool {
	f := &c.facts
	return f.ByName == Same && f.MappedKnown && !f.Kernel && !f.Mapped.Ctime.After(p.started)
}

// needed reports whether an object that the process loaded names this one as
// needed.
func (sc *scan) needed(ctx context.Context, p *process, c *class) bool {
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.Class == 0 {
		return false
	}
	name := e.Soname
	if name == "" {
		name = path.Base(c.shown)
	}
	for _, other := range p.classes {
		o, err := sc.elf(ctx, other.file)
		if err != nil {
			continue
		}
		for _, n := range o.Needed {
			if n == name || path.Base(n) == path.Base(c.shown) {
				return true
			}
		}
	}
	return false
}

// truncated reports whether the file was truncated after the process loaded it.
// Only an object with RELRO leaves a trace of that.
func (sc *scan) truncated(ctx context.Context, p *process, c *class) Answer {
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.RelroSize == 0 || e.Static {
		return NotKnown
	}
	dir, err := sc.open(p)
	if err != nil {
		return NotKnown
	}
	defer dir.Close()
	for i, m := range p.Mappings {
		if p.classes[i] != c {
			continue
		}
		kept, ok, err := dir.RelocatedBytes(m.Start)
		if err != nil || !ok {
			return NotKnown
		}
		return answer(kept == 0)
	}
	return NotKnown
}

// since is when the code that is newer than the load came to be installed.
func (j judgement) since() time.Time {
	c := j.class
	m := j.facts.Mapped
	switch j.verdict.Reason {
	case Replaced, Superseded:
		// Losing its last name is the last thing that changed the inode.
		if j.facts.MappedKnown && m.Nlink == 0 {
			return m.Ctime
		}
		return installed(c)
	case MovedAside:
		return installed(c)
	case SymlinkSwitched:
		if j.facts.LinkChanged {
			return c.linkChanged
		}
		return installed(c)
	case Overwritten:
		if m.Mtime.After(j.facts.Started) {
			return m.Mtime
		}
		return m.Ctime
	}
	return time.Time{}
}

// installed is when the file on disk was made, as well as its file system knows.
func installed(c *class) time.Time {
	if !c.otherOK {
		return time.Time{}
	}
	if !c.other.Birth.IsZero() {
		return c.other.Birth
	}
	return c.other.Ctime
}

// present reports whether the process of the snapshot still runs.
func (sc *scan) present(p *process) bool {
	return !errors.Is(sc.fs.Verify(p.PID, p.Start), proc.ErrGone)
}
