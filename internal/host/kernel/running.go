package kernel

import (
	"encoding/binary"
	"errors"
	"strings"
)

// maxLine bounds files of one line, in bytes; proc(5) gives at most a page.
const maxLine = 4096

// Running is the kernel that runs. What could not be found out is empty.
type Running struct {
	Release string // uname(2) release: "6.1.0-35-amd64"
	Version string // /proc/version: "Linux version 6.1.0-35-amd64 (…) #1 SMP …"
	Notes
}

// ReadRunning reads what the running kernel says of itself; proc and sys are
// mounts of procfs and sysfs. The error joins what could not be read; it never
// makes the rest worthless. Which file of /boot the kernel came from is not
// among this: only the build ID tells it.
func ReadRunning(proc, sys Root) (Running, error) {
	var k Running
	release, err1 := readLine(proc, "sys/kernel/osrelease")
	version, err2 := readLine(proc, "version")
	k.Release, k.Version = release, version
	data, err3 := sys.ReadFile("kernel/notes", maxNoteBytes)
	if err3 == nil {
		k.Notes, err3 = ParseNotes(data, binary.NativeEndian)
		err3 = inFile("kernel/notes", err3)
	}
	return k, errors.Join(err1, err2, err3)
}

func readLine(root Root, name string) (string, error) {
	data, err := root.ReadFile(name, maxLine)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line, nil
}
