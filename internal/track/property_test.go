package track

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// scenario is a machine, a channel that mistreats what it tells, a reader that is
// slow, and the State that has to make sense of it.
type scenario struct {
	*machine
	t     testing.TB
	state *State
	limit Limits
	// delay is how late an event may come.
	delay                      time.Duration
	losing, doubling, refusing bool
	inexact                    bool // not everything is told, or not in time by a source that needs it
	queue                      []queued
	lost, said                 uint64
	reading                    *reading
	kept                       []handed
	trail                      []string
}

type queued struct {
	due   time.Duration
	event trace.Event
}

// reading is a snapshot that is being read, process by process.
type reading struct {
	full  bool
	asked []int
	began time.Duration
	pids  int // how far it is
	list  []snapshot.Process
}

// handed is what Processes returned, and what it looked like then.
type handed struct {
	list []snapshot.Process
	was  string
}

func newScenario(t testing.TB, c choices) *scenario {
	st := styles[c.intn(len(styles))]
	sc := &scenario{t: t, machine: newMachine(c, st, 4+c.intn(16))}
	sc.delay = []time.Duration{0, time.Millisecond, 40 * time.Millisecond}[c.intn(3)]
	if st.starts && !st.begins && c.intn(4) == 0 {
		sc.delay = 3 * time.Second
	}
	sc.losing, sc.doubling, sc.refusing = c.intn(2) == 0, c.intn(2) == 0, c.intn(4) == 0
	sc.marking = c.intn(2) == 0
	if sc.losing {
		sc.slow = int(blind/time.Millisecond) - 5
	}
	switch c.intn(6) {
	case 0:
		sc.limit.Ended = 1 + c.intn(3)
	case 1:
		sc.limit.Processes = 4 + c.intn(8)
	case 2:
		sc.limit.Loads = 40 + c.intn(80)
	}
	sc.inexact = sc.losing || sc.marking || sc.limit.Processes > 0 || sc.delay > 0 && (st.begins || st.early)
	sc.emit = sc.send
	sc.state = New(sc.limit)
	return sc
}

func (sc *scenario) send(e trace.Event) {
	if sc.losing && sc.intn(10) == 0 {
		sc.note("lost %v", show(&e))
		sc.lost++
		return
	}
	sc.enqueue(e)
	if sc.doubling && sc.intn(10) == 0 {
		sc.enqueue(e)
	}
}

func (sc *scenario) enqueue(e trace.Event) {
	due := sc.now
	if sc.delay > 0 {
		due += time.Duration(sc.intn(1000)) * sc.delay / 1000
	}
	sc.queue = append(sc.queue, queued{due, e})
}

// deliver applies the events that are due.
func (sc *scenario) deliver(until time.Duration) {
	slices.SortStableFunc(sc.queue, func(a, b queued) int { return int(a.due - b.due) })
	for len(sc.queue) > 0 && sc.queue[0].due <= until {
		e := sc.queue[0].event
		sc.queue = sc.queue[1:]
		sc.note("apply %v", show(&e))
		sc.state.Apply(e)
		sc.bounds()
	}
}

func (sc *scenario) tellLoss() {
	if sc.lost > sc.said {
		sc.said = sc.lost
		e := trace.Event{Kind: trace.Lost, At: sc.stamp(), Count: uint64(sc.intn(3))}
		sc.note("apply lost at %v", e.At)
		sc.state.Apply(e)
	}
}

func (sc *scenario) collect() {
	began := sc.stamp()
	pids := slices.Sorted(maps.Keys(sc.marks))
	for _, pid := range pids {
		if p := sc.procs[pid]; p == nil || len(p.pending) == 0 {
			delete(sc.marks, pid)
		}
	}
	ended := sc.stamp()
	sc.note("mark %v %v %v", pids, began, ended)
	sc.state.Mark(pids, began, ended)
}

// flush tells everything that there is to be told.
func (sc *scenario) flush() {
	sc.collect()
	sc.deliver(1 << 62)
	sc.tellLoss()
}

func (sc *scenario) startReading() {
	pids, all := sc.state.Dirty()
	r := &reading{full: all || sc.intn(8) == 0, asked: pids, began: sc.stamp()}
	if sc.intn(4) == 0 {
		r.asked = append(r.asked, 1+sc.intn(sc.pids))
	}
	sc.reading = r
	sc.note("read full %v asked %v from %v", r.full, r.asked, r.began)
}

// advance reads the next process, and hands in the reading after the last.
func (sc *scenario) advance() {
	r := sc.reading
	for r.pids++; r.pids <= sc.pids+2; r.pids++ {
		p := sc.procs[r.pids]
		if p == nil || !r.full && !slices.Contains(r.asked, p.pid) {
			continue
		}
		read := sc.read(p)
		if sc.refusing && sc.intn(10) == 0 {
			read = snapshot.Process{PID: p.pid, TID: p.pid, Err: errTestRefused}
		}
		r.list = append(r.list, read)
		return
	}
	sc.reading = nil
	ended := sc.stamp()
	if r.full {
		sc.note("seed %v from %v", pidsOf(r.list), r.began)
		sc.state.Seed(r.list, r.began, ended)
	} else {
		sc.note("update %v %v from %v", r.asked, pidsOf(r.list), r.began)
		sc.state.Update(r.asked, r.list, r.began, ended)
	}
	sc.bounds()
}

