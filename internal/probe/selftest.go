package probe

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errSilent says that a tier loads and attaches, and is never called: an LSM
// that is not active, a probe at a function that was inlined.
var errSilent = errors.New("attached, but it does not tell of this process's own mappings")

// prove maps a page of this process's executable, once executable at once and
// once by mprotect, and looks for both in what the tier tells. No time limit is
// needed: the kernel has told before either call returns. What else was told is
// kept for Run.
func (t *Tracer) prove() error {
	self := uint32(os.Getpid())
	if err := t.loader.set(sensorVarTestedPid, self); err != nil {
		return err
	}
	err := mapSelf()
	if unset := t.loader.set(sensorVarTestedPid, 0); err == nil {
		err = unset
	}
	if err != nil {
		return fmt.Errorf("test: %w", err)
	}
	var mapped, protected bool
	err = t.drain(maxBatch, func(b []byte) error {
		h, err := headerOf(b)
		if err == nil && h.Kind == sensorRecordKindRECORD_MAP && h.Pid == self {
			byMprotect := h.Flags&sensorMappingFlagMAPPING_MPROTECT != 0
			mapped, protected = mapped || !byMprotect, protected || byMprotect
			return nil
		}
		return t.keep(b)
	})
	if err != nil {
		return err
	}
	if t.band != nil {
		var n int
		t.pending, n = t.band.prove(t.pending, int(self))
		mapped, protected = n >= 1, n >= 2
	}
	switch {
	case !mapped:
		return errSilent
	case !protected:
		return fmt.Errorf("mprotect: %w", errSilent)
	}
	return nil
}

func mapSelf() error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	size := os.Getpagesize()
	code, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer func() { _ = unix.Munmap(code) }()
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer func() { _ = unix.Munmap(data) }()
	if err := unix.Mprotect(data, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return fmt.Errorf("mprotect: %w", err)
	}
	return nil
}
