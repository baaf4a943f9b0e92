package sensor

import (
	"bytes"
	"path"
	"sort"
	"strings"

	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// loadName is a name by which a file was loaded, as its process has it.
type loadName struct {
	text string
	// guessed says that the directory is only likely.
	guessed bool
}

// absolute makes a name fit to be looked up, or empty. The directory that a
// relative name was relative to may have been left since; it is then taken to be
// the one that the file is in now. Names of the kernel's own file systems name
// descriptors rather than files.
func (n loadName) absolute(shown string) loadName {
	if n.text == "" {
		return loadName{}
	}
	if !strings.HasPrefix(n.text, "/") {
		return loadName{path.Join(path.Dir(shown), path.Base(n.text)), true}
	}
	if under(path.Clean(n.text), "/proc", "/dev", "/sys") {
		return loadName{}
	}
	return n
}

// loadNames are the names by which one process loaded its code, from its own
// memory: they are evidence only together with what they lead to.
type loadNames struct {
	sc     *scan
	exe    loadName
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
			n.exe = sc.executed(p, sc.intern(b))
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
func (n *loadNames) of(m snapshot.Mapping) loadName {
	if m.Exe {
		return n.exe
	}
	if i := n.find(m); i >= 0 {
		return loadName{text: n.sc.intern(n.linked[i].name)}
	}
	return loadName{}
}

// executed is the name given to execve. A relative one was relative to the
// directory that the shell called PWD, symbolic links and all, if it is still
// told so.
func (sc *scan) executed(p *process, name string) loadName {
	if name == "" || strings.HasPrefix(name, "/") {
		return loadName{text: name}
	}
	dir, err := sc.open(p)
	if err != nil {
		return loadName{text: name}
	}
	defer dir.Close()
	env, err := dir.Environ()
	if err != nil {
		return loadName{text: name}
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if pwd, ok := bytes.CutPrefix(v, []byte("PWD=/")); ok {
			return loadName{path.Join("/"+string(pwd), name), true}
		}
	}
	return loadName{text: name}
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
