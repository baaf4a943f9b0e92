package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// mask is what is asked of every watched directory. It is the same for all:
	// the kernel has one watch for each inode, and a second request changes it.
	mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF |
		unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

	// A directory with more than loud events within loudWithin is not listened
	// to for the time deaf: whoever fills it keeps neither this program busy nor
	// the queue full, which would make every target count as changed. A
	// status file is written in a few hundred pieces.
	loud       = 4096
	loudWithin = time.Second
	deaf       = time.Second
)

// errNoInotify says that the kernel gave no inotify instance.
var errNoInotify = errors.New("no inotify instance")

// errUnsteady says that a directory was replaced as often as it was watched.
var errUnsteady = errors.New("watch was removed again and again")

// notifier is one inotify(7) instance, shared by all targets: a user may have no
// more than 128. Nothing in it touches the file system while mu is held.
type notifier struct {
	log   *zap.Logger
	file  *os.File // nil without inotify
	count *counters

	mu          sync.Mutex
	watches     map[int32]*dirWatch
	subscribers map[*subscriber]bool
	failed      bool // a failure has been logged
}

// dirWatch is a watched directory.
type dirWatch struct {
	// interests are the names to listen for. Two targets share a directory if
	// they share the inode, whatever the path.
	interests map[*subscriber]interest
	since     time.Time // events are those since then
	events    int
}

// interest says which entries of a directory matter and whether an event on one
// means that the database changed or only that its path may lead elsewhere now.
type interest map[string]bool

// anyEntry stands for all entries of a directory.
const anyEntry = ""

func newNotifier(log *zap.Logger, count *counters) *notifier {
	n := &notifier{log: log, count: count, watches: make(map[int32]*dirWatch), subscribers: make(map[*subscriber]bool)}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		n.failure(fmt.Errorf("inotify_init1: %w", err))
		return n
	}
	n.file = os.NewFile(uintptr(fd), "inotify")
	return n
}

// failure counts a directory, or all, that cannot be watched. Only the first is
// logged: where one target fails, hundreds do.
func (n *notifier) failure(err error) {
	n.count.failures.Add(1)
	n.mu.Lock()
	first := !n.failed
	n.failed = true
	n.mu.Unlock()
	if first {
		n.log.Warn("a package database cannot be watched: its changes are found by polling, later; "+
			"see the limits in /proc/sys/fs/inotify", zap.Error(err))
	}
}

// watch watches the directory behind a descriptor for a subscriber, which has an
// interest in nothing there yet. It may wait for the file system.
func (n *notifier) watch(s *subscriber, dirfd int) (int32, error) {
	for range 4 {
		wd, err := n.addWatch(dirfd)
		if err != nil {
			return -1, err
		}
		n.mu.Lock()
		w := n.watches[wd]
		if w == nil {
			w = &dirWatch{interests: make(map[*subscriber]interest)}
			n.watches[wd] = w
		}
		if w.interests[s] == nil {
			w.interests[s] = make(interest)
		}
		s.dirs[wd] = true
		n.mu.Unlock()
		// Before it was entered here, another subscriber that was the last to
		// want this watch may have removed it. Now none can.
		again, err := n.addWatch(dirfd)
		if err != nil {
			return -1, err
		}
		if again == wd {
			return wd, nil
		}
	}
	return -1, errUnsteady
}

func (n *notifier) addWatch(dirfd int) (int32, error) {
	var wd int
	err := n.control(func(fd int) (err error) {
		wd, err = unix.InotifyAddWatch(fd, "/proc/self/fd/"+strconv.Itoa(dirfd), mask)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("inotify_add_watch: %w", err)
	}
	return int32(wd), nil
}

// control runs a system call on the instance, which cannot be closed meanwhile.
func (n *notifier) control(call func(fd int) error) error {
	if n.file == nil {
		return errNoInotify
	}
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = call(int(fd)) })
	return errors.Join(err, failed)
}

// want makes an event on an entry of a watched directory a notice. changed says
// that such an event means a change.
func (n *notifier) want(s *subscriber, wd int32, name string, changed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Without a watch, the subscriber has been told to look again.
	if w := n.watches[wd]; w != nil && w.interests[s] != nil {
		w.interests[s][name] = changed
	}
}

// retain drops all interests of a subscriber but those given, and the watches
// that nobody is interested in any more.
func (n *notifier) retain(s *subscriber, keep map[int32]interest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for wd := range s.dirs {
		w := n.watches[wd]
		switch {
		case w == nil:
			delete(s.dirs, wd)
		case keep[wd] != nil:
			for name := range w.interests[s] {
				if _, kept := keep[wd][name]; !kept {
					delete(w.interests[s], name)
				}
			}
		default:
			delete(s.dirs, wd)
			delete(w.interests, s)
			if len(w.interests) == 0 {
				n.remove(wd)
			}
		}
	}
}

// remove ends a watch. It is called with mu held.
func (n *notifier) remove(wd int32) {
	delete(n.watches, wd)
	// EINVAL: the directory is gone, and its watch with it.
	_ = n.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(wd))
		return err
	})
}

// run reads events until ctx ends. Without inotify it only waits.
func (n *notifier) run(ctx context.Context) error {
	if n.file == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = n.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		size, err := n.file.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading inotify events: %w", err)
		}
		n.dispatch(buf[:size], time.Now())
	}
}

// dispatch leaves what was read at a time where it belongs.
func (n *notifier) dispatch(buf []byte, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for e := range events(buf) {
		n.count.events.Add(1)
		if e.mask&unix.IN_Q_OVERFLOW != 0 {
			n.count.overflows.Add(1)
			for s := range n.subscribers {
				s.ring(notice{first: at, last: at})
			}
			continue
		}
		if w := n.watches[e.wd]; w != nil {
			n.hear(w, e, at)
		}
	}
}

func (n *notifier) hear(w *dirWatch, e event, at time.Time) {
	if e.mask&unix.IN_IGNORED != 0 {
		delete(n.watches, e.wd)
	}
	for s, in := range w.interests {
		var news notice
		changed, wanted := in[anyEntry]
		if !wanted {
			changed, wanted = in[string(e.name)]
		}
		switch {
		case len(e.name) == 0: // the directory itself was moved, deleted or unmounted
		case !wanted:
			continue
		case changed:
			news.first, news.last = at, at
		}
		s.ring(news)
	}
	if at.Sub(w.since) > loudWithin {
		w.since, w.events = at, 0
	}
	if w.events++; w.events <= loud || e.mask&unix.IN_IGNORED != 0 {
		return
	}
	n.count.muted.Add(1)
	n.remove(e.wd)
	for s := range w.interests {
		s.ring(notice{deafUntil: at.Add(deaf)})
	}
}

// close ends the instance once no system call uses it.
func (n *notifier) close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}
