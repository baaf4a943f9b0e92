package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"

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
)

// ErrNoSource says that the mappings of processes could not be read in the way
// asked for, or in any way.
var ErrNoSource = errors.New("no source of mappings")

// source is one way to take a snapshot.
type source struct {
	name string
	take func(context.Context, proc.FS) ([]snapshot.Process, error)
}

// sources are all ways, best first.
func sources() []source {
	return []source{
		{SourceBPF, fromBPF},
		{SourceProcmap, func(ctx context.Context, fs proc.FS) ([]snapshot.Process, error) {
			return fs.Snapshot(ctx, proc.ByQuery)
		}},
		{SourceMaps, func(ctx context.Context, fs proc.FS) ([]snapshot.Process, error) {
			return fs.Snapshot(ctx, proc.ByText)
		}},
	}
}

// fromBPF takes a snapshot with the iterator. The program shows the running
// kernel's processes, so it is of no use with a procfs of something else.
func fromBPF(ctx context.Context, fs proc.FS) ([]snapshot.Process, error) {
	if err := ownProc(fs); err != nil {
		return nil, err
	}
	s, err := probe.OpenSnapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	list, err := s.Read(ctx)
	if err != nil {
		return nil, err
	}
	// The self-test: the pass must have seen the process that made it.
	seen := make(map[int]bool, len(list))
	for i := range list {
		seen[list[i].PID] = true
	}
	if !seen[os.Getpid()] {
		return nil, fmt.Errorf("%w: the pass did not see its own process", probe.ErrUnavailable)
	}
	// What runs but was not shown must not pass for fine.
	rest, err := fs.Others(ctx, seen)
	if err != nil {
		return nil, err
	}
	return append(list, rest...), nil
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
	var errs []error
	for _, src := range sources() {
		if s.opts.Source != SourceAuto && s.opts.Source != src.name {
			continue
		}
		list, err := src.take(ctx, fs)
		if err == nil {
			return list, src.name, nil
		}
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		s.log.Info("source does not work here", zap.String("source", src.name), zap.Error(err))
		errs = append(errs, fmt.Errorf("%s: %w", src.name, err))
	}
	if len(errs) == 0 {
		return nil, "", fmt.Errorf("%w: %q is not one of auto, bpf, procmap, maps", ErrNoSource, s.opts.Source)
	}
	return nil, "", fmt.Errorf("%w: %w", ErrNoSource, errors.Join(errs...))
}
