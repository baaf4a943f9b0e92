package privilege

import (
	"iter"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cap is a capability by its number in include/uapi/linux/capability.h.
type Cap uint8

// The capabilities that decide what the sensor is able to see (capabilities(7)).
const (
	DACReadSearch     Cap = unix.CAP_DAC_READ_SEARCH
	SetPCap           Cap = unix.CAP_SETPCAP
	SysPtrace         Cap = unix.CAP_SYS_PTRACE
	SysAdmin          Cap = unix.CAP_SYS_ADMIN
	Perfmon           Cap = unix.CAP_PERFMON            // Linux 5.8
	BPF               Cap = unix.CAP_BPF                // Linux 5.8
	CheckpointRestore Cap = unix.CAP_CHECKPOINT_RESTORE // Linux 5.9
)

// Tracking are the capabilities that following processes takes once the kernel
// side is attached: to read maps (BPF) and kernel memory (Perfmon), the names and
// mappings of any process (SysPtrace), its files (DACReadSearch), and the files
// that it has mapped and that have no name any more (CheckpointRestore).
func Tracking() []Cap {
	return []Cap{DACReadSearch, SysPtrace, Perfmon, BPF, CheckpointRestore}
}

// splitFromAdmin reports whether CAP_SYS_ADMIN allows all that the capability
// does: it was taken out of it, and kernels older than that ask for CAP_SYS_ADMIN.
func (c Cap) splitFromAdmin() bool { return c == Perfmon || c == BPF || c == CheckpointRestore }

// names are those of include/uapi/linux/capability.h, by number.
var names = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// String is the name in capabilities(7), such as CAP_BPF, or CAP_ and the number
// of one that has no name here.
func (c Cap) String() string {
	if int(c) < len(names) {
		return "CAP_" + names[c]
	}
	return "CAP_" + strconv.Itoa(int(c))
}

// Set is a set of capabilities, bit N standing for capability N, as the kernel
// shows it in /proc/PID/status.
type Set uint64

// SetOf is the set of the capabilities given. The kernel's sets have 64 bits;
// what is beyond is in none.
func SetOf(caps ...Cap) Set {
	var s Set
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// Has reports whether the capability is in the set.
func (s Set) Has(c Cap) bool { return s&(1<<c) != 0 }

// All goes through the capabilities of the set by number.
func (s Set) All() iter.Seq[Cap] {
	return func(yield func(Cap) bool) {
		for c := range Cap(64) {
			if s.Has(c) && !yield(c) {
				return
			}
		}
	}
}

// String names the capabilities, separated by spaces; that of none is empty.
func (s Set) String() string {
	var list []string
	for c := range s.All() {
		list = append(list, c.String())
	}
	return strings.Join(list, " ")
}
