package watch

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// BenchmarkLook is what a target costs once in every sweep, and once in every
// poll while it settles.
func BenchmarkLook(b *testing.B) {
	n := newNotifier(zap.NewNop(), new(counters))
	defer n.close()
	l := &looker{target: Target{Root: "/", Paths: []string{dbDir + "/status", dbDir + "/status.d"}}, notifier: n, sub: n.subscribe()}
	for b.Loop() {
		if _, err := l.look(true); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDispatch is what an event costs, in the busiest directory.
func BenchmarkDispatch(b *testing.B) {
	n := newNotifier(zap.NewNop(), new(counters))
	defer n.close()
	s := n.subscribe()
	dir, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(dir)
	wd, err := n.watch(s, dir)
	if err != nil {
		b.Fatal(err)
	}
	n.want(s, wd, "var", false)
	buf, at := encode(wd, unix.IN_MODIFY, "unrelated"), time.Now()
	for b.Loop() {
		at = at.Add(loudWithin) // never so many that it is muted
		n.dispatch(buf, at)
	}
}
