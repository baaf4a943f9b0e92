package probe

import (
	"fmt"
	"time"

	"github.com/patchsensor/patchsensor/internal/trace"
)

// What Stats.Observed counts.
const (
	ObservedFork      = "fork"
	ObservedExec      = "exec"
	ObservedExit      = "exit"
	ObservedMmap      = "mmap"      // files, with PROT_EXEC
	ObservedMprotect  = "mprotect"  // files, that became executable
	ObservedInvisible = "invisible" // left out: processes outside of the PID namespace
	ObservedRepeated  = "repeated"  // left out: mappings that were told before
)

// Why something was not told: Event.Why of a Lost, and names in Stats.Lost. Those of
// the ring, LostRate and LostArea left a mark on the process.
const (
	LostRingFork  = "ring_fork" // no room in the ring
	LostRingExec  = "ring_exec"
	LostRingExit  = "ring_exit"
	LostRingMap   = "ring_map"
	LostRingImage = "ring_image" // TierPerf: where a program begins
	LostRate      = "rate"       // too many records of one process
	LostArea      = "area"       // TierSysExit: which file was mapped
	LostMark      = "mark"       // no room for a mark
	LostNested    = "nested"     // a program was skipped while it ran already
	LostPerf      = "perf"       // TierPerf: no room in a ring
	LostCPU       = "cpu"        // TierPerf: what ran on a CPU that came online
	LostRecord    = "record"     // a record that does not follow its format
)

// Counters of this side go on where those of bpf/event.h end.
const (
	counterNested = sensorCounterCOUNTERS + iota
	counterPerf
	counterCPU
	counterRecord
	numCounters
)

// tally is the state of all counters.
type tally [numCounters]uint64

// counters are what they are called, and which of them are losses.
var counters = [numCounters]struct {
	name           string
	lost, unmarked bool
}{
	sensorCounterCOUNT_FORK:      {name: ObservedFork},
	sensorCounterCOUNT_EXEC:      {name: ObservedExec},
	sensorCounterCOUNT_EXIT:      {name: ObservedExit},
	sensorCounterCOUNT_MMAP:      {name: ObservedMmap},
	sensorCounterCOUNT_MPROTECT:  {name: ObservedMprotect},
	sensorCounterCOUNT_INVISIBLE: {name: ObservedInvisible},
	sensorCounterCOUNT_REPEATED:  {name: ObservedRepeated},
	sensorCounterCOUNT_LIMITED:   {name: LostRate, lost: true},
	sensorCounterLOST_FORK:       {name: LostRingFork, lost: true},
	sensorCounterLOST_EXEC:       {name: LostRingExec, lost: true},
	sensorCounterLOST_EXIT:       {name: LostRingExit, lost: true},
	sensorCounterLOST_MAP:        {name: LostRingMap, lost: true},
	sensorCounterLOST_BEGIN:      {name: LostRingImage, lost: true},
	sensorCounterLOST_AREA:       {name: LostArea, lost: true},
	sensorCounterLOST_MARK:       {name: LostMark, lost: true, unmarked: true},
	counterNested:                {name: LostNested, lost: true, unmarked: true},
	counterPerf:                  {name: LostPerf, lost: true, unmarked: true},
	counterCPU:                   {name: LostCPU, lost: true, unmarked: true},
	counterRecord:                {name: LostRecord, lost: true, unmarked: true},
}

// Stats counts since OpenTracer, by the names above. Counters never decrease.
type Stats struct {
	Observed, Lost map[string]uint64
}

// Stats returns the counters. After Close those of the kernel are 0.
func (t *Tracer) Stats() Stats {
	now, _ := t.tally()
	s := Stats{make(map[string]uint64), make(map[string]uint64)}
	for i, c := range counters {
		if c.lost {
			s.Lost[c.name] = now[i]
		} else {
			s.Observed[c.name] = now[i]
		}
	}
	return s
}

// tally reads all counters.
func (t *Tracer) tally() (tally, error) {
	var all tally
	all[counterNested] = t.loader.misses()
	all[counterRecord] = t.malformed.Load()
	if t.band != nil {
		t.band.count(&all)
	}
	var cpus []sensorCounters
	if err := t.loader.maps[sensorMapCounts].Lookup(uint32(0), &cpus); err != nil {
		return all, fmt.Errorf("read counters: %w", err)
	}
	all[sensorCounterLOST_MARK] = t.marks.lost.Load()
	for _, cpu := range cpus {
		for i, n := range cpu.Of {
			all[i] += n
		}
	}
	return all, nil
}

// moved appends a Lost event for every loss that is new since the last call.
func (l *lossWatch) moved(events []trace.Event, now tally, at time.Duration) []trace.Event {
	for i, c := range counters {
		if c.lost && now[i] > l.last[i] {
			events = append(events, trace.Event{Kind: trace.Lost, At: at, Count: now[i] - l.last[i], Why: c.name})
		}
	}
	l.last = now
	return events
}

// lossWatch remembers which losses were told.
type lossWatch struct{ last tally }

// unmarked sums up what did not even leave a mark.
func (t tally) unmarked() uint64 {
	var n uint64
	for i, c := range counters {
		if c.unmarked {
			n += t[i]
		}
	}
	return n
}
