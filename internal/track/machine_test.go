package track

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// choices is where a scenario takes its decisions from.
type choices interface {
	// intn returns a number below n.
	intn(n int) int
}

// style is how a source tells what happens.
type style struct {
	starts bool // events tell Start
	images bool // Map, Exec and, if forks, Fork tell Image
	forks  bool
	begins bool // an Image comes before the mappings of a program
	early  bool // Exec comes before the mappings of the program
	keys   bool // the files of events have keys
	ticks  bool // readings tell Start in ticks
}

var styles = []style{
	{starts: true, images: true, forks: true, keys: true},              // BPF
	{starts: true, images: true, keys: true},                           // BPF, counting from the first it sees
	{starts: true, images: true, forks: true, keys: true, ticks: true}, // BPF, read by text
	{early: true, ticks: true},                                         // perf
	{begins: true, starts: true},                                       // perf for mappings, BPF for the rest
	{begins: true, starts: true, images: true, forks: true},            // the same, and BPF counts
}

// load is a file that a process of the model has mapped.
type load struct {
	addr uint64
	at   time.Duration // when that was told
}

// modelled is a process of the model.
type modelled struct {
	pid, ppid int
	start     time.Duration
	image     uint32
	exe       int
	loads     map[int]load
	// ever are the times at which files were told to be mapped by this program.
	ever       map[int][]time.Duration
	forkNoExec bool
	comm       string
	// script is what it does next, before anything else.
	script []func()
	// pending are mappings that were told and not made yet, with their time.
	pending map[int]time.Duration
	// dead is when its memory is gone, 0 while it lives.
	dead time.Duration
}

const modelFiles = 12

// machine is the truth. It tells what happens through emit.
type machine struct {
	choices
	style style
	now   time.Duration
	procs map[int]*modelled
	// free says from when on a number may be taken again.
	free map[int]time.Duration
	pids int
	// slow is the number of milliseconds that a mapping may take.
	slow int
	// content counts the changes of each file.
	content [modelFiles]int64
	addr    uint64
	marks   map[int]bool // the kernel's dirty set
	marking bool
	emit    func(trace.Event)
}

func newMachine(c choices, st style, pids int) *machine {
	m := &machine{choices: c, style: st, now: time.Minute, procs: make(map[int]*modelled),
		free: make(map[int]time.Duration), pids: pids, marks: make(map[int]bool), slow: 200, addr: 0x1000}
	first := &modelled{pid: 1, start: 5 * time.Millisecond, image: 1, comm: "first"}
	first.fresh()
	m.procs[1] = first
	m.insert(first, 0, 0)
	return m
}

func (p *modelled) fresh() {
	p.loads, p.ever, p.pending = make(map[int]load), make(map[int][]time.Duration), make(map[int]time.Duration)
}

func (m *machine) tick(d time.Duration) {
	m.now += d
	for _, pid := range slices.Sorted(maps.Keys(m.procs)) {
		p := m.procs[pid]
		if p.dead != 0 && p.dead <= m.now {
			delete(m.procs, pid)
			m.free[pid] = m.now
			if !m.style.starts || m.style.ticks {
				// Such sources cannot tell holders of a number apart that follow at once.
				m.free[pid] = m.now + 250*time.Millisecond
			}
			continue
		}
		for _, f := range slices.Sorted(maps.Keys(p.pending)) {
			if p.pending[f] <= m.now {
				delete(p.pending, f)
				times := p.ever[f]
				m.insert(p, f, times[len(times)-1])
			}
		}
	}
}

// stamp returns a new time.
func (m *machine) stamp() time.Duration {
	m.tick(time.Microsecond)
	return m.now
}

func (m *machine) insert(p *modelled, f int, at time.Duration) {
	if _, ok := p.loads[f]; !ok {
		m.addr += 0x1000
		p.loads[f] = load{m.addr, at}
	}
}

// live returns the processes that can do something.
func (m *machine) live() []*modelled {
	var list []*modelled
	for _, pid := range slices.Sorted(maps.Keys(m.procs)) {
		if p := m.procs[pid]; p.dead == 0 {
			list = append(list, p)
		}
	}
	return list
}

// step lets something happen.
func (m *machine) step() {
	live := m.live()
	p := live[m.intn(len(live))]
	if len(p.script) > 0 {
		next := p.script[0]
		p.script = p.script[1:]
		next()
		return
	}
	switch n := m.intn(20); {
	case n < 6:
		m.fork(p)
	case n < 9:
		m.exec(p)
	case n < 14:
		m.mmap(p, m.intn(modelFiles))
	case n < 16:
		m.munmap(p)
	case n < 17:
		m.content[m.intn(modelFiles)]++
	case p.pid != 1:
		m.exit(p)
	}
}

