// Package probe is the life of the kernel side: it loads the BPF programs of
// bpf/, runs them, decodes what they say and counts what they lost. It knows
// nothing of /proc, packages and verdicts.
package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// ErrUnavailable says that this kernel, or the privileges held, do not allow
// the program to run. The error around it says what was refused.
var ErrUnavailable = errors.New("BPF snapshot unavailable")

// Snapshot is the loaded iterator program of bpf/snapshot.bpf.c.
type Snapshot struct {
	objects snapshotObjects
	iter    *link.Iter
	passed  bool // a pass has been made
}

// OpenSnapshot loads the program. It needs CAP_BPF and CAP_PERFMON (or
// CAP_SYS_ADMIN), kernel BTF and Linux 5.12.
func OpenSnapshot() (*Snapshot, error) {
	// Before Linux 5.11 maps were charged to RLIMIT_MEMLOCK; failing to raise
	// it matters only if the load below fails.
	_ = rlimit.RemoveMemlock()
	s := new(Snapshot)
	if err := loadSnapshotObjects(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, plain(err))
	}
	it, err := link.AttachIter(link.IterOptions{Program: s.objects.Snapshot})
	if err != nil {
		s.objects.Close()
		return nil, fmt.Errorf("%w: attach iterator: %w", ErrUnavailable, err)
	}
	s.iter = it
	return s, nil
}

// errPrivilege says what EPERM means here. The library's own hint at
// RLIMIT_MEMLOCK misleads: kernels with this iterator do not charge it.
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
	return errors.Join(s.iter.Close(), s.objects.Close())
}

// Read makes one pass over all processes. Processes without executable file
// mappings are not in the answer. Passes cannot overlap: a Snapshot is for one
// goroutine.
func (s *Snapshot) Read(ctx context.Context) ([]snapshot.Process, error) {
	if s.passed {
		if err := s.reset(); err != nil {
			return nil, fmt.Errorf("reset snapshot: %w", err)
		}
	}
	s.passed = true
	r, err := s.iter.Open()
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	defer r.Close()
	// The kernel hands out at most 8 pages a read (bpf_seq_read).
	return decode(ctx, bufio.NewReaderSize(resuming{r}, 32<<10))
}

// pair is struct pair of bpf/snapshot.bpf.c: a process and a file.
type pair [2]uint64

