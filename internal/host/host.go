// Package host knows facts about the machine: what it is called, what it runs,
// and who its users are. It knows nothing of processes.
package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// ErrNoMachineID says that a root has no identity of its own: the file is
// missing or empty, as in images and containers, or the first boot is not over.
var ErrNoMachineID = errors.New("no machine ID")

// Host names a machine. What could not be found out is empty.
type Host struct {
	Name      string // uname(2) nodename
	MachineID string // machine-id(5): 32 lower-case hexadecimal digits
	Kernel    string // uname(2) release of the running kernel: "6.1.0-44-amd64"
	OS        string // PRETTY_NAME of os-release(5)
}

// Describe names the machine that runs, with the identity and the operating
// system of root. The error joins what could not be found out; it never makes
// the rest worthless. A root without a machine ID is no error.
func Describe(root *file.Root) (Host, error) {
	var h Host
	var uts unix.Utsname
	err := unix.Uname(&uts)
	if err != nil {
		err = fmt.Errorf("uname: %w", err)
	}
	h.Name = unix.ByteSliceToString(uts.Nodename[:])
	h.Kernel = unix.ByteSliceToString(uts.Release[:])

	id, idErr := MachineID(root)
	if errors.Is(idErr, ErrNoMachineID) {
		idErr = nil
	}
	h.MachineID = id

	release, osErr := ReadOSRelease(root)
	h.OS = release.PrettyName
	return h, errors.Join(err, idErr, osErr)
}

// maxMachineID is the most that a machine-id file may hold, in bytes: 32 digits
// and a newline, and room for the white space of hand-made ones.
const maxMachineID = 128

// MachineID returns the machine ID of a root (machine-id(5)), or that of D-Bus
// where there is none. machine-id(5) asks not to show it to an untrusted
// network.
func MachineID(root *file.Root) (string, error) {
	for _, name := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		data, err := root.ReadFile(name, maxMachineID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		id := bytes.TrimSpace(data)
		if len(id) == 0 || string(id) == "uninitialized" {
			continue
		}
		if !isMachineID(id) {
			return "", fmt.Errorf("%s: offset 0: not 32 lower-case hexadecimal digits", name)
		}
		return string(id), nil
	}
	return "", ErrNoMachineID
}

func isMachineID(id []byte) bool {
	for _, c := range id {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return len(id) == 32
}
