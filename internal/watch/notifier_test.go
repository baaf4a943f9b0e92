package watch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// harness is a notifier whose events the test makes, with one watched directory.
type harness struct {
	*notifier
	t   *testing.T
	dir *os.File
	at  time.Time
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	n := newNotifier(zap.NewNop(), new(counters))
	if n.file == nil {
		t.Fatal("no inotify")
	}
	t.Cleanup(func() { n.close() })
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &harness{n, t, dir, time.Now()}
}

// interested is a new subscriber with an interest in the directory.
func (h *harness) interested(in interest) (*subscriber, int32) {
	h.t.Helper()
	s := h.subscribe()
	wd, err := h.watch(s, int(h.dir.Fd()))
	if err != nil {
		h.t.Fatal(err)
	}
	for name, changed := range in {
		h.want(s, wd, name, changed)
	}
	return s, wd
}

func (h *harness) event(wd int32, mask uint32, name string) {
	h.at = h.at.Add(time.Millisecond)
	h.dispatch(encode(wd, mask, name), h.at)
}

// notice takes what waits for a subscriber.
func (h *harness) notice(s *subscriber) (n notice, rung bool) {
	rung = len(s.rung) > 0
	return s.take(), rung
}

// watched reports whether the kernel has the watch (proc_pid_fdinfo(5)).
func (h *harness) watched(wd int32) bool {
	h.t.Helper()
	var info []byte
	err := h.control(func(fd int) (err error) {
		info, err = os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return bytes.Contains(info, []byte("inotify wd:"+strconv.FormatInt(int64(wd), 16)+" "))
}

func TestDispatch(t *testing.T) {
	tests := []struct {
		name          string
		mask          uint32
		entry         string
		rung, changed bool
	}{
		{"the database", unix.IN_MOVED_TO, "status", true, true},
		{"the way to it", unix.IN_CREATE, "way", true, false},
		{"its lock", unix.IN_CLOSE_WRITE, "lock", false, false},
		{"what it is renamed from", unix.IN_MODIFY, "status-new", false, false},
		{"a name that it begins with", unix.IN_CREATE, "stat", false, false},
		{"the directory", unix.IN_MOVE_SELF, "", true, false},
		{"the file system", unix.IN_UNMOUNT, "", true, false},
		{"the watch", unix.IN_IGNORED, "", true, false},
		{"the queue", unix.IN_Q_OVERFLOW, "", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			s, wd := h.interested(interest{"status": true, "way": false})
			other := h.subscribe()
			if tt.mask == unix.IN_Q_OVERFLOW {
				wd = -1 // as the kernel says it
			}
			h.event(wd, tt.mask, tt.entry)
			got, rung := h.notice(s)
			if rung != tt.rung || got.first.IsZero() == tt.changed || tt.changed && !got.last.Equal(h.at) {
				t.Errorf("rung %v with %v", rung, got)
			}
			if _, rung := h.notice(other); rung != (tt.mask == unix.IN_Q_OVERFLOW) {
				t.Errorf("who has no interest: rung %v", rung)
			}
			if n := h.count.events.Load(); n != 1 {
				t.Errorf("%d events counted", n)
			}
			h.event(wd+1, unix.IN_MODIFY, "status") // of a watch that is no more
			if _, rung := h.notice(s); rung {
				t.Error("rung by an unknown watch")
			}
		})
	}
}

// TestNoticeMerges: several events make one notice with the first and last time.
func TestNoticeMerges(t *testing.T) {
	h := newHarness(t)
	s, wd := h.interested(interest{anyEntry: true, "x": false})
	h.event(wd, unix.IN_DELETE_SELF, "")
	h.event(wd, unix.IN_CREATE, "x") // every entry counts, this one too
	first := h.at
	h.event(wd, unix.IN_CREATE, "b")
	got, rung := h.notice(s)
	if !rung || !got.first.Equal(first) || !got.last.Equal(h.at) {
		t.Errorf("rung %v with %v", rung, got)
	}
	if got, rung := h.notice(s); rung || got != (notice{}) {
		t.Errorf("taken, but rung %v with %v", rung, got)
	}
}

// TestSharedWatch: two targets that share a directory share the watch, which
// lasts as long as the last interest.
func TestSharedWatch(t *testing.T) {
	h := newHarness(t)
	a, wda := h.interested(interest{"status": true})
	b, wdb := h.interested(interest{"rpmdb.sqlite": true})
	if wda != wdb {
		t.Fatalf("watches %d and %d", wda, wdb)
	}
	h.event(wda, unix.IN_MODIFY, "rpmdb.sqlite")
	if _, rung := h.notice(a); rung {
		t.Error("told of the other's file")
	}
	if _, rung := h.notice(b); !rung {
		t.Error("not told of its own file")
	}
	h.unsubscribe(a)
	if !h.watched(wda) {
		t.Error("watch removed though somebody is interested")
	}
	// A pass that sees nothing of the directory any more ends the interest.
	h.retain(b, map[int32]interest{wdb: {"rpmdb.sqlite": true}})
	if !h.watched(wdb) {
		t.Error("watch removed though it is kept")
	}
	h.retain(b, map[int32]interest{})
	if h.watched(wdb) || len(h.watches) != 0 || len(b.dirs) != 0 {
		t.Error("watch kept though nobody is interested")
	}
}

// TestWatchRace: a watch that was there when it was asked for is not lost to
// another target that gives it up at this moment.
func TestWatchRace(t *testing.T) {
	h := newHarness(t)
	done := make(chan struct{})
	defer func() { <-done }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			s := h.subscribe()
			if _, err := h.watch(s, int(h.dir.Fd())); err != nil && !errors.Is(err, errUnsteady) {
				t.Error(err)
			}
			h.unsubscribe(s)
		}
	}()
	for range 5000 {
		s := h.subscribe()
		wd, err := h.watch(s, int(h.dir.Fd()))
		if err == nil && !h.watched(wd) {
			t.Fatalf("watch %d is lost", wd)
		}
		h.unsubscribe(s)
	}
}

