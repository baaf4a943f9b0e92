package sensor

import (
	"sort"

	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// loadNames are the names by which one process loaded its code, from its own
// memory: they are evidence only together with what they lead to.
type loadNames struct {
	sc     *scan
	exe    string
	linked []linkedName // by bias
}

type linkedName struct {
	bias uint64
	name []byte // in the scan's memory, until the next process is looked at
}

// loadedNames reads the names of a process. What cannot be read is left out: the
// kernel's own names then have to do.
func (sc *scan) loadedNames(p *process) loadNames {
	n := loadNames{sc: sc}
	if p.Aux.Phdr == 0 && p.Aux.ExecFn == 0 {
		return n
	}
	sc.memory.Reset(p.TID)
	if p.Aux.ExecFn != 0 {
		if b, err := sc.memory.String(p.Aux.ExecFn); err == nil {
			n.exe = sc.intern(b)
		}
	}
	// A list that is cut short by an error is good up to there.
	_ = proc.LinkMap(&sc.memory, p.Aux, func(l proc.Linked) {
		n.linked = append(n.linked, linkedName{l.Bias, l.Name})
	})
	sort.Slice(n.linked, func(i, j int) bool { return n.linked[i].bias < n.linked[j].bias })
	return n
}

// intern returns the one string for a name that many processes have.
func (sc *scan) intern(b []byte) string {
	if s, ok := sc.names[string(b)]; ok {
		return s
	}
	s := string(b)
	sc.names[s] = s
	return s
}

// of returns the name by which a mapping was loaded, empty if not known.
func (n *loadNames) of(m snapshot.Mapping) string {
	if m.Exe {
		return n.exe
	}
	if i := n.find(m); i >= 0 {
		return n.sc.intern(n.linked[i].name)
	}
	return ""
}

func (n *loadNames) biasOf(m snapshot.Mapping) uint64 {
	if i := n.find(m); i >= 0 {
		return n.linked[i].bias
	}
	return 0
}

// find returns the object whose bias is the last one at or below the mapping.
func (n *loadNames) find(m snapshot.Mapping) int {
	return sort.Search(len(n.linked), func(i int) bool { return n.linked[i].bias > m.Start }) - 1
}
