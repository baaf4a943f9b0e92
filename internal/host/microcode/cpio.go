package microcode

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Limits of an initial ramdisk.
const (
	cpioHeader = 110
	maxMembers = 1 << 16 // looked at; those with microcode are the first few
	maxZeros   = 1 << 20 // bytes between members; archives are padded to 512
	maxPath    = 4096    // bytes of a member's name
	maxContent = 32 << 20
)

// members are the names under which the kernel looks for microcode, by vendor
// (arch/x86/kernel/cpu/microcode/intel.c and amd.c).
var members = map[string]string{
	Intel: "kernel/x86/microcode/GenuineIntel.bin",
	AMD:   "kernel/x86/microcode/AuthenticAMD.bin",
}

// Early returns the newest update for cpu in an initial ramdisk: that of the
// uncompressed archives at its head, where alone the kernel looks before it starts the
// other processors. The error is an *Error, or ErrNoUpdate or ErrPlatform.
func Early(root Root, name string, cpu CPU) (Update, error) {
	f, err := root.Open(name)
	if err != nil {
		return Update{}, defect(name, err)
	}
	defer f.Close()
	u, err := early(f, cpu)
	if u != (Update{}) {
		u.File = absolute(name)
	}
	if err != nil && !errors.Is(err, ErrNoUpdate) && !errors.Is(err, ErrPlatform) {
		err = defect(name, err)
	}
	return u, err
}

func early(f *os.File, cpu CPU) (Update, error) {
	st, err := f.Stat()
	if err != nil {
		return Update{}, err
	}
	return EarlyIn(f, st.Size(), cpu)
}

// EarlyIn is Early for an initial ramdisk of size bytes that is part of another file. The
// update has no File, and an *Error none.
func EarlyIn(r io.ReaderAt, size int64, cpu CPU) (Update, error) {
	name := members[cpu.Vendor]
	if name == "" {
		return Update{}, ErrNoUpdate
	}
	at, n, err := findMember(r, size, name)
	if err != nil {
		return Update{}, err
	}
	if n > maxContent {
		return Update{}, formatErrorf(int(at), "%s of %d bytes", name, n)
	}
	b := make([]byte, n)
	if err := readFull(r, b, at); err != nil {
		return Update{}, err
	}
	u, err := newest(b, cpu)
	if d, ok := errors.AsType[*Error](err); ok {
		d.Offset += at
	}
	if u != (Update{}) {
		u.Member = name
	}
	return u, err
}

// findMember returns where the content of the first member of a name is, as
// find_cpio_data of lib/earlycpio.c does: archives and zeros follow one another, and
// what is neither ends the search. Only headers are read.
func findMember(r io.ReaderAt, size int64, want string) (offset, length int64, err error) {
	zeros := 0
	var h [cpioHeader]byte
	for at, count := int64(0), 0; size-at > cpioHeader; {
		if err := readFull(r, h[:], at); err != nil {
			return 0, 0, err
		}
		if h[0] == 0 { // words of zeros, at most one header's worth at a time
			n := 4
			for n+4 <= cpioHeader && h[n] == 0 {
				n += 4
			}
			if zeros += n; zeros > maxZeros {
				return 0, 0, formatErrorf(int(at), "more than %d zeros", maxZeros)
			}
			at += int64(n)
			continue
		}
		zeros = 0
		if magic := string(h[:6]); magic != "070701" && magic != "070702" {
			break
		}
		if count++; count > maxMembers {
			return 0, 0, formatErrorf(int(at), "more than %d members", maxMembers)
		}
		m, err := parseHeader(h[:], at, size)
		if err != nil {
			return 0, 0, err
		}
		if m.regular && m.nameSize == int64(len(want))+1 {
			name := make([]byte, m.nameSize)
			if err := readFull(r, name, at+cpioHeader); err != nil {
				return 0, 0, err
			}
			if string(name) == want+"\x00" {
				return m.data, m.size, nil
			}
		}
		at = m.next
	}
	return 0, 0, ErrNoUpdate
}

// member is one of a cpio archive in the "new ASCII" format.
type member struct {
	nameSize   int64
	data, size int64 // of the content
	next       int64
	regular    bool
}

// parseHeader reads a header at an offset (cpio(5)): a magic and 13 numbers of eight
// hexadecimal digits, then name and content, each padded to 4 bytes.
func parseHeader(h []byte, at, size int64) (member, error) {
	var numbers [13]int64
	for i := range numbers {
		digits := string(h[6+8*i : 14+8*i])
		v, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			return member{}, formatErrorf(int(at)+6+8*i, "%q is no number of a cpio header", digits)
		}
		numbers[i] = int64(v)
	}
	mode, length, nameSize := numbers[1], numbers[6], numbers[11]
	if nameSize == 0 || nameSize > maxPath {
		return member{}, formatErrorf(int(at), "member with a name of %d bytes", nameSize)
	}
	m := member{nameSize: nameSize, size: length, regular: mode&0o170000 == 0o100000}
	m.data = (at + cpioHeader + nameSize + 3) &^ 3
	m.next = (m.data + length + 3) &^ 3
	if m.data+length > size {
		return member{}, formatErrorf(int(at), "member of %d bytes where %d are left", length, max(size-m.data, 0))
	}
	return m, nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = fmt.Errorf("the file ends: %w", io.ErrUnexpectedEOF)
	}
	return &Error{Offset: at, Err: err}
}