// TestRetainNames: a name that is on nobody's way any more is not listened for.
func TestRetainNames(t *testing.T) {
	h := newHarness(t)
	s, wd := h.interested(interest{"old": true, "status": true})
	h.retain(s, map[int32]interest{wd: {"status": true}})
	h.event(wd, unix.IN_CREATE, "old")
	if _, rung := h.notice(s); rung {
		t.Error("told of a name that is not wanted any more")
	}
	h.event(wd, unix.IN_CREATE, "status")
	if _, rung := h.notice(s); !rung {
		t.Error("not told of a name that is wanted")
	}
}

// TestMute: a directory in which too much happens is not watched for a while,
// whether or not what happens matters; one in which as much happens slowly is.
func TestMute(t *testing.T) {
	h := newHarness(t)
	s, wd := h.interested(interest{"status": true})
	for range 3 * loud {
		h.at = h.at.Add(2 * loudWithin / loud)
		h.dispatch(encode(wd, unix.IN_MODIFY, "log"), h.at)
	}
	if _, rung := h.notice(s); rung || !h.watched(wd) {
		t.Fatal("muted a directory in which little happens")
	}
	var flood []byte
	for range 2*loud + 2 {
		flood = append(flood, encode(wd, unix.IN_MODIFY, "log")...)
	}
	h.dispatch(flood, h.at)
	got, rung := h.notice(s)
	if !rung || !got.first.IsZero() || !got.deafUntil.Equal(h.at.Add(deaf)) {
		t.Errorf("rung %v with %v", rung, got)
	}
	if h.watched(wd) || h.count.muted.Load() != 1 {
		t.Errorf("still watched after a flood, muted %d", h.count.muted.Load())
	}
	again, err := h.watch(s, int(h.dir.Fd()))
	if err != nil || again == wd || !h.watched(again) {
		t.Errorf("watched again as %d, %v", again, err)
	}
}

// TestWatchGone: a watch that the kernel drops is forgotten.
func TestWatchGone(t *testing.T) {
	h := newHarness(t)
	s, wd := h.interested(interest{"status": true})
	if err := os.Remove(h.dir.Name()); err != nil {
		t.Fatal(err)
	}
	h.dir.Close() // the inode goes with its last user
	buf := make([]byte, 4096)
	for h.watches[wd] != nil {
		n, err := h.file.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		h.dispatch(buf[:n], h.at)
	}
	if _, rung := h.notice(s); !rung {
		t.Error("not told")
	}
	h.retain(s, nil)
	if len(s.dirs) != 0 {
		t.Errorf("interest left in %v", s.dirs)
	}
}
