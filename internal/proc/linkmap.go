package proc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// ErrNoLinkMap says that a process has no list of loaded objects: it is
// statically linked, or has not reached its entry point.
var ErrNoLinkMap = errors.New("no link map")

// Linked is one object in the dynamic loader's list.
type Linked struct {
	Bias uint64 // l_addr: difference of addresses in memory and in the ELF
	Name []byte // l_name: the name by which it was opened; see Memory.String
}

const (
	ptDynamic = 2
	ptPhdr    = 6
	dtDebug   = 21
	// Bounds on what a process can make us read.
	maxPhnum   = 512
	maxDynamic = 1024
	maxLinked  = 1 << 14
	maxNames   = 1 << 20 // bytes of all names: overlapping ones count apart
	// maxNamespaces is more than glibc has (DL_NNS is 16).
	maxNamespaces = 64
)

// reader reads words of the process's width.
type reader struct {
	mem   *Memory
	wide  bool
	width uint64
}

func (r reader) word(addr uint64) (uint64, error) {
	var b [8]byte
	if err := r.mem.Read(b[:r.width], addr); err != nil {
		return 0, err
	}
	if r.wide {
		return binary.NativeEndian.Uint64(b[:]), nil
	}
	return uint64(binary.NativeEndian.Uint32(b[:])), nil
}

// LinkMap calls f for every object in the dynamic loader's list, in load order
// (struct link_map of link.h, the protocol of rtld-debugger-interface in the
// C library; musl follows it too). The first is the program itself and has no
// name. The list is the process's own word: it is cut off with an error at
// 16,384 objects or 1 MiB of names, and what f has seen until an error is valid.
func LinkMap(mem *Memory, aux snapshot.Aux, f func(Linked)) error {
	if aux.Phdr == 0 || aux.Phnum == 0 || aux.Phnum > maxPhnum {
		return ErrNoLinkMap
	}
	r, err := classOf(mem, aux.Phdr)
	if err != nil {
		return err
	}
	dynamic, err := r.dynamic(aux)
	if err != nil {
		return err
	}
	debug, err := r.debug(dynamic)
	if err != nil {
		return err
	}
	w := walker{reader: r, f: f}
	for n := 0; debug != 0; n++ {
		if n == maxNamespaces {
			return fmt.Errorf("more than %d link maps", maxNamespaces)
		}
		// struct r_debug { r_version; r_map; r_brk; r_state; r_ldbase; } and, from
		// version 2 on, r_next: the list of another namespace (dlmopen(3)).
		version, err := r.word(debug)
		if err != nil {
			return err
		}
		node, err := r.word(debug + r.width)
		if err != nil {
			return err
		}
		if err := w.list(node); err != nil {
			return err
		}
		if int32(version) < 2 {
			return nil
		}
		if debug, err = r.word(debug + 5*r.width); err != nil {
			return err
		}
	}
	return nil
}

// walker follows the lists of one process.
type walker struct {
	reader
	f              func(Linked)
	objects, names int
}

// list follows one list of struct link_map { l_addr; l_name; l_ld; l_next; … }.
func (w *walker) list(node uint64) error {
	for ; node != 0; w.objects++ {
		if w.objects == maxLinked {
			return fmt.Errorf("link map has more than %d objects", maxLinked)
		}
		bias, err := w.word(node)
		if err != nil {
			return err
		}
		at, err := w.word(node + w.width)
		if err != nil {
			return err
		}
		var name []byte
		if at != 0 {
			if name, err = w.mem.String(at); err != nil {
				return err
			}
		}
		if w.names += len(name); w.names > maxNames {
			return fmt.Errorf("link map has more than %d bytes of names", maxNames)
		}
		w.f(Linked{bias, name})
		if node, err = w.word(node + 3*w.width); err != nil {
			return err
		}
	}
	return nil
}

// classOf tells a 32-bit process by the distance of its program headers from
// the ELF header, which they follow at once in executables made by any common
// linker: 52 bytes in ELF32, 64 in ELF64 (elf(5)).
func classOf(mem *Memory, phdr uint64) (reader, error) {
	for _, r := range []reader{{mem, true, 8}, {mem, false, 4}} {
		size := uint64(64)
		if !r.wide {
			size = 52
		}
		var ident [5]byte
		if err := mem.Read(ident[:], phdr-size); err != nil {
			continue
		}
		if string(ident[:4]) == "\x7fELF" && uint64(ident[4])*4 == r.width { // ELFCLASS32 is 1
			return r, nil
		}
	}
	// Program headers elsewhere (patchelf moves them): 64-bit unless the
	// address says otherwise.
	if phdr < 1<<32 {
		return reader{}, ErrNoLinkMap
	}
	return reader{mem, true, 8}, nil
}

// dynamic returns the address of the program's dynamic section.
func (r reader) dynamic(aux snapshot.Aux) (uint64, error) {
	entsize, vaddrAt := uint64(56), uint64(16)
	if !r.wide {
		entsize, vaddrAt = 32, 8
	}
	var bias, vaddr uint64
	for i := uint64(0); i < aux.Phnum; i++ {
		at := aux.Phdr + i*entsize
		var b [4]byte
		if err := r.mem.Read(b[:], at); err != nil {
			return 0, err
		}
		typ := binary.NativeEndian.Uint32(b[:])
		if typ != ptDynamic && typ != ptPhdr {
			continue
		}
		v, err := r.word(at + vaddrAt)
		if err != nil {
			return 0, err
		}
		if typ == ptPhdr {
			bias = aux.Phdr - v
		} else {
			vaddr = v
		}
	}
	if vaddr == 0 {
		return 0, ErrNoLinkMap
	}
	return bias + vaddr, nil
}

// debug returns the address of the loader's struct r_debug.
func (r reader) debug(dynamic uint64) (uint64, error) {
	for i := uint64(0); i < maxDynamic; i++ {
		at := dynamic + i*2*r.width
		tag, err := r.word(at)
		if err != nil {
			return 0, err
		}
		if tag == 0 {
			break
		}
		if tag == dtDebug {
			v, err := r.word(at + r.width)
			if err != nil {
				return 0, err
			}
			if v == 0 {
				return 0, ErrNoLinkMap
			}
			return v, nil
		}
	}
	return 0, ErrNoLinkMap
}
