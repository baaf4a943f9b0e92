package sensor

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// vitals are what is told of the sensor itself. They are written by the worker and
// read by anybody.
type vitals struct {
	mu        sync.Mutex
	started   time.Time
	ready     bool
	describes Host
	summary   *Summary
	reboot    *RebootVerdict
	judgedAt  time.Time
	count     Judgements
	findings  map[FindingKey]int
	ages      map[Domain][]time.Duration
	agesAt    time.Time
	patches   []PatchStatus
	warnings  []Warning
	failure   error
	turned    time.Time // when the worker last came round
	youngOnes []revisit

	stopped chan struct{}
}

// maxYoung bounds the processes that wait to be read once more: beyond it the
// sweep finds what they did.
const maxYoung = 16384

// keptPatches is how many patches the status shows.
const keptPatches = 20

func (v *vitals) young(r revisit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.youngOnes) < maxYoung {
		v.youngOnes = append(v.youngOnes, r)
	}
}

func (v *vitals) takeYoung() []revisit {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := v.youngOnes
	v.youngOnes = nil
	return list
}

func (v *vitals) host() Host {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.describes
}

// judged takes note of a judgement.
func (v *vitals) judged(r *Report, l *ledger, took time.Duration) {
	findings := make(map[FindingKey]int)
	first, last := 0, FindingKey{}
	for i := range r.Findings {
		f := &r.Findings[i]
		// Most have that of the one before.
		if key := (FindingKey{f.State, f.Remedy.Action, f.Domain}); key != last {
			findings[last] += i - first
			first, last = i, key
		}
	}
	findings[last] += len(r.Findings) - first
	delete(findings, FindingKey{})
	now := time.Now()
	ages := l.ages(now)
	v.mu.Lock()
	defer v.mu.Unlock()
	s := r.Summary
	v.summary, v.judgedAt, v.describes, v.reboot = &s, r.ScannedAt, r.Host, r.Reboot
	v.count.Count++
	v.count.Seconds += took.Seconds()
	v.count.LastSeconds = took.Seconds()
	v.findings, v.ages, v.agesAt = findings, ages, now
	v.warnings = r.Warnings
	v.failure = nil
	for i := range v.patches {
		p := &v.patches[i]
		p.Stale, p.Since = l.exposed(p.Manager, p.Package, p.Arch)
	}
}

// patched takes note of patches, the newest last.
func (v *vitals) patched(list []Patch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range list {
		v.patches = append([]PatchStatus{{Patch: p}}, v.patches...)
	}
	if len(v.patches) > keptPatches {
		v.patches = v.patches[:keptPatches:keptPatches]
	}
}

func (v *vitals) failed(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failure = err
}

func (v *vitals) turn() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.turned = time.Now()
}

// patience for the worker: a judgement of the largest machine takes a few seconds.
const workerPatience = time.Minute

// alive reports whether the worker comes round.
func (v *vitals) alive() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d := time.Since(v.turned); d > workerPatience {
		return fmt.Errorf("the sensor has been at one thing for %s", d.Round(time.Second))
	}
	return v.failure
}

// ownCost is the processor time that the sensor has taken, and its resident memory.
func ownCost() (cpu float64, memory uint64) {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err == nil {
		cpu = time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
	}
	// The second number is the resident set, in pages (proc_pid_statm(5)).
	var total, resident uint64
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err := fmt.Sscan(string(b), &total, &resident); err == nil {
			memory = resident * uint64(os.Getpagesize())
		}
	}
	return cpu, memory
}
