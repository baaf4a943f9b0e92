package perf

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Reader reads the rings of all online CPUs. It is safe for concurrent use.
type Reader struct {
	pages int
	tasks bool
	log   *zap.Logger

	// The events' descriptors stand in one epoll instance, which waits in the
	// runtime's own: that takes no thread and ends with a deadline or Close.
	wakes   *os.File
	rawWake syscall.RawConn
	epoll   int // descriptor of wakes

	mu     sync.Mutex
	closed bool
	rings  []*ring
	order  byTime // of rings, empty between drains
	names  *names
	counts [numKinds]uint64
	stats  Stats // of it Unnamed and Lost
}

// Now is the time on the clock of the records, CLOCK_BOOTTIME.
func Now() time.Duration {
	var ts unix.Timespec
	// It fails for clocks that do not exist only, and this one came with 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// Open begins to watch every online CPU. It needs CAP_PERFMON (CAP_SYS_ADMIN
// before Linux 5.8, and where Debian's kernel.perf_event_paranoid is 3) unless
// that setting is below 1; the error wraps fs.ErrPermission without. Rings for which
// memory may not be locked (perf_event_mlock_kb and RLIMIT_MEMLOCK, without
// CAP_IPC_LOCK) are smaller than asked, which is logged and shows in Stats.
// A kernel without performance events gives ENOSYS, which is errors.ErrUnsupported.
func Open(o Options) (*Reader, error) {
	if o.Pages == 0 {
		o.Pages = DefaultPages
	}
	if o.Pages < 0 || bits.OnesCount(uint(o.Pages)) != 1 {
		return nil, fmt.Errorf("perf ring of %d pages: not a power of two", o.Pages)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	r := &Reader{pages: o.Pages, tasks: o.Tasks, log: o.Log, names: newNames()}
	if err := r.openWakes(); err != nil {
		return nil, err
	}
	if _, err := r.Refresh(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) openWakes() (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	// The runtime waits for descriptors that do not block, and for no others.
	if err = unix.SetNonblock(r.epoll, true); err != nil {
		unix.Close(r.epoll)
		return fmt.Errorf("epoll: %w", err)
	}
	r.wakes = os.NewFile(uintptr(r.epoll), "perf")
	r.rawWake, err = r.wakes.SyscallConn()
	return err
}

// Refresh follows CPUs that came online or went offline since. It returns on how
// many CPUs watching began anew: what ran there until now was not seen, so
// processes are to be scanned. What it did before an error stands. When
// privileges were dropped since Open, the error wraps fs.ErrPermission.
func (r *Reader) Refresh() (began int, err error) {
	online, err := onlineCPUs()
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, os.ErrClosed
	}
	watched := make(map[int]bool, len(r.rings))
	for _, g := range r.rings {
		if !g.retired {
			g.retired = !slices.Contains(online, g.cpu) || !g.alive()
			watched[g.cpu] = !g.retired
		}
	}
	var errs []error
	for _, cpu := range online {
		if watched[cpu] {
			continue
		}
		switch err := r.add(cpu); {
		case errors.Is(err, unix.ENODEV): // went offline meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			began++
		}
	}
	return began, errors.Join(errs...)
}

// add begins to watch a CPU.
func (r *Reader) add(cpu int) error {
	g, err := openRing(cpu, r.pages, r.tasks)
	if err != nil {
		return err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(g.fd)}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, g.fd, &ev); err != nil {
		g.close()
		return fmt.Errorf("watch perf ring: CPU %d: %w", cpu, err)
	}
	if got := len(g.image.data) / unix.Getpagesize(); got < r.pages {
		r.log.Warn("memory for the whole perf ring may not be locked, losses are likelier",
			zap.Int("cpu", cpu), zap.Int("pages", got), zap.Int("wanted", r.pages))
	}
	r.rings = append(r.rings, g)
	return nil
}

// Wait returns nil when some ring is filled to a quarter or so, or after d;
// ctx's error when that ends, and os.ErrClosed after Close. As long as the rings
// are big enough d alone bounds how late records are, and short waits cost wakeups.
func (r *Reader) Wait(ctx context.Context, d time.Duration) error {
	if err := r.wakes.SetReadDeadline(time.Now().Add(d)); err != nil {
		return r.waitError(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.wakes.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// Asking the epoll instance which event it was would not do: to look whether a
	// perf event is ready makes it forget that it was (perf_poll in
	// kernel/events/core.c). The rings themselves tell.
	err := r.rawWake.Read(func(uintptr) bool { return r.due() })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	return r.waitError(err)
}

// waitError says os.ErrClosed where the runtime has an error of its own for it.
func (r *Reader) waitError(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	return fmt.Errorf("wait for perf rings: %w", err)
}

func (r *Reader) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.rings, (*ring).due)
}

// Stats says what was read so far.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Maps, s.Execs, s.Forks, s.Exits = r.counts[Map], r.counts[Exec], r.counts[Fork], r.counts[Exit]
	s.NoFile, s.Threads = r.counts[kindNoFile], r.counts[kindThread]
	s.Renames, s.Tasks, s.Foreign = r.counts[kindRename], r.counts[kindTask], r.counts[kindForeign]
	s.Unknown, s.Malformed = r.counts[kindUnknown], r.counts[kindMalformed]
	for _, g := range r.rings {
		s.Rings++
		s.Bytes += len(g.memory)
	}
	return s
}

// Close ends watching and gives back memory and descriptors. What was not read
// is gone.
func (r *Reader) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return os.ErrClosed
	}
	r.closed = true
	var errs []error
	for _, g := range r.rings {
		errs = append(errs, g.close())
	}
	r.rings = nil
	r.mu.Unlock()
	// Not under the lock: it waits for a Wait that may be about to take it.
	return errors.Join(append(errs, r.wakes.Close())...)
}
