package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/probe"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// The sources of a snapshot, best first.
const (
	SourceAuto    = "auto"
	SourceBPF     = "bpf"     // one in-kernel pass by the task_vma iterator
	SourceProcmap = "procmap" // PROCMAP_QUERY on /proc/PID/maps
	SourceMaps    = "maps"    // the text of /proc/PID/maps
	// SourceDaemon is the running sensor, which reads by one of these and knows
	// what has happened since.
	SourceDaemon = "daemon"
)

// ErrNoSource says that the mappings of processes could not be read in the way
// asked for, or in any way.
var ErrNoSource = errors.New("no source of mappings")

// reader reads what processes have mapped, again and again. It is for one
// goroutine.
type reader interface {
	// All reads every process.
	All(context.Context) ([]snapshot.Process, error)
	// Some reads those of the processes named that there are.
	Some(ctx context.Context, pids []int) ([]snapshot.Process, error)
	// Who lists all processes without their mappings, or none where that is as
	// dear as All: then what is known of them has to do.
	Who(context.Context) ([]snapshot.Process, error)
	Close() error
}

// source is one way to read.
type source struct {
	name string
	open func(proc.FS) (reader, error)
}

// sources are all ways, best first.
func sources() []source {
	return []source{
		{SourceBPF, openBPF},
		{SourceProcmap, func(fs proc.FS) (reader, error) { return procReader{fs.Snapshotter(proc.ByQuery)}, nil }},
		{SourceMaps, func(fs proc.FS) (reader, error) { return procReader{fs.Snapshotter(proc.ByText)}, nil }},
	}
}

// take reads once.
func (src source) take(ctx context.Context, fs proc.FS) ([]snapshot.Process, error) {
	r, err := src.open(fs)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.All(ctx)
}

type procReader struct{ *proc.Snapshotter }

func (procReader) Close() error { return nil }

func (procReader) Who(context.Context) ([]snapshot.Process, error) { return nil, nil }

// bpfReader reads with the iterator, and by text what that does not show.
type bpfReader struct {
	*probe.Snapshot
	text *proc.Snapshotter
}

// openBPF loads the iterator. The program shows the running kernel's processes, so
// it is of no use with a procfs of something else.
func openBPF(fs proc.FS) (reader, error) {
	if err := ownProc(fs); err != nil {
		return nil, err
	}
	s, err := probe.OpenSnapshot()
	if err != nil {
		return nil, err
	}
	return bpfReader{s, fs.Snapshotter(proc.ByText)}, nil
}

func (r bpfReader) All(ctx context.Context) ([]snapshot.Process, error) {
	list, err := r.Read(ctx)
	if err != nil {
		return nil, err
	}
	// The self-test: the pass must have seen the process that made it.
	seen := pidsOf(list)
	if !seen[os.Getpid()] {
		return nil, fmt.Errorf("%w: the pass did not see its own process", probe.ErrUnavailable)
	}
	// What runs but was not shown must not pass for fine.
	rest, err := r.text.Others(ctx, seen)
	if err != nil {
		return nil, err
	}
	return append(list, rest...), nil
}

// few is up to how many processes are read one by one rather than all at once.
const few = 64

func (r bpfReader) Some(ctx context.Context, pids []int) ([]snapshot.Process, error) {
	var list []snapshot.Process
	var err error
	if len(pids) <= few {
		list, err = r.ReadProcesses(ctx, pids)
	}
	if len(pids) > few || errors.Is(err, probe.ErrNoProcessIter) {
		list, err = r.Read(ctx)
	}
	if err != nil {
		return nil, err
	}
	seen := pidsOf(list)
	rest, err := r.text.Some(ctx, slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return seen[pid] }))
	if err != nil {
		return nil, err
	}
	wanted := make(map[int]bool, len(pids))
	for _, pid := range pids {
		wanted[pid] = true
	}
	list = slices.DeleteFunc(list, func(p snapshot.Process) bool { return !wanted[p.PID] })
	return append(list, rest...), nil
}

func pidsOf(list []snapshot.Process) map[int]bool {
	seen := make(map[int]bool, len(list))
	for i := range list {
		seen[list[i].PID] = true
	}
	return seen
}

// ownProc reports an error unless fs is a procfs of the PID namespace that the
// sensor runs in.
func ownProc(fs proc.FS) error {
	self, err := os.Readlink(fs.Dir() + "/self")
	if err != nil {
		return fmt.Errorf("%w: %s is not a procfs of this kernel: %w", probe.ErrUnavailable, fs.Dir(), err)
	}
	if self != fmt.Sprint(os.Getpid()) {
		return fmt.Errorf("%w: %s is the procfs of another PID namespace", probe.ErrUnavailable, fs.Dir())
	}
	return nil
}

// snapshot takes a snapshot from the source asked for, or from the best one that
// works, and says which it was.
func (s *Sensor) snapshot(ctx context.Context, fs proc.FS) ([]snapshot.Process, string, error) {
	list, r, name, err := s.openSource(ctx, fs)
	if err != nil {
		return nil, "", err
	}
	return list, name, r.Close()
}

// openSource opens the source asked for, or the best one that works, which it
// proves by reading everything once.
func (s *Sensor) openSource(ctx context.Context, fs proc.FS) ([]snapshot.Process, reader, string, error) {
	var errs []error
	for _, src := range sources() {
		if s.opts.Source != SourceAuto && s.opts.Source != src.name {
			continue
		}
		r, err := src.open(fs)
		if err == nil {
			var list []snapshot.Process
			if list, err = r.All(ctx); err == nil {
				return list, r, src.name, nil
			}
			r.Close()
		}
		if ctx.Err() != nil {
			return nil, nil, "", ctx.Err()
		}
		s.log.Info("source does not work here", zap.String("source", src.name), zap.Error(err))
		errs = append(errs, fmt.Errorf("%s: %w", src.name, err))
	}
	if len(errs) == 0 {
		return nil, nil, "", fmt.Errorf("%w: %q is not one of auto, bpf, procmap, maps", ErrNoSource, s.opts.Source)
	}
	return nil, nil, "", fmt.Errorf("%w: %w", ErrNoSource, errors.Join(errs...))
}
