package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Flags of a task in /proc/PID/stat (include/linux/sched.h).
const (
	flagForkNoExec = 0x00000040
	flagKthread    = 0x00200000
)

// Stat is /proc/PID/stat (proc_pid_stat(5)), as far as it is used.
type Stat struct {
	PID   int
	Comm  string // raw bytes; may hold spaces and parentheses
	State byte   // 'R', 'S', 'Z', …
	PPID  int
	// Start is the time of the fork on CLOCK_BOOTTIME, in whole ticks.
	Start time.Duration
	// TTY is the number of the controlling terminal as the kernel prints it, 0 for
	// none; see Terminal.
	TTY   uint32
	flags uint64
}

// Kernel reports whether the task is a kernel thread.
func (s Stat) Kernel() bool { return s.flags&flagKthread != 0 }

// ForkNoExec reports whether the task has not called execve since its fork.
func (s Stat) ForkNoExec() bool { return s.flags&flagForkNoExec != 0 }

// Dead reports whether the task has ended and waits to be reaped. The threads
// of a process may outlive its main thread.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

var errStat = errors.New("malformed stat line")

// ParseStat parses /proc/PID/stat. The name stands between the first '(' and the
// last ')', whatever it contains.
func ParseStat(r io.Reader) (Stat, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return Stat{}, err
	}
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || shut < open || shut+2 > len(b) {
		return Stat{}, errStat
	}
	var s Stat
	if s.PID, err = strconv.Atoi(string(bytes.TrimSpace(b[:open]))); err != nil {
		return Stat{}, fmt.Errorf("%w: pid: %w", errStat, err)
	}
	s.Comm = string(b[open+1 : shut])
	rest := b[shut+1:]
	// Field numbers are those of the manual page; the name is field 2.
	for n := 3; n <= 22; n++ {
		rest = bytes.TrimLeft(rest, " ")
		word, after, _ := bytes.Cut(rest, []byte{' '})
		word = bytes.TrimRight(word, "\n")
		if len(word) == 0 {
			return Stat{}, fmt.Errorf("%w: field %d is missing", errStat, n)
		}
		rest = after
		switch n {
		case 3:
			if s.State = word[0]; len(word) != 1 || s.State|0x20 < 'a' || s.State|0x20 > 'z' {
				err = errors.New("it is no letter")
			}
		case 4:
			s.PPID, err = strconv.Atoi(string(word))
		case 7:
			var tty int64
			// The kernel prints an unsigned number as a signed one (fs/proc/array.c).
			tty, err = strconv.ParseInt(string(word), 10, 32)
			s.TTY = uint32(tty)
		case 9:
			s.flags, err = strconv.ParseUint(string(word), 10, 64)
		case 22:
			var ticks uint64
			ticks, err = strconv.ParseUint(string(word), 10, 63)
			if err == nil && ticks > uint64(1<<63-1)/uint64(Tick) {
				err = strconv.ErrRange
			}
			s.Start = time.Duration(ticks) * Tick
		}
		if err != nil {
			return Stat{}, fmt.Errorf("%w: field %d: %w", errStat, n, err)
		}
	}
	return s, nil
}

// Status is /proc/PID/status (proc_pid_status(5)), as far as it is used.
type Status struct {
	TGID int
	UID  uint32 // effective
	// NSPIDs are the numbers of the process, whichever thread was asked, in
	// every PID namespace from the reader's to its own.
	NSPIDs []int
}

// maxStatus bounds /proc/PID/status. Its longest line is that of the groups:
// NGROUPS_MAX (65,536, include/uapi/linux/limits.h) numbers of up to ten digits.
const maxStatus = 1 << 20

// ParseStatus parses /proc/PID/status. Lines it does not know are passed over.
func ParseStatus(r io.Reader) (Status, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxStatus+1))
	if err != nil {
		return Status{}, err
	}
	if len(b) > maxStatus {
		return Status{}, fmt.Errorf("status: more than %d bytes", maxStatus)
	}
	var s Status
	for line := range bytes.Lines(b) {
		key, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || (string(key) != "Tgid" && string(key) != "Uid" && string(key) != "NStgid") {
			continue
		}
		fields := bytes.Fields(value)
		switch string(key) {
		case "Tgid":
			if len(fields) > 0 {
				if s.TGID, err = strconv.Atoi(string(fields[0])); err != nil {
					return s, fmt.Errorf("status: Tgid: %w", err)
				}
			}
		case "Uid":
			if len(fields) < 2 {
				return s, errors.New("status: Uid: too few fields")
			}
			uid, err := strconv.ParseUint(string(fields[1]), 10, 32)
			if err != nil {
				return s, fmt.Errorf("status: Uid: %w", err)
			}
			s.UID = uint32(uid)
		case "NStgid": // NSpid has the numbers of the thread
			for _, f := range fields {
				n, err := strconv.Atoi(string(f))
				if err != nil {
					return s, fmt.Errorf("status: NStgid: %w", err)
				}
				s.NSPIDs = append(s.NSPIDs, n)
			}
		}
	}
	return s, nil
}
