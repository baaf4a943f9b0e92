package sensor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
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
	exe    loadName
	mapped []mappedName // by start, ascending
}

// mappedName is the name of the object in the dynamic loader's list to which the
// mapping at start seems to belong, with that object's load bias.
type mappedName struct {
	start, bias uint64
	text        string
}

// of returns the name by which a process's i-th mapping was loaded, and the bias.
func (n *loadNames) of(i int, m *snapshot.Mapping) (loadName, uint64) {
	if m.Exe {
		return n.exe, 0
	}
	// As a rule the executable comes first and the others in order.
	if i--; i >= 0 && i < len(n.mapped) && n.mapped[i].start == m.Start {
		return loadName{text: n.mapped[i].text}, n.mapped[i].bias
	}
	i, ok := slices.BinarySearchFunc(n.mapped, m.Start, func(a mappedName, start uint64) int { return cmp.Compare(a.start, start) })
	if !ok {
		return loadName{}, 0
	}
	return loadName{text: n.mapped[i].text}, n.mapped[i].bias
}

// patience is how long the memory of one process may take to be read. It can wait
// for whoever serves its pages: a file system, or a program by userfaultfd(2). Where
// several do not answer, somebody means it: the others get less.
const (
	patience  = 2 * time.Second
	impatient = patience / 16
)

var errStuck = errors.New("its memory does not answer, so the names by which it loaded its code are not known")

// readNames reads the names of those processes whose names are not remembered.
// What cannot be read is left out: the kernel's own names then have to do.
func (sc *scan) readNames(ctx context.Context) error {
	var todo []*process
	now := time.Now()
	for _, p := range sc.processes {
		switch {
		case p.names != nil:
		case sc.mem.shuns(p, now):
			sc.nameless(p)
		default:
			todo = append(todo, p)
		}
	}
	wait := patience
	for len(todo) > 0 {
		r := newNameReader(todo)
		go r.run()
		got, stuck := r.wait(ctx, wait)
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range got {
			todo[i].names = &got[i]
			got[i].exe = sc.executed(todo[i], got[i].exe.text)
		}
		todo = todo[len(got):]
		if stuck {
			sc.mem.shun(todo[0], time.Now())
			sc.nameless(todo[0])
			todo = todo[1:]
			wait = max(wait/2, impatient)
		}
	}
	return nil
}

// nameless gives up on the names of a process, for now.
func (sc *scan) nameless(p *process) {
	sc.warnings.add(fmt.Sprintf("process %d", p.PID), errStuck, "")
	p.names = new(loadNames)
	p.key.mappings = nil // not to be remembered
}

// nameReader reads names of one process after another. It is left behind, with all
// that it uses, when one of them does not answer.
type nameReader struct {
	processes []*process
	mem       proc.Memory
	plan      memoryPlan
	names     map[string]string
	linked    []linkedName // of the process at hand, by bias
	done      chan struct{}

	mu   sync.Mutex
	out  []loadNames
	left bool // nobody waits any more
}

// linkedName is an object of the loader's list; its name is in the reader's memory.
type linkedName struct {
	bias uint64
	name []byte
}

func newNameReader(processes []*process) *nameReader {
	return &nameReader{
		processes: processes,
		plan:      memoryPlan{programs: make(map[*snapshot.File][]planned)},
		names:     make(map[string]string),
		done:      make(chan struct{}),
		out:       make([]loadNames, 0, len(processes)),
	}
}

func (r *nameReader) run() {
	defer close(r.done)
	for _, p := range r.processes {
		n := r.read(p)
		r.mu.Lock()
		left := r.left
		if !left {
			r.out = append(r.out, n)
		}
		r.mu.Unlock()
		if left {
			return
		}
	}
}

