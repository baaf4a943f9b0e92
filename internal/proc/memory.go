package proc

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	// chunk is how much of a process's memory is fetched at once.
	chunk = pageSize
	// maxChunks bounds what is fetched from one process.
	maxChunks = 1024
)

// Memory reads the memory of one process by process_vm_readv(2), which needs
// ptrace access to it (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS). It fetches whole
// chunks and keeps them, so use a new one for each look at a process, after
// Reset. Everything it returns is under the control of the process.
type Memory struct {
	pid int
	// read fills buf from an address as far as there is memory; nil means
	// process_vm_readv.
	read   func(buf []byte, addr uint64) (int, error)
	index  map[uint64]int
	chunks [][]byte
	used   int
}

// Reset makes the memory that of another process; buffers are kept.
func (m *Memory) Reset(pid int) {
	m.pid = pid
	m.used = 0
	if m.index == nil {
		m.index = make(map[uint64]int)
	}
	clear(m.index)
}

// Fetched lists the addresses of what was fetched since Reset, in order.
func (m *Memory) Fetched() []uint64 {
	list := make([]uint64, m.used)
	for base, i := range m.index {
		list[i] = base
	}
	return list
}

// maxPrefetch bounds what is fetched in one call; IOV_MAX is 1024.
const maxPrefetch = 256

// Prefetch fetches the chunks at the page addresses given, by one system call. It
// is a guess at what will be wanted: what is not there, and all after it, is left.
func (m *Memory) Prefetch(bases []uint64) {
	bases = bases[:min(len(bases), maxPrefetch)]
	if m.read != nil || m.used != 0 || len(bases) == 0 {
		return
	}
	local := make([]unix.Iovec, len(bases))
	remote := make([]unix.RemoteIovec, len(bases))
	for i, base := range bases {
		if i == len(m.chunks) {
			m.chunks = append(m.chunks, make([]byte, chunk))
		}
		m.chunks[i] = m.chunks[i][:chunk]
		local[i].Base = &m.chunks[i][0]
		local[i].SetLen(chunk)
		remote[i] = unix.RemoteIovec{Base: uintptr(base), Len: chunk}
	}
	got, err := unix.ProcessVMReadv(m.pid, local, remote, 0)
	if err != nil {
		return
	}
	for i := range got / chunk {
		if _, twice := m.index[bases[i]]; !twice {
			m.index[bases[i]] = i
		}
		m.used++
	}
}

// fetch returns the chunk at base, cut short where the mapping ends.
func (m *Memory) fetch(base uint64) ([]byte, error) {
	if i, ok := m.index[base]; ok {
		return m.chunks[i], nil
	}
	if m.used == maxChunks {
		return nil, fmt.Errorf("process %d: more than %d bytes of memory looked at", m.pid, maxChunks*chunk)
	}
	if m.used == len(m.chunks) {
		m.chunks = append(m.chunks, make([]byte, chunk))
	}
	buf := m.chunks[m.used][:chunk]
	var n int
	var err error
	if m.read != nil {
		n, err = m.read(buf, base)
	} else {
		n, err = readMemory(m.pid, buf, base)
	}
	if err != nil {
		return nil, err
	}
	m.chunks[m.used] = buf[:n]
	m.index[base] = m.used
	m.used++
	return buf[:n], nil
}

func readMemory(pid int, buf []byte, addr uint64) (int, error) {
	// One remote element a page: the kernel stops at the first element that
	// it cannot read whole (process_vm_readv(2), partial transfers).
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	var remote [chunk / pageSize]unix.RemoteIovec
	n := 0
	for off := 0; off < len(buf); off += pageSize {
		remote[n] = unix.RemoteIovec{Base: uintptr(addr) + uintptr(off), Len: min(pageSize, len(buf)-off)}
		n++
	}
	got, err := unix.ProcessVMReadv(pid, local, remote[:n], 0)
	if err != nil {
		return 0, gone(fmt.Errorf("process_vm_readv: process %d at %#x: %w", pid, addr, err))
	}
	return got, nil
}

// Read fills b from the address addr.
func (m *Memory) Read(b []byte, addr uint64) error {
	for len(b) > 0 {
		base := addr &^ (pageSize - 1)
		if c, start, ok := m.covering(addr); ok {
			n := copy(b, c[addr-start:])
			b, addr = b[n:], addr+uint64(n)
			continue
		}
		c, err := m.fetch(base)
		if err != nil {
			return err
		}
		if uint64(len(c)) <= addr-base {
			return fmt.Errorf("process %d: no memory at %#x", m.pid, addr)
		}
	}
	return nil
}

// covering finds a fetched chunk that holds addr. Chunks begin at any page, so
// each page at which one may begin is tried.
func (m *Memory) covering(addr uint64) ([]byte, uint64, bool) {
	page := addr &^ (pageSize - 1)
	for i := uint64(0); i < chunk/pageSize; i++ {
		base := page - i*pageSize
		if n, ok := m.index[base]; ok && addr-base < uint64(len(m.chunks[n])) {
			return m.chunks[n], base, true
		}
	}
	return nil, 0, false
}

// String returns the bytes from addr to the next NUL, which must be among the
// first PATH_MAX.
// The result is valid until the next Reset only if it was copied; it is shared
// with the buffer where it can be.
func (m *Memory) String(addr uint64) ([]byte, error) {
	var long []byte
	for len(long) < unix.PathMax {
		c, base, ok := m.covering(addr)
		if !ok {
			var one [1]byte
			if err := m.Read(one[:], addr); err != nil {
				return nil, err
			}
			continue
		}
		rest := c[addr-base:]
		rest = rest[:min(len(rest), unix.PathMax-len(long))]
		if i := bytes.IndexByte(rest, 0); i >= 0 {
			if long == nil {
				return rest[:i], nil
			}
			return append(long, rest[:i]...), nil
		}
		long = append(long, rest...)
		addr += uint64(len(rest))
	}
	return nil, fmt.Errorf("process %d: name before %#x has no end within %d bytes", m.pid, addr, unix.PathMax)
}
