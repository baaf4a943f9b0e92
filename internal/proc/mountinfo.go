package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Mount is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID  uint64
	Dev file.Dev
	// Point is where it is mounted, relative to the process's root.
	Point string
	// Type is the file system's, with a subtype after a dot: "ext4", "fuse.sshfs".
	Type string
}

// MountError is a line that is not of the format.
type MountError struct {
	Offset int64
	Err    error
}

func (e *MountError) Error() string { return fmt.Sprintf("mountinfo: offset %d: %v", e.Offset, e.Err) }
func (e *MountError) Unwrap() error { return e.Err }

// maxMounts is the default of fs.mount-max, the kernel's own bound for one mount
// namespace.
const maxMounts = 100_000

// Mounts lists what is mounted below the process's root.
func (p *Process) Mounts() ([]Mount, error) {
	f, err := p.open("mountinfo")
	if err != nil {
		return nil, gone(err)
	}
	defer f.Close()
	return ParseMountinfo(f)
}

// ParseMountinfo parses mountinfo: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 -
// ext3 /dev/root rw,errors=continue". Spaces, tabs, newlines and backslashes are
// written as three octal digits (mangle in fs/proc_namespace.c).
func ParseMountinfo(r io.Reader) ([]Mount, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	var list []Mount
	var offset int64
	for {
		line, err := br.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			return list, nil
		}
		if err != nil && err != io.EOF {
			return list, &MountError{offset, err}
		}
		if len(list) == maxMounts {
			return list, &MountError{offset, fmt.Errorf("more than %d mounts", maxMounts)}
		}
		m, err := parseMount(line)
		if err != nil {
			return list, &MountError{offset, err}
		}
		list = append(list, m)
		offset += int64(len(line))
	}
}

var errMount = errors.New("malformed line")

func parseMount(line []byte) (Mount, error) {
	before, after, ok := bytes.Cut(line, []byte(" - "))
	fields := bytes.Fields(before)
	kind := bytes.Fields(after)
	if !ok || len(fields) < 6 || len(kind) == 0 {
		return Mount{}, errMount
	}
	major, minor, ok := bytes.Cut(fields[2], []byte{':'})
	maj, err1 := strconv.ParseUint(string(major), 10, 32)
	min, err2 := strconv.ParseUint(string(minor), 10, 32)
	id, err3 := strconv.ParseUint(string(fields[0]), 10, 64)
	if !ok || errors.Join(err1, err2, err3) != nil {
		return Mount{}, fmt.Errorf("%w: mount %q of device %q", errMount, fields[0], fields[2])
	}
	return Mount{id, file.MakeDev(uint32(maj), uint32(min)), unescapeOctal(fields[4]), unescapeOctal(kind[0])}, nil
}

// unescapeOctal undoes \ooo.
func unescapeOctal(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) {
			if n, err := strconv.ParseUint(string(b[i+1:i+4]), 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}
