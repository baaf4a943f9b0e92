package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// ErrNoProcessIter says that this kernel cannot visit single processes.
var ErrNoProcessIter = errors.New("the kernel's iterator cannot visit single processes: that needs Linux 6.1")

// ReadProcesses is Read for single processes, numbered as in this process's PID
// namespace. Those that have ended, or have no executable file mappings, are not in
// the answer. Keys are those of Read. With ErrNoProcessIter a Read has to do.
func (s *Snapshot) ReadProcesses(ctx context.Context, pids []int) ([]snapshot.Process, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	r := &processReader{program: s.objects.Snapshot, pids: pids, fd: -1}
	defer r.close()
	s.buffer.Reset(resuming{r})
	defer s.buffer.Reset(nil)
	return decode(ctx, s.buffer)
}

// processReader reads what the iterator writes of one process after the other.
type processReader struct {
	program *ebpf.Program
	pids    []int // yet to come
	fd      int   // of the current one, -1 for none
}

func (r *processReader) Read(b []byte) (int, error) {
	for {
		if r.fd < 0 {
			if len(r.pids) == 0 {
				return 0, io.EOF
			}
			fd, err := openProcess(r.program, r.pids[0])
			if err != nil {
				return 0, err
			}
			r.fd, r.pids = fd, r.pids[1:]
		}
		n, err := unix.Read(r.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read process: %w", err)
		case n > 0:
			return n, nil
		default:
			r.close()
		}
	}
}

func (r *processReader) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}

// Commands and a type of bpf(2), include/uapi/linux/bpf.h.
const (
	bpfLinkCreate = 28
	bpfIterCreate = 33
	bpfTraceIter  = 28
)

// linkCreate is the part of union bpf_attr that BPF_LINK_CREATE reads for an
// iterator: struct link_create (include/uapi/linux/bpf.h).
type linkCreate struct {
	progFD, targetFD  uint32
	attachType, flags uint32
	iterInfo          unsafe.Pointer // *iterLinkInfo
	iterInfoLen       uint32
	_                 uint32
}

// iterLinkInfo is the member task of union bpf_iter_link_info. Kernels before
// Linux 6.1 (f0d74c4da1f0, "bpf: Parameterize task iterators") have a shorter union
// and refuse bytes behind it that are not 0.
type iterLinkInfo struct{ tid, pid, pidFD uint32 }

// iterCreate is the part of union bpf_attr that BPF_ITER_CREATE reads.
type iterCreate struct{ linkFD, flags uint32 }

// openProcess returns a descriptor from which the program's output about one
// process can be read. The library's AttachIter cannot name a process.
func openProcess(program *ebpf.Program, pid int) (int, error) {
	info := iterLinkInfo{pid: uint32(pid)}
	link, err := bpf(bpfLinkCreate, unsafe.Pointer(&linkCreate{
		progFD: uint32(program.FD()), attachType: bpfTraceIter,
		iterInfo: unsafe.Pointer(&info), iterInfoLen: uint32(unsafe.Sizeof(info)),
	}), unsafe.Sizeof(linkCreate{}))
	if err == unix.E2BIG {
		return -1, ErrNoProcessIter
	}
	if err != nil {
		return -1, fmt.Errorf("attach iterator to process %d: %w", pid, err)
	}
	defer unix.Close(link)
	fd, err := bpf(bpfIterCreate, unsafe.Pointer(&iterCreate{linkFD: uint32(link)}), unsafe.Sizeof(iterCreate{}))
	if err != nil {
		return -1, fmt.Errorf("iterate over process %d: %w", pid, err)
	}
	return fd, nil
}

// bpf is bpf(2) for commands that return a descriptor.
func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
