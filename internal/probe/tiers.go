package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"go.uber.org/zap"
)

// The tiers: ways to see executable mappings.
const (
	TierLSM    = "lsm"    // BPF LSM; needs "bpf" among the kernel's active LSMs
	TierFentry = "fentry" // trampolines at the LSM's entry points
	TierKprobe = "kprobe" // the same by breakpoints
	TierPerf   = "perf"   // side band of performance events, without BPF
	// TierSysExit looks at the end of every system call, which it makes slower. It
	// is taken only when it is asked for. What execve itself maps it does not see:
	// the program, which the Exec tells, and its interpreter.
	TierSysExit = "syscall"
	// TierExec sees no mappings, only forks, execs and exits: the caller has to
	// scan from time to time.
	TierExec = "exec"
)

// auto asks for the best tier that works.
const auto = "auto"

// TierResult is one tier and why it is not in use.
type TierResult struct {
	Name string
	Err  error // nil for the one that is in use
}

// Why a tier was not tried.
var (
	ErrBetter   = errors.New("not tried: a better one works")
	ErrOther    = errors.New("not tried: another one was asked for")
	ErrNotAsked = errors.New("not tried: it slows down every system call, so it has to be asked for")
)

// hook is a place in the kernel and the programs for it, best first.
type hook []variant

type variant struct {
	program string
	attach  func(*ebpf.Program) (link.Link, error)
}

func tracing(p *ebpf.Program) (link.Link, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func lsm(p *ebpf.Program) (link.Link, error) {
	return link.AttachLSM(link.LSMOptions{Program: p})
}

func raw(name string) func(*ebpf.Program) (link.Link, error) {
	return func(p *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: p})
	}
}

var errNoKprobes = errors.New("the kernel has no kprobes (CONFIG_KPROBE_EVENTS)")

func kprobe(symbol string) func(*ebpf.Program) (link.Link, error) {
	return func(p *ebpf.Program) (link.Link, error) {
		at, err := link.Kprobe(symbol, p, nil)
		if err != nil {
			// The library goes on to look for tracefs, and complains about that.
			if _, none := os.Stat("/sys/bus/event_source/devices/kprobe"); errors.Is(none, fs.ErrNotExist) {
				return nil, errNoKprobes
			}
		}
		return at, err
	}
}

func tracepoint(name, btf, plain string) hook {
	return hook{{btf, tracing}, {plain, raw(name)}}
}

// tier is a way to see mappings. Those that are no hooks have an open of their own.
type tier struct {
	name  string
	needs string // to be told with errors that do not say it
	asked bool   // taken only when it is asked for
	hooks []hook
	open  func(*Tracer, TracerOptions) (io.Closer, error)
}

// allTiers are all there are, best first.
func allTiers() []tier {
	return []tier{
		{name: TierLSM, hooks: []hook{{{sensorProgLsmMmap, lsm}}, {{sensorProgLsmMprotect, lsm}}}},
		{name: TierFentry, hooks: []hook{{{sensorProgFentryMmap, tracing}}, {{sensorProgFentryMprotect, tracing}}}},
		{name: TierKprobe, hooks: []hook{
			{{sensorProgKprobeMmap, kprobe("security_mmap_file")}},
			{{sensorProgKprobeMprotect, kprobe("security_file_mprotect")}},
		}},
		{name: TierPerf, open: (*Tracer).openSideband},
		{name: TierSysExit, needs: "Linux 5.17", asked: true, hooks: []hook{{{sensorProgSysExit, raw("sys_exit")}}}},
		{name: TierExec},
	}
}

// taskHooks tell of forks, execs and exits, whatever the tier.
func taskHooks() []hook {
	return []hook{
		tracepoint("sched_process_fork", sensorProgForkBtf, sensorProgForkRaw),
		tracepoint("sched_process_exec", sensorProgExecBtf, sensorProgExecRaw),
		tracepoint("sched_process_exit", sensorProgExitBtf, sensorProgExitRaw),
	}
}

// choose attaches the tier that is asked for or the best that works, and notes
// what came of each.
func (t *Tracer) choose(ctx context.Context, o TracerOptions) error {
	for _, tier := range allTiers() {
		err := ctx.Err()
		switch {
		case err != nil:
			return err
		case o.Tier != auto && tier.name != o.Tier:
			err = ErrOther
		case t.tier != "":
			err = ErrBetter
		case o.Tier == auto && tier.asked:
			err = ErrNotAsked
		default:
			if err = t.take(tier, o); err != nil {
				t.log.Info("no such tracking of mappings", zap.String("tier", tier.name), zap.Error(err))
			}
		}
		if err == nil {
			t.tier = tier.name
		}
		t.tiers = append(t.tiers, TierResult{tier.name, err})
		if err != nil && tier.name == o.Tier {
			return fmt.Errorf("tier %s: %w", tier.name, err)
		}
	}
	return nil
}

// take attaches a tier and proves that it tells.
func (t *Tracer) take(tier tier, o TracerOptions) (err error) {
	var attached closers
	defer func() {
		if err != nil {
			t.band = nil
			err = errors.Join(err, attached.Close())
			return
		}
		t.attached = append(t.attached, attached...)
	}()
	for _, h := range tier.hooks {
		at, err := t.loader.attach(h)
		if err != nil && tier.needs != "" {
			return fmt.Errorf("%w; it needs %s", err, tier.needs)
		}
		if err != nil {
			return err
		}
		attached = append(attached, at)
	}
	if tier.open != nil {
		c, err := tier.open(t, o)
		if err != nil {
			return err
		}
		attached = append(attached, c)
	}
	if tier.name == TierExec {
		return nil
	}
	return t.prove()
}

// closers are closed in order.
type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
