// Package probe is the life of the kernel side: it loads the BPF programs of
// bpf/, runs them, decodes what they say and counts what they lost. It knows
// nothing of /proc, packages and verdicts.
package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// ErrUnavailable says that this kernel, or the privileges held, do not allow
// the program to run. The error around it says what was refused.
var ErrUnavailable = errors.New("BPF unavailable")

// Snapshot is the loaded iterator program of bpf/snapshot.bpf.c.
type Snapshot struct {
	objects snapshotObjects
	iter    *link.Iter
	who     *link.Iter
	pass    uint64        // number of the last one
	buffer  *bufio.Reader // of ReadProcesses
	count   int           // of processes at the last pass
}

// OpenSnapshot loads the program. It needs CAP_BPF and CAP_PERFMON (or
// CAP_SYS_ADMIN), kernel BTF and Linux 5.12.
func OpenSnapshot() (*Snapshot, error) {
	// Before Linux 5.11 maps were charged to RLIMIT_MEMLOCK; failing to raise
	// it matters only if the load below fails.
	_ = rlimit.RemoveMemlock()
	s := &Snapshot{buffer: bufio.NewReaderSize(nil, readSize)}
	if err := loadSnapshotObjects(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, plain(err))
	}
	it, err := link.AttachIter(link.IterOptions{Program: s.objects.Snapshot})
	if err != nil {
		s.objects.Close()
		return nil, fmt.Errorf("%w: attach iterator: %w", ErrUnavailable, err)
	}
	s.iter = it
	if s.who, err = link.AttachIter(link.IterOptions{Program: s.objects.Processes}); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: attach iterator: %w", ErrUnavailable, err)
	}
	return s, nil
}

// errPrivilege says what EPERM means here. The library's own hint at
// RLIMIT_MEMLOCK misleads: kernels since Linux 5.11 do not charge it.
var errPrivilege = errors.New("the kernel refuses it: CAP_BPF and CAP_PERFMON are missing, or its configuration forbids it")

// plain reduces an error of loading to its cause: the verifier's log belongs to
// developers.
func plain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", errPrivilege, unix.EPERM)
	}
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) && ve.Cause != nil {
		return ve.Cause
	}
	return err
}

// Close unloads the program.
func (s *Snapshot) Close() error {
	var err error
	if s.who != nil {
		err = s.who.Close()
	}
	return errors.Join(s.iter.Close(), err, s.objects.Close())
}

func (s *Snapshot) decode(ctx context.Context, r io.Reader) ([]snapshot.Process, error) {
	list, err := decodeAbout(ctx, bufio.NewReaderSize(resuming{r}, readSize), s.count+s.count/8)
	s.count = len(list)
	return list, err
}

// Who lists all processes that have user memory, without their mappings, names and
// auxiliary vectors.
func (s *Snapshot) Who(ctx context.Context) ([]snapshot.Process, error) {
	r, err := s.who.Open()
	if err != nil {
		return nil, fmt.Errorf("open processes: %w", err)
	}
	defer r.Close()
	return s.decode(ctx, r)
}

// Read makes one pass over all processes. Processes without executable file
// mappings are not in the answer. Passes cannot overlap: a Snapshot is for one
// goroutine.
func (s *Snapshot) Read(ctx context.Context) ([]snapshot.Process, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	r, err := s.iter.Open()
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	defer r.Close()
	return s.decode(ctx, r)
}

// readSize is the most that the kernel hands out in a read: 8 pages (bpf_seq_read).
const readSize = 32 << 10

// begin makes the program forget what the last pass wrote, which it would leave
// out of the next one.
func (s *Snapshot) begin() error {
	s.pass++
	if err := s.objects.Pass.Set(s.pass); err != nil {
		return fmt.Errorf("begin snapshot: %w", err)
	}
	return nil
}

// resuming goes on where the kernel paused: it gives EAGAIN after a million areas
// in a row of which none was written (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c).
type resuming struct{ io.Reader }

func (r resuming) Read(b []byte) (int, error) {
	for {
		n, err := r.Reader.Read(b)
		if n > 0 || !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
}
