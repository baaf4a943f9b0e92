package sensor

import (
	"bytes"
	"fmt"
	"path"
	"sort"
	"strings"
	"time"

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
	var exe []byte
	plan := sc.plan
	ok := sc.inMemory(func(mem *proc.Memory) {
		mem.Reset(p.TID)
		mem.Prefetch(plan.bases(p))
		if p.Aux.ExecFn != 0 {
			exe, _ = mem.String(p.Aux.ExecFn)
		}
		// A list that is cut short by an error is good up to there.
		_ = proc.LinkMap(mem, p.Aux, func(l proc.Linked) {
			n.linked = append(n.linked, linkedName{l.Bias, l.Name})
		})
		plan.learn(p, mem.Fetched())
	})
	if !ok {
		sc.warnings.add(fmt.Sprintf("process %d", p.PID), errStuck, "")
		return loadNames{sc: sc}
	}
	n.exe = sc.executed(p, sc.intern(exe))
	sort.Slice(n.linked, func(i, j int) bool { return n.linked[i].bias < n.linked[j].bias })
	return n
}

// memoryPatience is how long the memory of one process may take. Reading it can
// wait for whoever serves its pages: a file system, or a program by userfaultfd(2).
const memoryPatience = 2 * time.Second

var errStuck = fmt.Errorf("its memory did not answer within %s, so the names by which it loaded its code are not known", memoryPatience)

// inMemory runs read on the memory that is used for one process after another, and
// reports whether it came back. What does not is left behind with its memory.
func (sc *scan) inMemory(read func(*proc.Memory)) bool {
	if sc.reader == nil {
		sc.reader = newMemoryReader()
	}
	sc.reader.work <- read
	timer := time.NewTimer(memoryPatience)
	defer timer.Stop()
	select {
	case <-sc.reader.done:
		return true
	case <-timer.C:
		close(sc.reader.work)
		sc.reader = nil
		sc.plan = newMemoryPlan() // the old one may still be written to
		return false
	}
}

// memoryReader is a goroutine with a memory of its own.
type memoryReader struct {
	work chan func(*proc.Memory)
	done chan struct{}
}

func newMemoryReader() *memoryReader {
	r := &memoryReader{make(chan func(*proc.Memory)), make(chan struct{}, 1)}
	go func() {
		var mem proc.Memory
		for read := range r.work {
			read(&mem)
			r.done <- struct{}{}
		}
	}()
	return r
}

func (r *memoryReader) close() {
	if r != nil {
		close(r.work)
	}
}

// memoryPlan remembers where the names of one program lay, for its next process:
// the same libraries are loaded at the same distances.
type memoryPlan struct {
	programs map[uint64][]planned
	list     []uint64
}

// planned is a page, by its distance from an address that the process tells.
type planned struct {
	anchor int
	delta  uint64
}

func newMemoryPlan() *memoryPlan { return &memoryPlan{programs: make(map[uint64][]planned)} }

const page = 4096

// anchors are addresses in different regions of a process: its program, its stack
// and, as the last of its libraries, the dynamic loader.
func anchors(p *process) [3]uint64 {
	last := p.Mappings[len(p.Mappings)-1].Start
	return [3]uint64{p.Aux.Phdr &^ (page - 1), p.Aux.ExecFn &^ (page - 1), last &^ (page - 1)}
}

func (m *memoryPlan) bases(p *process) []uint64 {
	m.list = m.list[:0]
	if len(p.Mappings) == 0 {
		return nil
	}
	from := anchors(p)
	for _, at := range m.programs[p.Mappings[0].FileKey] {
		m.list = append(m.list, from[at.anchor]+at.delta)
	}
	return m.list
}

func (m *memoryPlan) learn(p *process, fetched []uint64) {
	if len(p.Mappings) == 0 || m.programs[p.Mappings[0].FileKey] != nil {
		return
	}
	from := anchors(p)
	var plan []planned
	for _, base := range fetched {
		best := 0
		for i := range from {
			if distance(base, from[i]) < distance(base, from[best]) {
				best = i
			}
		}
		plan = append(plan, planned{best, base - from[best]})
	}
	m.programs[p.Mappings[0].FileKey] = plan
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

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
