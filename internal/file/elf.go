package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrNotELF is returned for a file that does not begin with the ELF magic.
var ErrNotELF = errors.New("not an ELF file")

// FormatError is a header of a file that contradicts the file or this
// package's limits.
type FormatError struct {
	// Offset is the byte offset of the lying field, entry or text in the
	// file; the file's size when the file ends too early.
	Offset int64
	Err    error
}

func (e *FormatError) Error() string { return fmt.Sprintf("offset %d: %v", e.Offset, e.Err) }

func (e *FormatError) Unwrap() error { return e.Err }

func formatErrorf(offset uint64, format string, args ...any) *FormatError {
	return &FormatError{Offset: int64(offset), Err: fmt.Errorf(format, args...)}
}

// Layout says where the parts of an ELF file lie in memory and in the file.
// Virtual addresses are the file's own: the load bias comes on top.
type Layout struct {
	// ExecVaddr is the address of the first executable PT_LOAD: its mapping
	// begins there, rounded down to a page.
	ExecVaddr uint64
	// DynamicVaddr, DynamicOffset and DynamicSize are PT_DYNAMIC.
	DynamicVaddr, DynamicOffset, DynamicSize uint64
	// Relocated says that the loader has something to relocate: DT_RELASZ,
	// DT_RELSZ or DT_RELRSZ is not 0.
	Relocated bool
}

// ELF is what an ELF file says of itself in its program headers (elf(5)).
// Strings are the bytes of the file, neither escaped nor checked for UTF-8. An
// ELF may be shared: its Needed and PackageNote are not to be written to.
type ELF struct {
	// BuildID is the NT_GNU_BUILD_ID note in lower-case hex; empty if absent.
	BuildID string
	// GoBuildID is the build ID that the Go toolchain writes (go tool buildid).
	// It names the inputs of a build, so it is no evidence of equal content.
	GoBuildID string
	// PackageNote is the package that the file was built for; nil if absent.
	PackageNote *PackageNote

	Interp string   // PT_INTERP: the dynamic loader
	Soname string   // DT_SONAME
	Needed []string // DT_NEEDED, in order

	// RelroVaddr and RelroSize are PT_GNU_RELRO in the file's own virtual
	// addresses and in bytes: what the loader makes read-only after relocation.
	RelroVaddr, RelroSize uint64

	Layout Layout

	Class   uint8  // 32 or 64 bits
	Type    uint16 // e_type: 2 executable, 3 shared object or PIE
	Machine uint16 // e_machine
	// Static says that the file is a program which needs no loader and no
	// library.
	Static bool
}

// Limits of what is read from one file. Real files stay far below them.
const (
	elfWindow = 4096 // bytes read at a time
	// elfBudget bounds all that is read of one file, in bytes.
	elfBudget = 1 << 20
	// maxPhdrs bounds the program header table, in bytes, as the kernel does
	// (load_elf_phdrs, fs/binfmt_elf.c).
	maxPhdrs = 64 << 10
	// maxString bounds a string with its NUL, in bytes: these are file names.
	maxString = 4096
)

const (
	elfMagic = "\x7fELF"

	typeExec = 2 // e_type ET_EXEC

	ptLoad     = 1
	ptDynamic  = 2
	ptInterp   = 3
	ptNote     = 4
	ptGNURelro = 0x6474e552

	pfExec = 1 // p_flags PF_X
)

// ReadELF reads the facts of the ELF file r of size bytes, in a few reads of a
// few kilobytes near its headers, whatever its size. Section headers are not
// used, so a stripped file says as much as any; a file without program headers
// (an object file, a kernel module) says only its class, type and machine. A
// build ID outside every PT_NOTE, where Go's own linker puts it, is not seen, as
// it is not by the kernel (lib/buildid.c).
//
// It returns ErrNotELF, a *FormatError for a file that contradicts itself, or
// the error of a read. With a *FormatError the ELF holds every fact that could
// be read beside the first contradiction, which is the one named.
func ReadELF(r io.ReaderAt, size int64) (ELF, error) {
	f := elfFile{r: r, size: uint64(max(size, 0)), budget: elfBudget}
	err := f.read()
	if err == nil && f.bad != nil {
		err = f.bad
	}
	return f.out, err
}

// elfFile is one reading of one file.
type elfFile struct {
	r      io.ReaderAt
	size   uint64
	budget int // bytes that may still be read

	order binary.ByteOrder
	is64  bool
	phdrs []byte // the program header table
	phoff uint64

	notes   int // notes seen
	sawNote bool
	pie     bool

	out ELF
	bad *FormatError // the first contradiction

	winOff uint64
	winLen int
	win    [elfWindow]byte
}

// keep remembers the first contradiction, so that reading goes on beside it,
// and gives back an error of any other kind.
func (f *elfFile) keep(err error) error {
	fe, ok := errors.AsType[*FormatError](err)
	if !ok {
		return err
	}
	if f.bad == nil {
		f.bad = fe
	}
	return nil
}