// wait returns what was read, and whether the next process did not answer in time.
func (r *nameReader) wait(ctx context.Context, patience time.Duration) (out []loadNames, stuck bool) {
	tick := time.NewTicker(patience / 4)
	defer tick.Stop()
	last, since := -1, time.Now()
	for {
		select {
		case <-r.done:
			return r.out, false
		case <-ctx.Done():
		case <-tick.C:
		}
		r.mu.Lock()
		if len(r.out) > last {
			last, since = len(r.out), time.Now()
		}
		if ctx.Err() != nil || time.Since(since) > patience {
			r.left = true
			r.mu.Unlock()
			return r.out, len(r.out) < len(r.processes)
		}
		r.mu.Unlock()
	}
}

func (r *nameReader) read(p *process) loadNames {
	var n loadNames
	if len(p.Mappings) == 0 || p.Aux.Phdr == 0 && p.Aux.ExecFn == 0 {
		return n
	}
	r.mem.Reset(p.TID)
	r.mem.Prefetch(r.plan.bases(p))
	if p.Aux.ExecFn != 0 {
		if b, err := r.mem.String(p.Aux.ExecFn); err == nil {
			n.exe = loadName{text: r.intern(b)}
		}
	}
	r.linked = r.linked[:0]
	// A list that is cut short by an error is good up to there.
	_ = proc.LinkMap(&r.mem, p.Aux, func(l proc.Linked) {
		r.linked = append(r.linked, linkedName{l.Bias, l.Name})
	})
	r.plan.learn(p, &r.mem)
	if len(r.linked) == 0 {
		return n
	}
	n.mapped = r.attribute(p.Mappings)
	return n
}

// attribute finds for each mapping the object of the list to which it seems to
// belong: the one whose bias is the last at or below it.
func (r *nameReader) attribute(mappings []snapshot.Mapping) []mappedName {
	slices.SortFunc(r.linked, func(a, b linkedName) int { return cmp.Compare(a.bias, b.bias) })
	names := make([]mappedName, 0, len(mappings))
	for _, m := range mappings {
		at := sort.Search(len(r.linked), func(i int) bool { return r.linked[i].bias > m.Start }) - 1
		if at >= 0 && !m.Exe {
			names = append(names, mappedName{m.Start, r.linked[at].bias, r.intern(r.linked[at].name)})
		}
	}
	slices.SortFunc(names, func(a, b mappedName) int { return cmp.Compare(a.start, b.start) })
	return names
}

// intern returns the one string for a name that many processes have.
func (r *nameReader) intern(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	r.names[s] = s
	return s
}

// inMemory runs read on a memory of its own and reports whether it came back in
// time. What does not is left behind.
func inMemory(read func(*proc.Memory)) bool {
	done := make(chan struct{})
	go func() {
		var mem proc.Memory
		read(&mem)
		close(done)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// memoryPlan remembers where the names of one program lay, for its next process:
// the same libraries are loaded at the same distances.
type memoryPlan struct {
	programs map[*snapshot.File][]planned
	list     []uint64
}

// planned is a page, by its distance from an address that the process tells.
type planned struct {
	anchor int
	delta  uint64
}

const page = 4096

// anchors are addresses in different regions of a process: its program, its stack
// and, as the last of its libraries, the dynamic loader.
func anchors(p *process) [3]uint64 {
	last := p.Mappings[len(p.Mappings)-1].Start
	return [3]uint64{p.Aux.Phdr &^ (page - 1), p.Aux.ExecFn &^ (page - 1), last &^ (page - 1)}
}

func (m *memoryPlan) bases(p *process) []uint64 {
	m.list = m.list[:0]
	from := anchors(p)
	for _, at := range m.programs[p.Mappings[0].File] {
		m.list = append(m.list, from[at.anchor]+at.delta)
	}
	return m.list
}

func (m *memoryPlan) learn(p *process, mem *proc.Memory) {
	if m.programs[p.Mappings[0].File] != nil {
		return
	}
	from := anchors(p)
	var plan []planned
	for _, base := range mem.Fetched() {
		best := 0
		for i := range from {
			if distance(base, from[i]) < distance(base, from[best]) {
				best = i
			}
		}
		plan = append(plan, planned{best, base - from[best]})
	}
	m.programs[p.Mappings[0].File] = plan
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

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