func (m *machine) event(p *modelled, kind trace.Kind) trace.Event {
	e := trace.Event{Kind: kind, At: m.stamp(), PID: p.pid}
	if m.style.starts && (kind != trace.Map && kind != trace.Image || !m.style.begins) {
		e.Start = p.start
	}
	if m.style.images && (kind != trace.Fork || m.style.forks) && (kind != trace.Map || !m.style.begins) {
		e.Image = p.image
	}
	if kind == trace.Fork || kind == trace.Exec {
		e.Process = &snapshot.Process{PID: p.pid, PPID: p.ppid, Comm: p.comm, Start: e.Start}
	}
	return e
}

func (m *machine) fork(parent *modelled) {
	pid := 0
	for i, n := 0, m.intn(m.pids); i < m.pids && pid == 0; i++ {
		candidate := 2 + (n+i)%m.pids
		if _, taken := m.procs[candidate]; !taken && m.free[candidate] <= m.now {
			pid = candidate
		}
	}
	if pid == 0 {
		return
	}
	child := &modelled{pid: pid, ppid: parent.pid, start: m.stamp(), image: parent.image, exe: parent.exe,
		loads: maps.Clone(parent.loads), ever: make(map[int][]time.Duration), pending: make(map[int]time.Duration),
		forkNoExec: true, comm: parent.comm}
	for f, times := range parent.ever {
		child.ever[f] = slices.Clone(times)
	}
	m.procs[pid] = child
	m.emit(m.event(child, trace.Fork))
}

func (m *machine) exec(p *modelled) {
	p.fresh()
	p.image++
	p.exe, p.forkNoExec = m.intn(3), false
	p.comm = fmt.Sprintf("program %d", p.exe)
	m.stamp()
	if m.style.early {
		m.emit(m.event(p, trace.Exec))
	}
	if m.style.begins {
		m.emit(m.event(p, trace.Image))
	}
	for _, f := range []int{p.exe, 3, 4 + m.intn(4)} {
		p.script = append(p.script, func() { m.mapped(p, f) })
	}
	if !m.style.early {
		p.script = append(p.script, func() { m.emit(m.event(p, trace.Exec)) })
	}
}

// mapped tells of a mapping and makes it.
func (m *machine) mapped(p *modelled, f int) {
	at := m.told(p, f)
	m.insert(p, f, at)
}

func (m *machine) told(p *modelled, f int) time.Duration {
	e := m.event(p, trace.Map)
	p.ever[f] = append(p.ever[f], e.At)
	if m.marking && m.intn(3) == 0 {
		m.marks[p.pid] = true
		if m.intn(2) == 0 {
			return e.At
		}
	}
	e.File, e.Name = m.eventFile(f), fmt.Sprintf("/lib/%d", f)
	m.emit(e)
	return e.At
}

func (m *machine) mmap(p *modelled, f int) {
	switch m.intn(8) {
	case 0: // takes its time
		m.told(p, f)
		p.pending[f] = m.now + time.Duration(m.intn(m.slow))*time.Millisecond
	case 1: // fails
		m.told(p, f)
	default:
		m.mapped(p, f)
	}
}

func (m *machine) munmap(p *modelled) {
	mapped := slices.Sorted(maps.Keys(p.loads))
	if f := mapped[m.intn(len(mapped))]; f != p.exe {
		delete(p.loads, f)
	}
}

func (m *machine) exit(p *modelled) {
	e := m.event(p, trace.Exit)
	p.dead = m.now + time.Duration(m.intn(5))*time.Millisecond
	m.emit(e)
}

func (m *machine) id(f int) file.ID {
	if m.style.keys {
		return file.LayerID(8<<20|1, uint64(100+f))
	}
	return file.MapsID(8, 1, uint64(100+f))
}

// readFile is a file as readings show it.
func (m *machine) readFile(f int) *snapshot.File {
	return &snapshot.File{Key: uint64(1000 + f), ID: m.id(f), Ctime: 1 + m.content[f], Size: 4096}
}

// eventFile is a file as events show it.
func (m *machine) eventFile(f int) *snapshot.File {
	if m.style.keys {
		return m.readFile(f)
	}
	return &snapshot.File{ID: m.id(f), Path: fmt.Sprintf("/lib/%d", f)}
}

var errTestRefused = errors.New("refused")

// read is a process as a reading shows it at this moment.
func (m *machine) read(p *modelled) snapshot.Process {
	r := snapshot.Process{PID: p.pid, TID: p.pid, PPID: p.ppid, Start: p.start, Comm: p.comm, ForkNoExec: p.forkNoExec}
	if m.style.ticks {
		r.Start, r.Uncertainty = p.start.Truncate(10*time.Millisecond), 10*time.Millisecond
	}
	r.Mappings = append(r.Mappings, snapshot.Mapping{File: m.readFile(p.exe), Exe: true})
	files := slices.SortedFunc(maps.Keys(p.loads), func(a, b int) int { return cmp.Compare(p.loads[a].addr, p.loads[b].addr) })
	for _, f := range files {
		if f != p.exe {
			l := p.loads[f]
			r.Mappings = append(r.Mappings, snapshot.Mapping{Start: l.addr, End: l.addr + 0x800, File: m.readFile(f)})
		}
	}
	return r
}

// number is the file that a File of a state means.
func number(f *snapshot.File) int { return int(f.ID.Ino) - 100 }
