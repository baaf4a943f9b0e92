package sensor

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
	"github.com/patchsensor/patchsensor/internal/track"
	"github.com/patchsensor/patchsensor/internal/watch"
	"github.com/patchsensor/patchsensor/internal/workload/inventory"
)

// daemon is a sensor that runs. Events only mark processes dirty; one goroutine,
// the worker, reads those again and judges, so that a lost event costs time and
// never an answer.
type daemon struct {
	*Sensor
	fs     proc.FS
	root   *file.Root // of the worker
	locks  *file.Root // the same, of those who watch package databases
	reader reader
	source string
	tracer *probe.Tracer // nil where nothing can be traced
	watch  *watch.Watcher
	mem    *memory
	// inventory is what the container runtimes say, and remade says that this changed
	// since it was last judged by.
	inventory *inventory.Inventory
	remade    atomic.Bool
	book      *book
	tiers     []Check

	// Guarded by mu: the state is written by whoever delivers events, and read by
	// the worker.
	mu    sync.Mutex
	state *track.State
	gap   openGap

	// woken has a token when there may be something to do.
	woken     chan struct{}
	questions chan *question
	reload    chan LiveOptions

	// Of the worker alone.
	live      LiveOptions
	ledger    *ledger
	names     map[nameKey]*loadNames
	revisits  []revisit
	known     map[seenFile]*knownFile
	hosts     map[viewKey]bool // views that show the host's root
	reported  map[int]bool     // processes of the last report's findings
	ended     []track.Ended    // processes that no report told of, to be judged yet
	packages  []packageVersion // of the host, as last told
	transient map[string]time.Time
	resynced  time.Time // when everything was last read
	watched   map[file.ID]watchedRoot
	// owed says that something that was to be judged could not be: what had been
	// marked for it is not any more.
	owed bool
	// sentinel is what became of the request for a reboot when it was last written down.
	sentinel string
	dropped  uint64 // ended processes that were, when last counted
	pace     pace
	hold     hold

	vitals vitals
}

// question is what somebody waits for.
type question struct {
	target string // of an explanation; a report if empty
	answer chan answerTo
}

type answerTo struct {
	report      *Report
	explanation *Explanation
	err         error
}

// nameKey tells one reading of a process's mappings from another; forks share it.
type nameKey struct {
	mappings *snapshot.Mapping // nil if there are none
	read     time.Duration
}

// revisit is a process that is to be read once more: what a young process does to
// itself without executing anything (another user, root or cgroup) is not told.
type revisit struct {
	at  time.Duration
	pid int
}

// youth is the age from which a process is taken to have settled.
const youth = 2 * time.Second

// deliver takes events from the kernel side.
func (d *daemon) deliver(events []trace.Event) {
	d.mu.Lock()
	for i := range events {
		e := events[i]
		e.File = d.asRead(e.File)
		d.state.Apply(e)
		switch e.Kind {
		case trace.Lost:
			d.gap.lost(time.Now(), e.Why)
		case trace.Fork, trace.Exec:
			d.vitals.young(revisit{e.At + youth, e.PID})
		}
	}
	d.mu.Unlock()
	d.wake()
}

// asRead is a file that an event tells of, numbered as the reader numbers it. The side
// band tells the numbers of /proc/PID/maps; the iterator's are the same, but for files
// of an overlay on newer kernels, and no overlay's numbers are those of a layer.
func (d *daemon) asRead(f *snapshot.File) *snapshot.File {
	if f == nil || f.ID.View != file.MapsView || d.source != SourceBPF {
		return f
	}
	g := *f
	g.ID.View = file.LayerView
	return &g
}

// runtimesChanged takes note that containers or images changed.
func (d *daemon) runtimesChanged() {
	d.remade.Store(true)
	d.wake()
}

func (d *daemon) wake() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// bootNow is the time on CLOCK_BOOTTIME.
func bootNow() time.Duration {
	var t unix.Timespec
	// The clock exists since Linux 2.6.39 and cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano())
}