func (sc *scenario) step() {
	switch n := sc.intn(64); {
	case n < 28:
		sc.machine.step()
	case n < 44:
		sc.deliver(sc.now)
	case n < 46:
		sc.collect()
	case n < 48:
		sc.tellLoss()
	case n < 56:
		if sc.reading != nil {
			sc.advance()
		} else {
			sc.startReading()
		}
	case n < 57:
		list := sc.state.Processes()
		sc.kept = append(sc.kept, handed{list, fmt.Sprint(deep(list))})
	case n < 58:
		if n, most := len(sc.state.Ended()), sc.limit.Ended; most > 0 && n > most {
			sc.fail("%d ended processes reported, limit %d", n, most)
		}
	case n < 60:
		sc.flush()
		sc.check()
	case n < 62:
		sc.tick(time.Duration(sc.intn(50)) * time.Millisecond)
	default:
		if sc.intn(20) == 0 {
			sc.tick(1500 * time.Millisecond)
		}
	}
	sc.tick(time.Duration(1+sc.intn(2000)) * time.Microsecond)
}

// bounds holds the limits.
func (sc *scenario) bounds() {
	if w := os.Getenv("TRACK_PID"); w != "" {
		pid, _ := strconv.Atoi(w)
		if p := sc.state.processes[pid]; p != nil {
			line := ""
			for _, m := range p.Mappings {
				line += fmt.Sprintf(" %d@%v(%x)", number(m.File), m.At, m.Start)
			}
			sc.note("  %d: read %v touched %v begun %v first %v image %d open %v inh %v |%s", pid, p.read, p.touched, p.begun, p.first, p.image, p.open, p.inherited, line)
			if t := sc.procs[pid]; t != nil {
				sc.note("  truth: %v exe %d", t.loads, t.exe)
			}
		}
	}
	c := sc.state.Count()
	if n := sc.limit.Processes; n > 0 && c.Processes > n {
		sc.fail("%d processes, limit %d", c.Processes, n)
	}
	if n := sc.limit.Loads; n > 0 && c.Loads > n {
		sc.fail("%d loads, limit %d", c.Loads, n)
	}
	pairs := make(map[*snapshot.Mapping]int)
	sc.state.Each(func(p *snapshot.Process, _ Info) {
		if len(p.Mappings) > 0 {
			pairs[&p.Mappings[0]] = len(p.Mappings)
		}
	})
	sum := 0
	for _, n := range pairs {
		sum += n
	}
	if sum != c.Loads {
		sc.fail("%d loads are counted, there are %d", c.Loads, sum)
	}
	if n := len(sc.state.dead.byPID); n > sc.state.limits.Ended {
		sc.fail("%d ended processes remembered", n)
	}
}

// check holds, after everything was told, that what is not dirty is true.
func (sc *scenario) check() {
	if _, all := sc.state.Dirty(); all {
		return
	}
	known := make(map[int]bool)
	dirty := make(map[int]bool)
	pids, _ := sc.state.Dirty()
	for _, pid := range pids {
		dirty[pid] = true
	}
	sc.state.Each(func(p *snapshot.Process, info Info) {
		known[p.PID] = true
		if dirty[p.PID] && !info.Dirty {
			sc.fail("%d is dirty and is not", p.PID)
		}
		if info.Dirty {
			return
		}
		truth := sc.procs[p.PID]
		switch {
		case truth == nil || truth.dead != 0:
			sc.fail("%d is gone, and known as %v", p.PID, deep([]snapshot.Process{*p}))
		case truth.start < p.Start || truth.start > p.Start+p.Uncertainty:
			sc.fail("%d was born at %v, known is %v+%v", p.PID, truth.start, p.Start, p.Uncertainty)
		case p.Err == nil && len(truth.script) == 0: // what it is about to tell cannot be known
			sc.loads(p, truth)
		}
	})
	if sc.limit.Processes > 0 {
		return
	}
	for _, p := range sc.live() {
		if !known[p.pid] && !dirty[p.pid] {
			sc.fail("%d is not known", p.pid)
		}
	}
}

// loads holds that a process that is clean has all its loads, and no others than
// those that it had once.
func (sc *scenario) loads(p *snapshot.Process, truth *modelled) {
	has := make(map[int]bool)
	for _, m := range p.Mappings {
		n := number(m.File)
		if has[n] {
			sc.fail("%d has %d twice", p.PID, n)
		}
		has[n] = true
		times, ever := truth.ever[n]
		if _, now := truth.loads[n]; !ever && !now && n != truth.exe {
			sc.fail("%d never had %d", p.PID, n)
		}
		if m.At == 0 || sc.inexact {
			continue
		}
		if !slices.Contains(times, m.At) {
			sc.fail("%d did not map %d at %v but at %v", p.PID, n, m.At, times)
		}
		if l, ok := truth.loads[n]; ok && m.At > l.at {
			sc.fail("%d mapped %d at %v, known is %v", p.PID, n, l.at, m.At)
		}
	}
	for n := range truth.loads {
		if !has[n] {
			sc.fail("%d lacks %d", p.PID, n)
		}
	}
}