func (f *elfFile) read() error {
	if err := f.header(); err != nil {
		return err
	}
	var dynamic, interp, code segment // the first of each; the kernel takes the first too
	for i := range len(f.phdrs) / f.phentsize() {
		s := f.segment(i)
		switch s.typ {
		case ptLoad:
			if code.typ == 0 && s.flags&pfExec != 0 {
				code = s
				f.out.Layout.ExecVaddr = s.vaddr
			}
		case ptNote:
			if err := f.keep(f.readNotes(s)); err != nil {
				return err
			}
		case ptInterp:
			if interp.typ == 0 {
				interp = s
			}
		case ptDynamic:
			if dynamic.typ == 0 {
				dynamic = s
			}
		case ptGNURelro:
			f.out.RelroVaddr, f.out.RelroSize = s.vaddr, s.memsz
		}
	}
	if interp.typ != 0 {
		if err := f.keep(f.readInterp(interp)); err != nil {
			return err
		}
	}
	if dynamic.typ != 0 {
		l := &f.out.Layout
		l.DynamicVaddr, l.DynamicOffset, l.DynamicSize = dynamic.vaddr, dynamic.off, dynamic.filesz
		if err := f.keep(f.readDynamic(dynamic)); err != nil {
			return err
		}
	}
	f.out.Static = len(f.phdrs) > 0 && (f.out.Type == typeExec || f.pie) &&
		interp.typ == 0 && len(f.out.Needed) == 0
	return nil
}

// header reads the file header and the program header table.
func (f *elfFile) header() error {
	if f.size < uint64(len(elfMagic)) {
		return ErrNotELF
	}
	b, err := f.at(0, len(elfMagic))
	if err != nil {
		return err
	}
	if string(b) != elfMagic {
		return ErrNotELF
	}
	if b, err = f.at(0, 16); err != nil {
		return err
	}
	class, data := b[4], b[5]
	switch data {
	case 1:
		f.order = binary.LittleEndian
	case 2:
		f.order = binary.BigEndian
	default:
		return formatErrorf(5, "unknown data encoding %d", data)
	}
	headerSize := 52
	switch class {
	case 1:
		f.out.Class = 32
	case 2:
		f.out.Class, f.is64, headerSize = 64, true, 64
	default:
		return formatErrorf(4, "unknown class %d", class)
	}
	if b, err = f.at(0, headerSize); err != nil {
		return err
	}
	f.out.Type = f.order.Uint16(b[16:])
	f.out.Machine = f.order.Uint16(b[18:])

	sizes := 42 // where e_phentsize and then e_phnum stand
	if f.is64 {
		f.phoff, sizes = f.order.Uint64(b[32:]), 54
	} else {
		f.phoff = uint64(f.order.Uint32(b[28:]))
	}
	entsize := int(f.order.Uint16(b[sizes:]))
	num := int(f.order.Uint16(b[sizes+2:]))
	if num == 0 {
		return nil
	}
	if entsize != f.phentsize() {
		return formatErrorf(uint64(sizes), "program headers of %d bytes instead of %d", entsize, f.phentsize())
	}
	if num*entsize > maxPhdrs {
		return formatErrorf(uint64(sizes+2), "%d program headers", num)
	}
	f.phdrs, err = f.copyAt(f.phoff, num*entsize)
	return err
}

func (f *elfFile) phentsize() int {
	if f.is64 {
		return 56
	}
	return 32
}

// segment is one program header.
type segment struct {
	typ, flags                uint32
	off, vaddr, filesz, memsz uint64
	align                     uint64
	header                    uint64 // where the program header itself stands
}

func (f *elfFile) segment(i int) segment {
	at := i * f.phentsize()
	b := f.phdrs[at : at+f.phentsize()]
	s := segment{typ: f.order.Uint32(b), header: f.phoff + uint64(at)}
	if f.is64 {
		s.flags = f.order.Uint32(b[4:])
		s.off, s.vaddr = f.order.Uint64(b[8:]), f.order.Uint64(b[16:])
		s.filesz, s.memsz = f.order.Uint64(b[32:]), f.order.Uint64(b[40:])
		s.align = f.order.Uint64(b[48:])
		return s
	}
	s.off, s.vaddr = uint64(f.order.Uint32(b[4:])), uint64(f.order.Uint32(b[8:]))
	s.filesz, s.memsz = uint64(f.order.Uint32(b[16:])), uint64(f.order.Uint32(b[20:]))
	s.flags = f.order.Uint32(b[24:])
	s.align = uint64(f.order.Uint32(b[28:]))
	return s
}

// inFile refuses a segment that is not wholly in the file.
func (f *elfFile) inFile(s segment) error {
	if s.off > f.size || s.filesz > f.size-s.off {
		return formatErrorf(s.header, "segment of %d bytes at offset %d lies beyond the end of the file", s.filesz, s.off)
	}
	return nil
}

func (f *elfFile) readInterp(s segment) error {
	if s.filesz == 0 { // as objcopy --only-keep-debug leaves it
		return nil
	}
	if err := f.inFile(s); err != nil {
		return err
	}
	var err error
	f.out.Interp, err = f.cstring(s.off, s.filesz)
	return err
}
