package file

import (
	"bytes"
	"encoding/binary"
)

// elfMaker writes an ELF file whose headers say what a test wants: notes,
// interpreter, dynamic section and string table, each in a segment of its own,
// under one PT_LOAD of the whole file at address loadAddr.
type elfMaker struct {
	bits  int
	order binary.ByteOrder
	typ   uint16

	noteSegments []noteSegment
	interp       string
	dynamic      []dynEntry // DT_STRTAB and DT_STRSZ are added
	strtab       string
	relro        [2]uint64
}

type noteSegment struct {
	align uint64
	data  []byte
}

type dynEntry struct{ tag, val uint64 }

const loadAddr = 0x400000

// note encodes a note padded for align.
func (m elfMaker) note(align int, owner string, typ uint32, desc []byte) []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%align != 0 {
			b.WriteByte(0)
		}
	}
	for _, w := range []uint32{uint32(len(owner)), uint32(len(desc)), typ} {
		_ = binary.Write(&b, m.order, w)
	}
	b.WriteString(owner)
	pad()
	b.Write(desc)
	pad()
	return b.Bytes()
}

func (m elfMaker) bytes() []byte {
	type part struct {
		typ   uint32
		align uint64
		data  []byte
	}
	var parts []part
	for _, n := range m.noteSegments {
		parts = append(parts, part{ptNote, n.align, n.data})
	}
	if m.interp != "" {
		parts = append(parts, part{ptInterp, 1, []byte(m.interp + "\x00")})
	}
	headerSize, phentsize := 52, 32
	if m.bits == 64 {
		headerSize, phentsize = 64, 56
	}
	phnum := len(parts) + 3 // PT_LOAD, PT_GNU_RELRO, PT_DYNAMIC

	var body bytes.Buffer
	start := (headerSize + phnum*phentsize + 15) &^ 15
	put := func(b []byte) (at uint64) {
		for (start+body.Len())%16 != 0 {
			body.WriteByte(0)
		}
		at = uint64(start + body.Len())
		body.Write(b)
		return at
	}
	var phdrs bytes.Buffer
	write := func(to *bytes.Buffer, values ...uint64) {
		for _, v := range values {
			if m.bits == 64 {
				_ = binary.Write(to, m.order, v)
			} else {
				_ = binary.Write(to, m.order, uint32(v))
			}
		}
	}
	phdr := func(typ uint32, off, vaddr, filesz, memsz, align uint64) {
		_ = binary.Write(&phdrs, m.order, typ)
		if m.bits == 64 {
			_ = binary.Write(&phdrs, m.order, uint32(4))
		}
		write(&phdrs, off, vaddr, vaddr, filesz, memsz)
		if m.bits == 32 {
			_ = binary.Write(&phdrs, m.order, uint32(4))
		}
		write(&phdrs, align)
	}
	for _, p := range parts {
		at, n := put(p.data), uint64(len(p.data))
		phdr(p.typ, at, loadAddr+at, n, n, p.align)
	}
	strtab := put([]byte(m.strtab))
	var dyn bytes.Buffer
	for _, e := range append(m.dynamic, dynEntry{dtStrtab, loadAddr + strtab}, dynEntry{dtStrsz, uint64(len(m.strtab))}, dynEntry{}) {
		write(&dyn, e.tag, e.val)
	}
	at := put(dyn.Bytes())
	phdr(ptDynamic, at, loadAddr+at, uint64(dyn.Len()), uint64(dyn.Len()), 8)
	phdr(ptGNURelro, 0, m.relro[0], 0, m.relro[1], 1)
	total := uint64(start + body.Len())
	phdr(ptLoad, 0, loadAddr, total, total, 0x1000)

	var out bytes.Buffer
	class, data := byte(1), byte(1)
	if m.bits == 64 {
		class = 2
	}
	if m.order == binary.ByteOrder(binary.BigEndian) {
		data = 2
	}
	out.WriteString(elfMagic)
	out.Write([]byte{class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	_ = binary.Write(&out, m.order, []uint16{m.typ, 8})
	_ = binary.Write(&out, m.order, uint32(1))
	write(&out, loadAddr, uint64(headerSize), 0)
	_ = binary.Write(&out, m.order, uint32(0))
	_ = binary.Write(&out, m.order, []uint16{uint16(headerSize), uint16(phentsize), uint16(phnum), 0, 0, 0})
	out.Write(phdrs.Bytes())
	for out.Len() < start {
		out.WriteByte(0)
	}
	out.Write(body.Bytes())
	return out.Bytes()
}
