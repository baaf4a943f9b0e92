package module

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// Limits of a module file.
const (
	maxSections = 1 << 16 // with -ffunction-sections a large one has thousands
	maxStrings  = 8 << 20 // bytes of the sections' names
	maxModinfo  = 1 << 20 // bytes of .modinfo, aliases and firmware names in it
	maxNote     = 64 << 10
	maxBuildID  = 64  // bytes; linkers write 8 to 20
	maxWord     = 512 // bytes of one value of .modinfo that is kept
)

// Info is what a module file says of itself. What it does not say is empty.
type Info struct {
	Name       string // of the module, as it was built
	Srcversion string
	Version    string
	Vermagic   string // the kernel that it was built for: release, then features
	BuildID    string // lower-case hex
}

// ParseELF reads an uncompressed module of size bytes: a relocatable ELF file
// (elf(5)), which has sections and no segments. The signature that may follow
// (scripts/sign-file.c) is passed over. The error is an *Error without a file name.
func ParseELF(r io.ReaderAt, size int64) (Info, error) {
	e := &elf{r: r, size: uint64(max(size, 0))}
	if err := e.readHeader(); err != nil {
		return Info{}, err
	}
	var info Info
	if s, ok, err := e.section(".modinfo"); err != nil {
		return Info{}, err
	} else if !ok {
		return Info{}, formatErrorf(0, "ELF file without .modinfo, so no module")
	} else if b, err := e.content(s, maxModinfo); err != nil {
		return Info{}, err
	} else if err := info.parseModinfo(b, s.off); err != nil {
		return Info{}, err
	}
	s, ok, err := e.section(".note.gnu.build-id")
	if err != nil {
		return Info{}, err
	}
	if !ok {
		return info, nil
	}
	if s.typ != shtNote {
		return Info{}, formatErrorf(s.off, "section .note.gnu.build-id of type %d is no note", s.typ)
	}
	b, err := e.content(s, maxNote)
	if err != nil {
		return Info{}, err
	}
	if info.BuildID, err = parseBuildID(b, e.order); err != nil {
		return Info{}, formatErrorf(s.off, "%w", err)
	}
	return info, nil
}

// parseModinfo reads key=value, each ended by NUL. The first of a key counts, as for
// the kernel (get_next_modinfo of kernel/module/main.c).
func (i *Info) parseModinfo(b []byte, offset uint64) error {
	fields := map[string]*string{
		"name": &i.Name, "srcversion": &i.Srcversion, "version": &i.Version, "vermagic": &i.Vermagic,
	}
	for len(b) > 0 {
		word, rest, _ := bytes.Cut(b, []byte{0})
		key, value, ok := bytes.Cut(word, []byte{'='})
		if field := fields[string(key)]; ok && field != nil {
			if len(value) > maxWord {
				return formatErrorf(offset, "%s of %d bytes", key, len(value))
			}
			*field = string(value)
			delete(fields, string(key))
		}
		offset += uint64(len(b) - len(rest))
		b = rest
	}
	return nil
}

// parseBuildID finds the GNU build ID among notes: three words (name size,
// descriptor size, type 3), name and descriptor, each padded to 4 bytes (elf(5)).
func parseBuildID(b []byte, order binary.ByteOrder) (string, error) {
	for len(b) >= 12 {
		namesz, descsz, typ := uint64(order.Uint32(b)), uint64(order.Uint32(b[4:])), order.Uint32(b[8:])
		b = b[12:]
		desc, next := roundUp(namesz), roundUp(namesz)+roundUp(descsz)
		if desc+descsz > uint64(len(b)) {
			return "", fmt.Errorf("note of %d+%d bytes where %d are left", namesz, descsz, len(b))
		}
		if typ == 3 && namesz == 4 && string(b[:4]) == "GNU\x00" {
			if descsz == 0 || descsz > maxBuildID {
				return "", fmt.Errorf("build ID of %d bytes", descsz)
			}
			return hex.EncodeToString(b[desc : desc+descsz]), nil
		}
		b = b[min(next, uint64(len(b))):]
	}
	return "", nil
}

func roundUp(n uint64) uint64 { return (n + 3) &^ 3 }

// elf reads the sections of an ELF file of either class and byte order.
type elf struct {
	r     io.ReaderAt
	size  uint64
	order binary.ByteOrder
	wide  bool // ELFCLASS64
	table []byte
	entry int // bytes of one section header in table
	names []byte
}

