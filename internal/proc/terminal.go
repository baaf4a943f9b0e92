package proc

import "strconv"

// Terminal is the name of the controlling terminal, without "/dev/": "pts/3", "tty1".
// It is empty where there is none, and for kinds of terminals whose device numbers
// are not fixed (Documentation/admin-guide/devices.txt).
//
// The number is encoded as new_encode_dev does, include/linux/kdev_t.h: bits 8 to 19
// are the major number, the others the minor one.
func (s Stat) Terminal() string {
	major, minor := s.TTY>>8&0xfff, s.TTY&0xff|s.TTY>>12&0xfff00
	name := func(prefix string, n uint32) string { return prefix + strconv.FormatUint(uint64(n), 10) }
	switch {
	case s.TTY == 0:
		return ""
	case major == 4 && minor < 64:
		return name("tty", minor)
	case major == 4 && minor < 256:
		return name("ttyS", minor-64)
	case major == 5 && minor == 1:
		return "console"
	case 136 <= major && major <= 143: // UNIX98_PTY_SLAVE_MAJOR, include/uapi/linux/major.h
		return name("pts/", (major-136)<<8+minor)
	case major == 204 && 64 <= minor && minor < 80:
		return name("ttyAMA", minor-64)
	case major == 229:
		return name("hvc", minor)
	}
	return ""
}
