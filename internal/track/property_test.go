package track

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// bounds holds the limits.
func (sc *scenario) bounds() {
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
		case p.Err == nil && (truth.start < p.Start || truth.start > p.Start+p.Uncertainty):
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
		// Where the first image that is told may be that of another program, a time
		// may be that of the program before.
		if !slices.Contains(times, m.At) && (sc.style.forks || !sc.style.images) {
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

type random struct{ *rand.Rand }

func (r random) intn(n int) int { return r.IntN(n) }

// TestProperty lets random machines run.
func TestProperty(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			sc := newScenario(t, random{rand.New(rand.NewPCG(seed, 1))})
			for range 100 + sc.intn(600) {
				sc.step()
			}
			sc.settleDown()
		})
	}
}

// script takes its choices from bytes, and chooses 0 when there are no more.
type script struct{ rest []byte }

func (s *script) intn(n int) int {
	value := 0
	for most := 1; most < n; most <<= 8 {
		if len(s.rest) > 0 {
			value = value<<8 | int(s.rest[0])
			s.rest = s.rest[1:]
		}
	}
	return value % n
}

// FuzzTrack lets machines run that do what bytes say.
func FuzzTrack(f *testing.F) {
	for seed := range uint64(20) {
		b := make([]byte, 1000)
		for i, r := 0, rand.New(rand.NewPCG(seed, 2)); i < len(b); i++ {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		choices := &script{b[:min(len(b), 4<<10)]}
		sc := newScenario(t, choices)
		for len(choices.rest) > 0 {
			sc.step()
		}
		sc.settleDown()
	})
}