// reset makes the program forget what the last pass wrote, which it would leave
// out of the next one.
func (s *Snapshot) reset() error {
	if err := s.objects.LastProcess.Set(uint64(0)); err != nil {
		return err
	}
	seen := s.objects.Seen
	keys := make([]uint32, seen.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
	}
	_, err := seen.BatchUpdate(keys, make([]pair, len(keys)), nil)
	return err
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

// FormatError is a record that does not follow bpf/event.h.
type FormatError struct {
	Offset int64
	Err    error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("BPF snapshot: offset %d: %v", e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

const (
	processSize = int(unsafe.Sizeof(snapshotProcessRecord{}))
	mappingSize = int(unsafe.Sizeof(snapshotMappingRecord{}))
)

// decode reads records until the end, in native byte order as the kernel wrote
// them. A process whose threads appear more than once is merged.
func decode(ctx context.Context, r io.Reader) ([]snapshot.Process, error) {
	var (
		d      decoder
		buf    [max(processSize, mappingSize)]byte
		offset int64
	)
	d.index = make(map[identity]int)
	d.files = make(map[uint64]*listed)
	d.paths = make(map[string]string)
	for {
		if _, err := io.ReadFull(r, buf[:4]); err == io.EOF {
			return d.finish(), nil
		} else if err != nil {
			return nil, &FormatError{offset, err}
		}
		var size int
		switch kind := snapshotRecordKind(binary.NativeEndian.Uint32(buf[:])); kind {
		case snapshotRecordKindRECORD_PROCESS:
			size = processSize
		case snapshotRecordKindRECORD_MAPPING:
			size = mappingSize
		default:
			return nil, &FormatError{offset, fmt.Errorf("unknown record kind %d", kind)}
		}
		if _, err := io.ReadFull(r, buf[4:size]); err != nil {
			return nil, &FormatError{offset, fmt.Errorf("record cut short: %w", err)}
		}
		if size == processSize {
			d.process(buf[:size])
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		} else if err := d.mapping(buf[:size]); err != nil {
			return nil, &FormatError{offset, err}
		}
		offset += int64(size)
	}
}

type identity struct {
	pid   uint32
	start uint64
}

// listed is a file, and the process that listed it last.
type listed struct {
	file snapshot.File
	by   int
}

type decoder struct {
	processes []snapshot.Process
	index     map[identity]int
	current   int // index of the process that mappings belong to
	// files are those listed so far, by key.
	files map[uint64]*listed
	paths map[string]string
	// arena holds the mappings of all processes in a few large pieces;
	// those of the current process begin at first.
	arena []snapshot.Mapping
	first int
}

const arenaSize = 8 << 10

func (d *decoder) process(b []byte) {
	// The buffer is a copy of a C structure without padding; alignment is
	// the decoder's own buffer, so the fields are read one by one.
	var r snapshotProcessRecord
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), processSize), b)
	d.finish()
	id := identity{r.Pid, r.Start}
	if i, ok := d.index[id]; ok {
		if i != d.current {
			// Others came between two of its threads.
			for _, m := range d.processes[i].Mappings {
				d.files[m.File.Key].by = i
			}
		}
		d.current = i
		d.first = len(d.arena)
		return
	}
	comm := unsafe.Slice((*byte)(unsafe.Pointer(&r.Comm)), len(r.Comm))
	if i := bytes.IndexByte(comm, 0); i >= 0 {
		comm = comm[:i]
	}
	exe := unsafe.Slice((*byte)(unsafe.Pointer(&r.Exe)), len(r.Exe))
	if i := bytes.IndexByte(exe, 0); i >= 0 {
		exe = exe[:i]
	}
	tid := int(r.Tid)
	if r.Flags&snapshotProcessFlagPROCESS_ZOMBIE_LEADER == 0 {
		tid = int(r.Pid)
	}
	d.index[id] = len(d.processes)
	d.current = len(d.processes)
	d.processes = append(d.processes, snapshot.Process{
		PID: int(r.Pid), TID: tid, PPID: int(r.Ppid), InnerPID: int(r.InnerPid),
		Start: time.Duration(r.Start), UID: r.Uid, Comm: string(comm), Exe: d.intern(exe),
		PIDNS: r.PidNs, MntNS: r.MntNs, RootKey: r.RootKey, CgroupKey: r.CgroupKey,
		ForkNoExec: r.Flags&snapshotProcessFlagPROCESS_FORKNOEXEC != 0,
		Aux:        snapshot.Aux{Phdr: r.AtPhdr, Phnum: r.AtPhnum, ExecFn: r.AtExecfn},
	})
	d.first = len(d.arena)
}

var errOrphan = errors.New("mapping before any process")

func (d *decoder) mapping(b []byte) error {
	if len(d.processes) == 0 {
		return errOrphan
	}
	var r snapshotMappingRecord
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), mappingSize), b)
	f := d.files[r.FileKey]
	switch {
	case f == nil:
		f = &listed{file: snapshot.File{
			Key: r.FileKey, ID: file.LayerID(r.Dev, r.Ino),
			Ctime: r.Ctime*int64(time.Second) + int64(r.CtimeNsec), Size: int64(r.Size), FSType: int64(r.FsMagic),
		}}
		d.files[r.FileKey] = f
	case f.by == d.current:
		return nil
	}
	f.by = d.current
	if len(d.arena) == cap(d.arena) {
		mine := d.arena[d.first:]
		d.arena = append(make([]snapshot.Mapping, 0, max(arenaSize, 2*len(mine))), mine...)
		d.first = 0
	}
	d.arena = append(d.arena, snapshot.Mapping{
		Start: r.Start, End: r.End, File: &f.file,
		Exe: r.Flags&snapshotMappingFlagMAPPING_EXE != 0,
	})
	return nil
}

// intern returns the one string for a path that many processes have.
func (d *decoder) intern(b []byte) string {
	if s, ok := d.paths[string(b)]; ok {
		return s
	}
	s := string(b)
	d.paths[s] = s
	return s
}

// finish gives the current process its mappings.
func (d *decoder) finish() []snapshot.Process {
	if len(d.processes) == 0 || d.first == len(d.arena) {
		return d.processes
	}
	p := &d.processes[d.current]
	mine := d.arena[d.first:len(d.arena):len(d.arena)]
	if p.Mappings == nil {
		p.Mappings = mine
	} else {
		p.Mappings = append(p.Mappings, mine...)
	}
	d.first = len(d.arena)
	return d.processes
}
