package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// FormatError is a record that does not follow bpf/event.h.
type FormatError struct {
	Offset int64
	Err    error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("BPF records: offset %d: %v", e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

const (
	processSize = int(unsafe.Sizeof(snapshotProcessRecord{}))
	mappingSize = int(unsafe.Sizeof(snapshotMappingRecord{}))
	// identitySize is that of what begins like a process.
	identitySize = int(unsafe.Sizeof(snapshotIdentityRecord{}))
)

// decode reads records until the end, in native byte order as the kernel wrote
// them. A process whose threads appear more than once is merged.
func decode(ctx context.Context, r io.Reader) ([]snapshot.Process, error) {
	return decodeAbout(ctx, r, 0)
}

// decodeAbout is decode for about so many processes.
func decodeAbout(ctx context.Context, r io.Reader, count int) ([]snapshot.Process, error) {
	var (
		d      decoder
		buf    [max(processSize, mappingSize)]byte
		offset int64
	)
	d.index, d.processes = make(map[identity]int, count), make([]snapshot.Process, 0, count)
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
		case snapshotRecordKindRECORD_IDENTITY:
			size = identitySize
		default:
			return nil, &FormatError{offset, fmt.Errorf("unknown record kind %d", kind)}
		}
		if _, err := io.ReadFull(r, buf[4:size]); err != nil {
			return nil, &FormatError{offset, fmt.Errorf("record cut short: %w", err)}
		}
		if size != mappingSize {
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

// The pieces of the arena grow to arenaSize mappings.
const (
	minArena  = 64
	arenaSize = 8 << 10
)

// process takes a process, or the identity of one, which is a process cut short.
func (d *decoder) process(b []byte) {
	// The buffer is a copy of a C structure without padding; alignment is
	// the decoder's own buffer, so the fields are read one by one.
	var r snapshotProcessRecord
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), processSize), b)
	d.finish()
	id := identity{r.Process.Pid, r.Process.Start}
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
	d.index[id] = len(d.processes)
	d.current = len(d.processes)
	facts := processFacts(r.Process)
	p := processOf(&facts)
	p.Comm, p.Exe = string(bytesOf(r.Process.Comm[:])), d.intern(bytesOf(r.Exe[:]))
	d.processes = append(d.processes, p)
	d.first = len(d.arena)
}

var errOrphan = errors.New("mapping before any process")

func (d *decoder) mapping(b []byte) error {
	if len(d.processes) == 0 {
		return errOrphan
	}
	var r snapshotMappingRecord
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), mappingSize), b)
	f := d.files[r.File.Key]
	switch {
	case f == nil:
		facts := fileFacts(r.File)
		f = &listed{file: fileOf(&facts)}
		d.files[r.File.Key] = f
	case f.by == d.current:
		return nil
	}
	f.by = d.current
	if len(d.arena) == cap(d.arena) {
		mine := d.arena[d.first:]
		size := min(max(2*cap(d.arena), minArena), arenaSize)
		d.arena = append(make([]snapshot.Mapping, 0, max(size, 2*len(mine))), mine...)
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