type section struct {
	name, typ uint32
	flags     uint64
	off, size uint64
	link      uint32
}

const (
	shtNote   = 7
	shtNobits = 8

	shfCompressed = 0x800
)

func (e *elf) readHeader() error {
	h, err := e.read(0, min(64, e.size))
	if err != nil {
		return err
	}
	if len(h) < 52 || string(h[:4]) != "\x7fELF" {
		return formatErrorf(0, "not an ELF file")
	}
	switch h[5] {
	case 1:
		e.order = binary.LittleEndian
	case 2:
		e.order = binary.BigEndian
	default:
		return formatErrorf(5, "ELF byte order %d", h[5])
	}
	var shoff uint64
	var words []byte // e_shentsize, e_shnum, e_shstrndx
	switch {
	case h[4] == 1:
		e.entry = 40
		shoff, words = uint64(e.order.Uint32(h[32:])), h[46:]
	case h[4] == 2 && len(h) == 64:
		e.wide, e.entry = true, 64
		shoff, words = e.order.Uint64(h[40:]), h[58:]
	default:
		return formatErrorf(4, "ELF class %d in %d bytes", h[4], len(h))
	}
	if typ := e.order.Uint16(h[16:]); typ != 1 {
		return formatErrorf(16, "ELF type %d where a module is relocatable", typ)
	}
	if got := int(e.order.Uint16(words)); got != e.entry {
		return formatErrorf(0, "section headers of %d bytes", got)
	}
	count, strings := uint64(e.order.Uint16(words[2:])), uint64(e.order.Uint16(words[4:]))
	return e.readTable(shoff, count, strings)
}

// readTable reads the section headers. Numbers that do not fit the ELF header are in
// the first of them (elf(5), e_shnum and e_shstrndx).
func (e *elf) readTable(shoff, count, strings uint64) error {
	first, err := e.read(shoff, uint64(e.entry))
	if err != nil {
		return err
	}
	zero := e.parse(first)
	if count == 0 {
		count = zero.size
	}
	if strings == 0xffff {
		strings = uint64(zero.link)
	}
	if count == 0 || count > maxSections {
		return formatErrorf(shoff, "%d sections", count)
	}
	if strings == 0 || strings >= count {
		return formatErrorf(shoff, "names in section %d of %d", strings, count)
	}
	if e.table, err = e.read(shoff, count*uint64(e.entry)); err != nil {
		return err
	}
	e.names, err = e.content(e.parse(e.table[strings*uint64(e.entry):]), maxStrings)
	return err
}

func (e *elf) parse(b []byte) section {
	u := e.order.Uint32
	if e.wide {
		return section{name: u(b), typ: u(b[4:]), flags: e.order.Uint64(b[8:]),
			off: e.order.Uint64(b[24:]), size: e.order.Uint64(b[32:]), link: u(b[40:])}
	}
	return section{name: u(b), typ: u(b[4:]), flags: uint64(u(b[8:])),
		off: uint64(u(b[16:])), size: uint64(u(b[20:])), link: u(b[24:])}
}

// section returns the first section of a name; the kernel takes the first one, too.
func (e *elf) section(name string) (section, bool, error) {
	want := append([]byte(name), 0)
	for at := 0; at < len(e.table); at += e.entry {
		s := e.parse(e.table[at:])
		if uint64(s.name) > uint64(len(e.names)) {
			return section{}, false, formatErrorf(0, "name of section %d at %d of %d bytes", at/e.entry, s.name, len(e.names))
		}
		if bytes.HasPrefix(e.names[s.name:], want) {
			return s, true, nil
		}
	}
	return section{}, false, nil
}

func (e *elf) content(s section, limit uint64) ([]byte, error) {
	switch {
	case s.typ == shtNobits || s.flags&shfCompressed != 0:
		return nil, formatErrorf(s.off, "section without plain content")
	case s.size > limit:
		return nil, formatErrorf(s.off, "section of %d bytes where %d are allowed", s.size, limit)
	}
	return e.read(s.off, s.size)
}

// read returns n bytes at an offset, which must be in the file.
func (e *elf) read(offset, n uint64) ([]byte, error) {
	if offset > e.size || n > e.size-offset {
		return nil, formatErrorf(e.size, "the file ends before %d bytes at offset %d", n, offset)
	}
	b := make([]byte, n)
	if got, err := e.r.ReadAt(b, int64(offset)); got < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, formatErrorf(offset, "%w", err)
	}
	return b, nil
}
