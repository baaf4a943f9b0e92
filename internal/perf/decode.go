package perf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Kinds of records that are counted and not delivered.
const (
	kindNoFile Kind = Lost + 1 + iota
	kindThread
	kindRename
	kindTask
	kindForeign
	kindUnknown
	kindMalformed
	numKinds
)

// Of include/uapi/linux/perf_event.h: enum perf_event_type and the bits of
// perf_event_header.misc.
const (
	recordLost        = 2
	recordComm        = 3
	recordExit        = 4
	recordFork        = 7
	recordMmap2       = 10
	recordLostSamples = 13

	miscMmapBuildID = 1 << 14
	miscCommExec    = 1 << 13
)

const (
	// headerSize is that of struct perf_event_header: u32 type, u16 misc and
	// u16 size, which includes the header.
	headerSize = 8
	// trailerSize is that of struct sample_id with PERF_SAMPLE_TIME alone.
	trailerSize = 8
	// Fixed parts, header included, of the records that end in a name.
	commFixed  = headerSize + 8
	mmap2Fixed = headerSize + 64
	// maxRecord bounds what one write takes of a ring: the longest name, with its
	// padding, and a PERF_RECORD_LOST before it.
	maxRecord = mmap2Fixed + 4096 + trailerSize + headerSize + 16 + trailerSize
	// maxLost is more than a CPU can lose in a year; it keeps sums from running over.
	maxLost = 1 << 48
)

var errFrame = errors.New("size of a record is not possible")

// image is what the kernel has written into a ring: data is a power of two long,
// and from tail up to head stand whole records, round the end where need be.
// Records are of a multiple of 8 bytes, so that no header is cut in two.
type image struct {
	data       []byte
	tail, head uint64
	joined     []byte // where a record that was cut in two is put together
}

// peek returns the next record, header included, without taking it; nil at the
// end. The bytes are valid until the next call. After an error nothing more can
// be told from the others.
func (m *image) peek() ([]byte, error) {
	left := m.head - m.tail
	if left == 0 {
		return nil, nil
	}
	at := m.tail % uint64(len(m.data))
	if left > uint64(len(m.data)) || left < headerSize || at%8 != 0 {
		return nil, errFrame
	}
	size := uint64(binary.NativeEndian.Uint16(m.data[at+6:]))
	if size < headerSize || size%8 != 0 || size > left {
		return nil, errFrame
	}
	if end := at + size; end <= uint64(len(m.data)) {
		return m.data[at:end], nil
	}
	m.joined = append(append(m.joined[:0], m.data[at:]...), m.data[:at+size-uint64(len(m.data))]...)
	return m.joined, nil
}

// stamp returns the time of a record, and false when it is too short for one.
func stamp(b []byte) (time.Duration, bool) {
	if len(b) < headerSize+trailerSize {
		return 0, false
	}
	return time.Duration(binary.NativeEndian.Uint64(b[len(b)-trailerSize:])), true
}

// decode fills r with what the record b says, but for CPU and Time. Of a record
// of a kind that is not delivered, r holds nothing of use.
func decode(b []byte, names *names, r *Record) Kind {
	*r = Record{}
	if len(b) < headerSize+trailerSize {
		return kindMalformed
	}
	ne := binary.NativeEndian
	misc := ne.Uint16(b[4:])
	body := b[headerSize : len(b)-trailerSize]
	switch ne.Uint32(b) {
	case recordMmap2:
		if len(body) <= mmap2Fixed-headerSize || misc&miscMmapBuildID != 0 {
			return kindMalformed
		}
		r.Kind = decodeMmap2(body, names, r)
	case recordComm:
		switch {
		case len(body) <= commFixed-headerSize:
			return kindMalformed
		case misc&miscCommExec == 0:
			return kindRename
		}
		r.Kind = process(r, ne.Uint32(body), ne.Uint32(body[4:]), Exec)
		if r.Kind == Exec {
			r.Name = names.get(text(body[commFixed-headerSize:]))
		}
	case recordFork, recordExit:
		if len(body) != 24 { // pid, ppid, tid, ptid, time
			return kindMalformed
		}
		pid, ppid, tid := ne.Uint32(body), ne.Uint32(body[4:]), ne.Uint32(body[8:])
		kind := Exit
		if ne.Uint32(b) == recordFork {
			kind = Fork
			if pid == ppid {
				kind = kindThread
			}
		}
		r.Kind = process(r, pid, tid, kind)
		r.PPID = max(int(int32(ppid)), 0)
	case recordLost:
		if len(body) != 16 { // id, lost
			return kindMalformed
		}
		r.Kind, r.Lost = Lost, min(ne.Uint64(body[8:]), maxLost)
	case recordLostSamples:
		if len(body) != 8 {
			return kindMalformed
		}
		r.Kind, r.Lost = Lost, min(ne.Uint64(body), maxLost)
	default:
		return kindUnknown
	}
	return r.Kind
}

// decodeMmap2 follows struct { u32 pid, tid; u64 addr, len, pgoff; u32 maj, min;
// u64 ino, ino_generation; u32 prot, flags; char filename[] }.
func decodeMmap2(body []byte, names *names, r *Record) Kind {
	ne := binary.NativeEndian
	major, minor := ne.Uint32(body[32:]), ne.Uint32(body[36:])
	name := text(body[mmap2Fixed-headerSize:])
	// No file system has the device number 0. These two names stand for that of
	// a file which could not be told; every other is that of an area without one
	// (perf_event_mmap_event in kernel/events/core.c).
	if major|minor == 0 {
		if s := string(name); s != "//toolong" && s != "//enomem" {
			return kindNoFile
		}
		name = nil
	}
	r.Addr, r.Len, r.Pgoff = ne.Uint64(body[8:]), ne.Uint64(body[16:]), ne.Uint64(body[24:])
	r.Dev = file.MakeDev(major, minor)
	r.Ino, r.Generation = ne.Uint64(body[40:]), ne.Uint64(body[48:])
	r.Prot, r.Flags = ne.Uint32(body[56:]), ne.Uint32(body[60:])
	kind := process(r, ne.Uint32(body), ne.Uint32(body[4:]), Map)
	if kind == Map {
		r.Name = names.get(name)
	}
	return kind
}

// process sets the numbers of a process, and returns kind unless they are not
// those of one: the kernel writes 0 for what the PID namespace does not show, and
// -1 for what is past showing (perf_event_pid_type in kernel/events/core.c).
func process(r *Record, pid, tid uint32, kind Kind) Kind {
	r.PID, r.TID = int(int32(pid)), int(int32(tid))
	if r.PID <= 0 || r.TID <= 0 {
		return kindForeign
	}
	return kind
}

// text is a name up to its NUL.
func text(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
