package probe

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// syncing is a kind of event that Run keeps to itself: what came before Sync number
// Count has been read.
const syncing trace.Kind = 128

// RecordError is a record of the ring that does not follow bpf/event.h.
type RecordError struct {
	Kind uint32
	Size int
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("BPF record of kind %d has %d bytes", e.Kind, e.Size)
}

// cast returns what a sample holds. Samples begin at a multiple of 8 bytes and are
// in native byte order.
func cast[T any](b []byte) (*T, error) {
	var r T
	if len(b) < int(unsafe.Sizeof(r)) {
		return nil, &RecordError{Size: len(b)}
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(b))), nil
}

func headerOf(b []byte) (*sensorRecordHeader, error) { return cast[sensorRecordHeader](b) }

// recordDecoder makes events of the ring's samples.
type recordDecoder struct{ interner }

// decode appends the event of one sample. Nothing of it refers to the sample.
func (d *recordDecoder) decode(events []trace.Event, b []byte) ([]trace.Event, error) {
	h, err := headerOf(b)
	if err != nil {
		return events, err
	}
	e := trace.Event{At: time.Duration(h.At), PID: int(h.Pid), Start: time.Duration(h.Start), Image: h.Image}
	switch h.Kind {
	case sensorRecordKindRECORD_FORK:
		r, err := cast[sensorForkRecord](b)
		if err != nil {
			return events, &RecordError{uint32(h.Kind), len(b)}
		}
		e.Kind, e.Process = trace.Fork, d.process(&r.Process)
	case sensorRecordKindRECORD_EXEC:
		r, err := cast[sensorExecRecord](b)
		if err != nil {
			return events, &RecordError{uint32(h.Kind), len(b)}
		}
		e.Kind, e.Process = trace.Exec, d.process(&r.Process)
		if r.File.Ino != 0 || r.File.Key != 0 {
			e.File = d.file(fileOf(&r.File))
		}
		// A name that fills the record was cut off.
		if name := bytesOf(r.Name[:]); len(name) < len(r.Name)-1 {
			e.Name = d.name(name)
		}
	case sensorRecordKindRECORD_EXIT:
		e.Kind = trace.Exit
	case sensorRecordKindRECORD_MAP:
		r, err := cast[sensorMapRecord](b)
		if err != nil {
			return events, &RecordError{uint32(h.Kind), len(b)}
		}
		e.Kind, e.File = trace.Map, d.file(fileOf(&r.File))
	case sensorRecordKindRECORD_BEGIN:
		e.Kind = trace.Image
	case sensorRecordKindRECORD_SYNC:
		e.Kind, e.Count, e.Start = syncing, h.Start, 0
	default:
		return events, &RecordError{uint32(h.Kind), len(b)}
	}
	return append(events, e), nil
}

func (d *recordDecoder) process(f *processFacts) *snapshot.Process {
	p := new(snapshot.Process)
	*p = processOf(f)
	p.Comm = d.name(bytesOf(f.Comm[:]))
	return p
}
