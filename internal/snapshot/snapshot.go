// Package snapshot is the vocabulary of what runs at one moment: processes and
// the files from which they can execute code. Every source of snapshots (the
// BPF iterator, PROCMAP_QUERY, maps text) gives the same.
package snapshot

import (
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Process is one thread group that has user memory.
type Process struct {
	// PID is the thread group in the sensor's PID namespace; TID a live thread
	// of it, which differs when the main thread has ended before the others.
	PID, TID int
	PPID     int
	// InnerPID is the process's number in its own PID namespace, 0 if not known.
	InnerPID int
	// Start is the time of the fork that made the process, on CLOCK_BOOTTIME.
	// execve does not change it. Uncertainty is how much later than Start it
	// may have been.
	Start       time.Duration
	Uncertainty time.Duration
	UID         uint32 // effective
	Comm        string // of the main thread, raw bytes
	// PIDNS and MntNS are namespace inode numbers, 0 if not known.
	PIDNS, MntNS uint32
	// RootKey is equal for processes that see the same root directory, and
	// CgroupKey for those in the same cgroups; 0 if not known. They mean
	// nothing outside of the snapshot.
	RootKey, CgroupKey uint64
	// ForkNoExec says that the process has not called execve since its fork,
	// so its code was mapped by an ancestor (PF_FORKNOEXEC, linux/sched.h).
	ForkNoExec bool
	// Aux are the parts of the auxiliary vector that lead to names.
	Aux Aux
	// Exe is the kernel's name for the executable, as of a mapping; empty if it
	// is not shown.
	Exe string
	// Mappings are the executable, first, and then the other distinct files that
	// are mapped executable.
	Mappings []Mapping
	// Err is why the mappings are not known; nil when they are.
	Err error
}

// Aux is the part of the auxiliary vector (getauxval(3)) that leads to the names
// by which code was loaded. Addresses in the process; 0 when absent.
type Aux struct {
	Phdr, Phnum uint64 // program headers of the executable
	ExecFn      uint64 // the name given to execve
}

// Mapping is one file that a process has mapped executable.
type Mapping struct {
	// Start and End are the addresses of its first such mapping; 0 for the
	// executable, which is reached otherwise and may have none.
	Start, End uint64
	File       *File
	// At is when it was mapped, on CLOCK_BOOTTIME, where that was seen; 0 if not.
	At time.Duration
	// Exe says that the file is the process's executable.
	Exe bool
}

// File is one file that is mapped, through one name. It is shared by all
// mappings of it in a snapshot and never changes.
type File struct {
	// Key is equal for the same file through the same name. It means nothing
	// outside of the source, and there only while the file is mapped somewhere.
	Key uint64
	// ID is in the source's own view: file.LayerView or file.MapsView.
	ID file.ID
	// Ctime (nanoseconds since the epoch) and Size are the inode's, in the
	// same view; 0 if the source does not show them.
	Ctime, Size int64
	// FSType is the type of the inode's file system (statfs(2), f_type); 0 if
	// the source does not show it.
	FSType int64
	// Path is the name as the kernel showed it, if the source shows names.
	Path string
}

// BootTime is the moment at which CLOCK_BOOTTIME was zero, by today's clock. A
// clock that was stepped since then makes older wall-clock times disagree.
type BootTime time.Time

// Wall converts a time on CLOCK_BOOTTIME to wall-clock time.
func (b BootTime) Wall(d time.Duration) time.Time { return time.Time(b).Add(d) }
