// Package perf reads the side band of the kernel's performance events: records
// of executable mappings, and if wanted of forks, execs and exits, that the
// kernel writes into one ring per CPU. It needs no BPF, and where the kernel has
// neither BPF LSM nor fentry nor kprobes it is the cheapest way to see mappings.
//
// It knows nothing of /proc and decides nothing.
package perf

import (
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Kind says what a Record is.
type Kind uint8

// The kinds of records that are delivered.
const (
	// Map: the process can execute code from a file (PERF_RECORD_MMAP2). The
	// kernel writes it at mmap with PROT_EXEC, at execve for the program and its
	// interpreter, and at every mprotect of an executable area or that makes an
	// area executable; so one mapping may come several times, and in parts.
	// mremap and fork write none.
	Map Kind = iota + 1
	// Exec: the process runs another program (PERF_RECORD_COMM with
	// PERF_RECORD_MISC_COMM_EXEC). It comes before the Maps of that program.
	// Only with Options.Tasks.
	Exec
	// Fork: the process PID was made by PPID and shares what that has mapped
	// (PERF_RECORD_FORK). Threads are left out. Only with Options.Tasks.
	Fork
	// Exit: the thread TID of process PID ended (PERF_RECORD_EXIT). Nothing says
	// whether it was the last; with TID equal to PID it was the main thread, which
	// others may outlive. Only with Options.Tasks.
	Exit
	// Lost: records of CPU are missing (PERF_RECORD_LOST, or the event's own
	// counter), Lost of them, or 0 when their number is not known.
	Lost
)

// Record is one record of the side band. Numbers of processes are those of the
// PID namespace in which the Reader was opened.
type Record struct {
	Kind Kind
	CPU  int
	// Time is when it happened, on CLOCK_BOOTTIME. For a Lost it is when the loss
	// was noticed: what is missing is older.
	Time     time.Duration
	PID, TID int // 0 for a Lost
	PPID     int // of a Fork and an Exit; 0 if not visible

	// Dev, Ino and Generation are the inode's of a Map. They are 0 when the
	// kernel could not tell (the name was longer than PATH_MAX, or memory was
	// short): then a file was mapped, and that is all that is known.
	//
	// They are what /proc/PID/maps shows (file.MapsView): on overlayfs the layer's
	// device before Linux 6.8 and the overlay's since. Kernels from 6.8 up to the
	// fix of late 2025 (in 6.18, 6.12.117) are the exception: there these numbers
	// are the layer's, and Name is the path inside the layer ("perf/core: Fix MMAP
	// event path names with backing files").
	Dev        file.Dev
	Ino        uint64
	Generation uint64
	// Addr, Len and Pgoff are the mapping's address, length and offset in the
	// file, in bytes.
	Addr, Len, Pgoff uint64
	// Prot and Flags are those of mmap(2): PROT_*, and of the flags MAP_SHARED or
	// MAP_PRIVATE, MAP_LOCKED, MAP_HUGETLB and on older kernels MAP_EXECUTABLE.
	Prot, Flags uint32
	// Name is the file's name for a Map and the comm for an Exec: raw bytes, not
	// escaped. A file's name is what d_path gives from the root directory of the
	// process, with " (deleted)" behind it once it is unlinked.
	Name string
	// Lost is the number of missing records.
	Lost uint64
}

// Options of Open. The zero value is of use.
type Options struct {
	// Pages is the size of each CPU's ring in pages, a power of two; 0 means
	// DefaultPages.
	Pages int
	// Tasks asks for Exec, Fork and Exit as well.
	Tasks bool
	Log   *zap.Logger // nil for none
}

// DefaultPages is what perf_event_mlock_kb allows any user on each CPU: 516 KiB,
// of which one page is the ring's header.
const DefaultPages = 128

// Stats counts since Open. Counters never decrease.
type Stats struct {
	Maps, Execs, Forks, Exits uint64 // delivered
	// Left out: executable mappings of no file, forks of threads, changes of comm
	// without an exec, forks and exits without Options.Tasks (the kernel writes
	// them all the same), and records of processes outside of the PID namespace.
	NoFile, Threads, Renames, Tasks, Foreign uint64
	// Unnamed is how many of Maps have neither name nor inode.
	Unnamed uint64
	// Lost is how many records are missing; those of an unknown number count as 1.
	Lost uint64
	// Unknown are records of types that were not asked for, Malformed those that
	// do not follow their format.
	Unknown, Malformed uint64
	// Rings is the number of CPUs watched now, and Bytes the memory of their rings.
	Rings, Bytes int
}
