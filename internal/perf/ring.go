package perf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// formatLost is PERF_FORMAT_LOST of include/uapi/linux/perf_event.h (Linux 6.0).
const formatLost = 1 << 4

// ring is the event of one CPU and the memory into which the kernel writes its
// records.
type ring struct {
	cpu      int
	fd       int
	memory   []byte // one page of header, then the data
	header   *unix.PerfEventMmapPage
	image    image
	counting bool // the event counts what it loses

	rec  []byte        // the next record, nil if it was not looked at
	time time.Duration // of rec, or of the last one

	retired bool // its CPU is gone; what it holds is still to be read
	// Losses as the event counted them, as PERF_RECORD_LOST told them, and as
	// they were delivered: two accounts of the same.
	counted, told, delivered uint64
}

// attr asks for records and nothing else: the dummy event never counts, so the
// rings hold no samples.
func attr(tasks, counting bool, watermark int) unix.PerfEventAttr {
	a := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_SOFTWARE,
		Config:      unix.PERF_COUNT_SW_DUMMY,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample_type: unix.PERF_SAMPLE_TIME,
		Read_format: unix.PERF_FORMAT_TOTAL_TIME_ENABLED,
		// mmap alone is what switches the records on, mmap2 what gives them an inode.
		Bits: unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitSampleIDAll |
			unix.PerfBitUseClockID | unix.PerfBitWatermark |
			unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv,
		Wakeup:  uint32(watermark),
		Clockid: unix.CLOCK_BOOTTIME,
	}
	if tasks {
		a.Bits |= unix.PerfBitTask | unix.PerfBitComm | unix.PerfBitCommExec
	}
	if counting {
		a.Read_format |= formatLost
	}
	return a
}

// watermark is how full a ring of so many bytes of data is when it wakes the
// reader. The kernel wakes once in so many bytes written, whenever they were
// read, so the ring may be nearly twice as full by then.
func watermark(size int) int { return size / 4 }

// openRing opens the event of one CPU. Where memory may not be locked for the
// ring, it is halved until it may.
func openRing(cpu, pages int, tasks bool) (*ring, error) {
	for counting := true; ; {
		size := pages * unix.Getpagesize()
		a := attr(tasks, counting, watermark(size))
		fd, err := unix.PerfEventOpen(&a, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EINVAL && counting:
			counting = false // Linux before 6.0
			continue
		case err != nil:
			return nil, fmt.Errorf("perf_event_open: CPU %d: %w", cpu, err)
		}
		// Read-write, so that the kernel stops at the tail instead of writing over
		// what was not read.
		memory, err := unix.Mmap(fd, 0, unix.Getpagesize()+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			g := &ring{cpu: cpu, fd: fd, memory: memory, counting: counting}
			g.header = (*unix.PerfEventMmapPage)(unsafe.Pointer(&memory[0]))
			g.image.data = memory[unix.Getpagesize():]
			return g, nil
		}
		unix.Close(fd)
		// EPERM: over perf_event_mlock_kb and RLIMIT_MEMLOCK without CAP_IPC_LOCK.
		if pages == 1 || (err != unix.EPERM && err != unix.ENOMEM) {
			return nil, fmt.Errorf("map perf ring of %d pages: CPU %d: %w", pages, cpu, err)
		}
		pages /= 2
	}
}

// load learns what the kernel has written by now.
func (g *ring) load() { g.image.head = atomic.LoadUint64(&g.header.Data_head) }

// store gives back what was read. It returns the most that the ring held since
// the last time, in bytes.
func (g *ring) store() uint64 {
	old := g.header.Data_tail // written here alone
	atomic.StoreUint64(&g.header.Data_tail, g.image.tail)
	// After the store: what was refused before it was refused with the old tail.
	return atomic.LoadUint64(&g.header.Data_head) - old
}

// pending is how many bytes wait to be read.
func (g *ring) pending() uint64 {
	return atomic.LoadUint64(&g.header.Data_head) - g.image.tail
}

func (g *ring) due() bool { return g.pending() >= uint64(watermark(len(g.image.data))) }

// next looks at the next record. It reports whether there is one, of a time up
// to until.
func (g *ring) next(until time.Duration) (bool, error) {
	b, err := g.image.peek()
	if b == nil || err != nil {
		return false, err
	}
	// A record too short for a time takes that of the last one.
	if t, ok := stamp(b); ok && t > g.time {
		g.time = t
	}
	g.rec = b
	return g.time <= until, nil
}

// take is done with the record at which next looked.
func (g *ring) take() { g.image.tail += uint64(len(g.rec)) }

// read asks the event for how many nanoseconds it was on and how many records it
// lost, 0 if it does not count them: struct read_format of
// include/uapi/linux/perf_event.h.
func (g *ring) read() (enabled, lost uint64, err error) {
	var b [24]byte
	want := 16
	if g.counting {
		want = len(b)
	}
	n, err := unix.Read(g.fd, b[:])
	if err == nil && n != want {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read perf event: CPU %d: %w", g.cpu, err)
	}
	return binary.NativeEndian.Uint64(b[8:]), binary.NativeEndian.Uint64(b[16:]), nil
}

// alive reports whether the event still counts time: it stops for ever when its
// CPU goes offline, even if that comes back.
func (g *ring) alive() bool {
	first, _, err := g.read()
	// A scheduler clock without a counter behind it moves on with the ticks only.
	for range 20 {
		now, _, err2 := g.read()
		if err != nil || err2 != nil {
			return false
		}
		if now > first {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

func (g *ring) close() error {
	return errors.Join(unix.Munmap(g.memory), unix.Close(g.fd))
}
