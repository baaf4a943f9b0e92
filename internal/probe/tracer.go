package probe

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/perf"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// TracerOptions say how to trace. The zero value is sensible.
type TracerOptions struct {
	// Tier is the way to see executable mappings; empty or "auto" is the best that
	// works.
	Tier string
	// RingBytes is the size of the ring between the kernel and this process, a
	// power of two that is at least a page; 0 means 4 MiB.
	RingBytes int
	// PerfPages is the size of each CPU's ring of TierPerf, in pages, a power of
	// two; 0 means perf.DefaultPages.
	PerfPages int
	// Rate is the number of records a second that one process may cause before it
	// is only marked, for a second at first and longer if it goes on; 0 means 2000.
	Rate int
	// Marks is how many processes can be marked at once; 0 means 32768.
	Marks int
	// Log is told what did not work and was done without; nil for nobody.
	Log *zap.Logger

	raw bool // prefer raw_tp to tp_btf, for tests
}

const (
	defaultRing  = 4 << 20
	defaultRate  = 2000
	defaultMarks = 32 << 10
)

func (o TracerOptions) withDefaults() (TracerOptions, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	for _, n := range []struct {
		name  string
		value *int
		usual int
	}{
		{"ring", &o.RingBytes, defaultRing}, {"pages", &o.PerfPages, perf.DefaultPages},
		{"rate", &o.Rate, defaultRate}, {"marks", &o.Marks, defaultMarks},
	} {
		if *n.value == 0 {
			*n.value = n.usual
		}
		if *n.value < 0 {
			return o, fmt.Errorf("%s of %d", n.name, *n.value)
		}
	}
	if o.Tier == "" {
		o.Tier = auto
	}
	if o.Tier != auto && !slices.ContainsFunc(allTiers(), func(t tier) bool { return t.name == o.Tier }) {
		return o, fmt.Errorf("there is no tier %q", o.Tier)
	}
	if page := os.Getpagesize(); bits.OnesCount(uint(o.RingBytes)) != 1 || o.RingBytes < page || o.RingBytes > 1<<30 {
		return o, fmt.Errorf("ring of %d bytes: not a power of two from %d to 1 GiB", o.RingBytes, page)
	}
	return o, nil
}

// Tracer is the loaded and attached programs of bpf/sensor.bpf.c. Nothing is
// pinned: they are gone when the process is. Its methods may be called by any
// number of goroutines.
type Tracer struct {
	log      *zap.Logger
	loader   *loader
	tier     string
	tiers    []TierResult
	ring     *ringbuf.Reader
	band     *sideband // of TierPerf, else nil
	attached closers   // in the order in which they are closed
	marks    *marks
	syncs    syncs
	linger   time.Duration

	malformed atomic.Uint64
	closed    atomic.Bool

	// running is held by Run; what follows is its own.
	running sync.Mutex
	sample  ringbuf.Record
	decoder recordDecoder
	pending []trace.Event // read and not yet due
	ready   []trace.Event // due
	more    bool          // the ring was not read to its end
	watch   lossWatch
	watched time.Duration
}

// OpenTracer loads and attaches the programs. It needs CAP_BPF and CAP_PERFMON
// (or CAP_SYS_ADMIN), kernel BTF and Linux 5.10; with ErrUnavailable the error says
// what was refused. What happens after its return is told by Run, however late that
// is called, or counted as lost.
func OpenTracer(ctx context.Context, o TracerOptions) (*Tracer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	// As in OpenSnapshot.
	_ = rlimit.RemoveMemlock()
	t := &Tracer{
		log: o.Log, decoder: recordDecoder{newInterner()},
		linger: min(lingering, lingering*time.Duration(o.RingBytes)/(1<<20)),
	}
	if err = t.open(ctx, o); err == nil {
		t.loader.settle()
		return t, nil
	}
	return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), t.Close())
}

func (t *Tracer) open(ctx context.Context, o TracerOptions) (err error) {
	if t.loader, err = newLoader(o); err != nil {
		return plain(err)
	}
	if t.ring, err = ringbuf.NewReader(t.loader.maps[sensorMapRing]); err != nil {
		return err
	}
	t.marks = newMarks(t.loader.maps[sensorMapMarks], o.Marks)
	switch found, err := t.loader.run(sensorProgLocate, 0); {
	case err != nil:
		return err
	case found == 0:
		return errors.New("own PID namespace not found")
	}
	for _, h := range taskHooks() {
		if o.raw {
			slices.Reverse(h)
		}
		at, err := t.loader.attach(h)
		if err != nil {
			return err
		}
		t.attached = append(t.attached, at)
	}
	return t.choose(ctx, o)
}

// Tier is the one in use.
func (t *Tracer) Tier() string { return t.tier }

// Tiers are all of them, best first, and why each is not in use.
func (t *Tracer) Tiers() []TierResult { return t.tiers }

// Close detaches and unloads the programs. A Run that goes on ends first.
func (t *Tracer) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	if t.ring != nil {
		t.wake()
	}
	if t.band != nil {
		t.band.interrupt()
	}
	t.running.Lock()
	defer t.running.Unlock()
	all := t.attached
	if t.ring != nil {
		all = append(all, t.ring)
	}
	if t.loader != nil {
		all = append(all, t.loader)
	}
	return all.Close()
}
