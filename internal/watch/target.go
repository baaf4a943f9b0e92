package watch

import (
	"sync/atomic"
	"time"
)

// Target is one thing to watch: the package database of one root.
type Target struct {
	// Name is what a Change calls it; no two targets have the same.
	Name string
	// Root is the directory in which Paths are resolved, with all symbolic links
	// confined to it: "/", "/host", "/proc/123/root". It is opened anew for each
	// look, so that nothing is kept from being unmounted; where the PID may be
	// another's by then, it should be /proc/self/fd/N of a root that the caller
	// holds open.
	Root string
	// Paths are the files and directories inside the root whose change counts:
	// "var/lib/dpkg/status", "var/lib/dpkg/status.d". They need not exist. Of a
	// directory, all entries count; what else lies beside a file does not.
	Paths []string
	// Busy reports whether a package manager is at work; nil means that none ever
	// is. It is called from one goroutine at a time, and should not wait.
	Busy func() (bool, error)
}

// Options are the times by which a Watcher works. What is zero is the default.
type Options struct {
	// Settle is how long nothing must have changed, and no package manager have
	// been at work, before a change is told. The default is 300 ms.
	Settle time.Duration
	// MaxWait is how long after its first change a target is told at the latest,
	// whether or not it has settled: a package manager that hangs must not hide
	// it. The default is 10 minutes.
	MaxWait time.Duration
	// Poll is how often a target that changed is looked at, and Busy asked, until
	// it has settled. The default is 100 ms.
	Poll time.Duration
	// Sweep is how often every target is looked at even without an event. The
	// default is 30 s.
	Sweep time.Duration
}

// Change says that the database of a target changed.
type Change struct {
	Target string
	// First and Last are when the first and the last change was noticed since the
	// Change before.
	First, Last time.Time
	// Busy says that a package manager was still at work when MaxWait was over.
	Busy bool
	// Err is why it is not certain what there is now: the root or one of the paths
	// cannot be looked at, or Busy could not tell. That a root or a path comes to
	// be such, or is it no more, is a change, too.
	Err error
}

// Stats are counts since the Watcher was made, but for Targets.
type Stats struct {
	Targets     int    // watched now
	Events      uint64 // inotify events
	Overflows   uint64 // times that the kernel's queue was full; each counts as a change of every target
	Muted       uint64 // times that a directory had so many events that it was not watched for a second
	Failures    uint64 // times that a directory, or all, could not be watched; polled instead
	Unannounced uint64 // changes that a look found first, not an event
	Looks       uint64 // looks at a target
	Told        uint64 // Changes received
}

type counters struct {
	events, overflows, muted, failures, unannounced, looks, told atomic.Uint64
}