// settleDown lets no more happen and holds that the State finds the truth.
func (sc *scenario) settleDown() {
	for sc.reading != nil {
		sc.advance()
	}
	sc.refusing, sc.losing = false, false
	for _, p := range sc.live() {
		for len(p.script) > 0 {
			p.script[0]()
			p.script = p.script[1:]
		}
	}
	if sc.limit.Processes > 0 || sc.limit.Loads > 0 {
		for _, p := range sc.live()[1:] {
			if len(sc.live()) > 2 {
				sc.exit(p)
			}
		}
	}
	sc.flush()
	sc.tick(2 * settle)
	sc.flush()
	for round := 0; ; round++ {
		pids, all := sc.state.Dirty()
		if !all && len(pids) == 0 {
			break
		}
		if round == 4 {
			sc.fail("still dirty after %d readings: %v %v", round, pids, all)
		}
		sc.reading = &reading{full: all, asked: pids, began: sc.stamp()}
		for sc.reading != nil {
			sc.advance()
		}
		sc.tick(time.Millisecond)
	}
	sc.check()
	if n := sc.state.Count(); n.Processes != len(sc.procs) {
		sc.fail("%d processes are known, there are %d", n.Processes, len(sc.procs))
	}
	sc.reading = &reading{full: true, began: sc.stamp()}
	for sc.reading != nil {
		sc.advance()
	}
	sc.equal()
	revision := sc.state.Revision()
	sc.reading = &reading{full: true, began: sc.stamp()}
	for sc.reading != nil {
		sc.advance()
	}
	if sc.state.Revision() != revision {
		sc.fail("the same reading again changes something")
	}
	for _, h := range sc.kept {
		if fmt.Sprint(deep(h.list)) != h.was {
			sc.fail("what was handed out has changed:\n%v\n%v", deep(h.list), h.was)
		}
	}
}

// equal holds that the State is a full snapshot, but for when files were mapped and
// for births, which it may know better.
func (sc *scenario) equal() {
	var want []snapshot.Process
	for _, p := range sc.live() {
		want = append(want, sc.read(p))
	}
	got := sc.state.Processes()
	for i := range got {
		got[i].Mappings = slices.Clone(got[i].Mappings)
		for j := range got[i].Mappings {
			got[i].Mappings[j].At = 0
		}
		if i < len(want) && got[i].Start >= want[i].Start && got[i].Start+got[i].Uncertainty <= want[i].Start+want[i].Uncertainty {
			got[i].Start, got[i].Uncertainty = want[i].Start, want[i].Uncertainty
		}
	}
	if g, w := fmt.Sprint(deep(got)), fmt.Sprint(deep(want)); g != w {
		sc.fail("after a full snapshot\n%v\nwanted\n%v", g, w)
	}
}

func (sc *scenario) note(format string, args ...any) {
	sc.trail = append(sc.trail, fmt.Sprintf("%v ", sc.now)+fmt.Sprintf(format, args...))
}

func (sc *scenario) fail(format string, args ...any) {
	sc.t.Helper()
	if os.Getenv("TRACK_TRAIL") != "" {
		for _, line := range sc.trail[max(0, len(sc.trail)-400):] {
			sc.t.Log(line)
		}
	}
	sc.t.Logf("%+v, delay %v", sc.style, sc.delay)
	sc.t.Fatalf(format, args...)
}

// deep spells out what is behind the pointers.
func deep(list []snapshot.Process) []string {
	var lines []string
	for _, p := range list {
		mappings := p.Mappings
		p.Mappings = nil
		line := fmt.Sprintf("%+v:", p)
		for _, m := range mappings {
			line += fmt.Sprintf(" {%x-%x %+v %v %v}", m.Start, m.End, *m.File, m.At, m.Exe)
		}
		lines = append(lines, line)
	}
	return lines
}

func pidsOf(list []snapshot.Process) []int {
	var pids []int
	for _, p := range list {
		pids = append(pids, p.PID)
	}
	return pids
}

func show(e *trace.Event) string {
	s := fmt.Sprintf("kind %d at %v pid %d start %v image %d", e.Kind, e.At, e.PID, e.Start, e.Image)
	if e.Process != nil {
		s += fmt.Sprintf(" ppid %d", e.Process.PPID)
	}
	if e.File != nil {
		s += fmt.Sprintf(" file %d", number(e.File))
	}
	return s
}

type random struct{ *rand.Rand }

func (r random) intn(n int) int { return r.IntN(n) }

// TestProperty lets random machines run.
func TestProperty(t *testing.T) {
	seeds, from := 20000, 0
	if testing.Short() {
		seeds = 300
	}
	if s := os.Getenv("TRACK_SEED"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		seeds, from = 1, n
	}
	for seed := from; seed < from+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			sc := newScenario(t, random{rand.New(rand.NewPCG(uint64(seed), 1))})
			for range 100 + sc.intn(600) {
				sc.step()
			}
			sc.settleDown()
		})
	}
}
