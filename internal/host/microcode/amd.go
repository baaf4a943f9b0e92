package microcode

import "encoding/binary"

// Sizes and marks of AMD's format (arch/x86/kernel/cpu/microcode/amd.c and
// arch/x86/include/asm/microcode_amd.h before Linux 6.7): containers that follow one
// another, each a header, a table that gives processors equivalence IDs, and patches.
const (
	amdMagic         = 0x00414d44 // "DMA\0"
	amdHeader        = 12         // magic, type 0, size of the table
	amdEntry         = 16
	amdSection       = 8 // type 1, size of the patch
	amdPatch         = 64
	maxEquivalences  = 4096
	amdZen           = 0x17 // from this family on a patch's revision names its processor
	amdPatchFamilies = 0xf  // family of the equivalence IDs 0x0nnn
)

// newestAMD reads a file of containers. A patch is for the processor if its equivalence
// ID is the one that the container's table gives; from family 17h on the revision itself
// says family, model and stepping, which Linux goes by since 6.13. Where there are
// several, the early loader takes one and the late loader the newest; the newest counts
// here. The error is an *Error without a file name, or ErrNoUpdate.
func newestAMD(b []byte, cpu CPU) (Update, error) {
	var c choice
	count := 0
	for at := 0; at < len(b); {
		if allZero(b[at:]) {
			break
		}
		size, err := readContainer(b, at, cpu, &count, &c)
		if err != nil {
			return c.result(err)
		}
		at += size
	}
	return c.result(nil)
}

// readContainer adds the patches of the container at an offset and returns its size.
func readContainer(b []byte, start int, cpu CPU, count *int, c *choice) (int, error) {
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	if len(b)-start < amdHeader {
		return 0, formatErrorf(start, "%d bytes where a container's header has %d", len(b)-start, amdHeader)
	}
	if m := word(start); m != amdMagic {
		return 0, formatErrorf(start, "container begins with %#x", m)
	}
	if typ := word(start + 4); typ != 0 {
		return 0, formatErrorf(start+4, "section of type %d where the table of processors is", typ)
	}
	table := uint64(word(start + 8))
	at := start + amdHeader
	switch {
	case table > uint64(len(b)-at):
		return 0, formatErrorf(start+8, "table of %d bytes where %d are left", table, len(b)-at)
	case table < amdEntry || table%amdEntry != 0 || table > maxEquivalences*amdEntry:
		return 0, formatErrorf(start+8, "table of %d bytes", table)
	}
	id := equivalence(b[at:at+int(table)], cpu.Signature)
	for at += int(table); at < len(b); {
		if len(b)-at >= 4 && word(at) == amdMagic || allZero(b[at:]) {
			break // the next container, or padding
		}
		if *count++; *count > maxUpdates {
			return 0, formatErrorf(at, "more than %d patches", maxUpdates)
		}
		if len(b)-at < amdSection {
			return 0, formatErrorf(at, "%d bytes where a section's header has %d", len(b)-at, amdSection)
		}
		typ, size := word(at), uint64(word(at+4))
		switch {
		case typ != 1:
			return 0, formatErrorf(at, "section of type %d where a patch is", typ)
		case size > uint64(len(b)-at-amdSection):
			return 0, formatErrorf(at+4, "patch of %d bytes where %d are left", size, len(b)-at-amdSection)
		case size < amdPatch:
			return 0, formatErrorf(at+4, "patch of %d bytes where its header has %d", size, amdPatch)
		}
		if p := at + amdSection; fits(b[p:p+amdPatch], cpu, id) {
			c.add(Update{Revision: word(p + 4), Date: date(word(p)), Offset: int64(p)})
		}
		at += amdSection + int(size)
	}
	return at - start, nil
}

// equivalence returns the ID that the table gives to a signature, the first if there are
// several, 0 if none: entries are signature, two words about errata, ID and a reserved
// half word.
func equivalence(table []byte, signature uint32) uint16 {
	for ; len(table) >= amdEntry; table = table[amdEntry:] {
		if binary.LittleEndian.Uint32(table) == signature {
			return binary.LittleEndian.Uint16(table[12:])
		}
	}
	return 0
}

// fits says whether a patch, given its header, is for the processor. One for a certain
// chipset is for none: the kernel does not load it.
func fits(h []byte, cpu CPU, id uint16) bool {
	if binary.LittleEndian.Uint32(h[16:]) != 0 || binary.LittleEndian.Uint32(h[20:]) != 0 {
		return false
	}
	if cpu.Family >= amdZen {
		return revisionSignature(binary.LittleEndian.Uint32(h[4:])) == cpu.Signature
	}
	rev := binary.LittleEndian.Uint16(h[24:])
	return id != 0 && rev == id && amdPatchFamilies+uint32(rev>>12) == cpu.Family
}

// revisionSignature returns the signature that a revision of family 17h and later is
// for: from the highest bit on 8 bits of extended family, 4 of extended model, 4
// reserved, 4 of model, 4 of stepping, 8 of revision (union zen_patch_rev of amd.c).
func revisionSignature(revision uint32) uint32 {
	return revision>>24<<20 | revision>>20&0xf<<16 | 0xf<<8 | revision>>12&0xf<<4 | revision>>8&0xf
}
