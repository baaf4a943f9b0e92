package proc

import (
	"encoding/binary"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// Types of auxiliary vector entries (include/uapi/linux/auxvec.h).
const (
	atPhdr   = 3
	atPhnum  = 5
	atExecFn = 31
)

// ParseAuxv parses /proc/PID/auxv (proc_pid_auxv(5)): pairs of words in the
// byte order and width of the process. A 32-bit process is recognised by its
// program headers lying below 4 GiB in pairs of 32-bit words.
func ParseAuxv(b []byte, width int) snapshot.Aux {
	var a snapshot.Aux
	word := func(i int) uint64 {
		if width == 4 {
			return uint64(binary.NativeEndian.Uint32(b[i:]))
		}
		return binary.NativeEndian.Uint64(b[i:])
	}
	for i := 0; i+2*width <= len(b); i += 2 * width {
		value := word(i + width)
		switch word(i) {
		case 0:
			return a
		case atPhdr:
			a.Phdr = value
		case atPhnum:
			a.Phnum = value
		case atExecFn:
			a.ExecFn = value
		}
	}
	return a
}

// Auxv reads the process's auxiliary vector. The kernel shows it in the words of
// the process: 64-bit ones are tried first, since the types of 32-bit pairs read
// so make no sense.
func (p *Process) Auxv() (snapshot.Aux, error) {
	var buf [1024]byte
	b, err := p.read("auxv", buf[:])
	if err != nil {
		return snapshot.Aux{}, gone(err)
	}
	if a := ParseAuxv(b, 8); a.Phdr != 0 {
		return a, nil
	}
	return ParseAuxv(b, 4), nil
}
