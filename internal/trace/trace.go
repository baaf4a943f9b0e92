// Package trace is the vocabulary of what changes among processes, whoever saw
// it: the live counterpart of internal/snapshot.
package trace

import (
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// Kind says what happened.
type Kind uint8

// The kinds of events.
const (
	// Fork: Process was made by a fork of process Process.PPID and shares what
	// that has mapped.
	Fork Kind = iota + 1
	// Exec: Process runs another program; what it had mapped before Image is gone.
	Exec
	// Map: the process can execute code from File.
	Map
	// Exit: the last thread of the process has ended.
	Exit
	// Dirty: the process changed in a way that was not told in full.
	Dirty
	// Lost: Count events of any process are missing.
	Lost
	// Image: the process begins another program. What it had mapped is gone, what
	// it maps from here on belongs to the new program, and the Exec that tells the
	// details comes after. Sent by sources whose Map events do not tell Image.
	Image
)

// Event is one change. A process is known by PID and Start; where a source does
// not tell Start it is 0, and the process is the one that has the number at At.
type Event struct {
	Kind Kind
	// At is the time of the event on CLOCK_BOOTTIME.
	At    time.Duration
	PID   int
	Start time.Duration
	// Image counts the programs that the process has run: mappings of a higher
	// Image than known belong to a new program, whose Exec comes after them (the
	// kernel maps the program before it tells of the exec); 0 if not told.
	Image uint32
	// Process is, for Fork and Exec, what is known of the process itself; its
	// Mappings are nil.
	Process *snapshot.Process
	// File and Name are, for Map, the file and the kernel's name for it at that
	// moment, and for Exec the executable and the name given to execve; Name is
	// empty if it was not told.
	File *snapshot.File
	Name string
	// Count is, for Lost, how many are missing, as far as that is known.
	Count uint64
	// Why says, for Lost, what ran over.
	Why string
}
