package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

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
	// Overlay says what an overlayfs is made of; nil for any other, and where that is
	// not plain.
	Overlay *Overlay
}

// Overlay is what an overlayfs was told to put together, in the words of whoever
// mounted it (ovl_show_options in fs/overlayfs/params.c): names may be relative to a
// directory that is not told.
type Overlay struct {
	Upper string   // empty if it is read-only
	Lower []string // topmost first
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
	m := Mount{ID: id, Dev: file.MakeDev(uint32(maj), uint32(min)), Point: unescapeOctal(fields[4]), Type: unescapeOctal(kind[0])}
	if m.Type == "overlay" && len(kind) == 3 {
		m.Overlay = parseOverlay(kind[2])
	}
	return m, nil
}

// parseOverlay parses "rw,lowerdir=/a:/b,upperdir=/c,workdir=/d", or "lowerdir+=/a" for
// each one. Names with a colon or a comma are escaped a second time; such an overlay is
// left out, as is one with layers that hold data only ("::").
func parseOverlay(options []byte) *Overlay {
	o := new(Overlay)
	for option := range bytes.SplitSeq(options, []byte{','}) {
		key, value, _ := bytes.Cut(option, []byte{'='})
		name := unescapeOctal(value)
		if strings.ContainsRune(name, '\\') {
			return nil
		}
		switch string(key) {
		case "upperdir":
			o.Upper = name
		case "lowerdir":
			o.Lower = strings.Split(name, ":")
		case "lowerdir+":
			o.Lower = append(o.Lower, name)
		case "datadir+":
			return nil
		}
	}
	if len(o.Lower) == 0 || slices.Contains(o.Lower, "") {
		return nil
	}
	return o
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
