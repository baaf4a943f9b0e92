package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Verify reports with ErrGone when the number pid does not belong to the process
// that started at start (CLOCK_BOOTTIME). It does less than opening the
// directory, for asking about many.
func (f FS) Verify(pid int, start time.Duration) error {
	name := f.dir + "/" + strconv.Itoa(pid) + "/stat"
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return gone(fmt.Errorf("open %s: %w", name, err))
	}
	defer unix.Close(fd)
	var buf [1024]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return gone(fmt.Errorf("read %s: %w", name, err))
	}
	st, err := ParseStat(bytes.NewReader(buf[:n]))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if st.Start != start/Tick*Tick {
		return fmt.Errorf("%w: process %d started at another time", ErrGone, pid)
	}
	return nil
}
