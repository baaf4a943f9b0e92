package track

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
	sc.inexact = sc.losing || sc.marking || sc.limit.Processes > 0 || sc.delay > time.Millisecond || sc.delay > 0 && (st.begins || st.early)
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

// trailing is how many steps before a failure are shown.
const trailing = 60

func (sc *scenario) note(format string, args ...any) {
	sc.trail = append(sc.trail, fmt.Sprintf("%v ", sc.now)+fmt.Sprintf(format, args...))
}

func (sc *scenario) fail(format string, args ...any) {
	sc.t.Helper()
	sc.t.Logf("%+v, %+v, delay %v, the last of %d steps:\n%s", sc.style, sc.limit, sc.delay, len(sc.trail),
		strings.Join(sc.trail[max(0, len(sc.trail)-trailing):], "\n"))
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
