package file

// Limits of the dynamic section.
const (
	maxDynamic = 4096 // entries; real files have some 30
	maxNeeded  = 256  // DT_NEEDED entries
	// maxNeededBytes bounds the names of all DT_NEEDED entries together, so
	// that facts of many files can be held.
	maxNeededBytes = 16 << 10
)

// Tags of the dynamic section (elf.h).
const (
	dtNull   = 0
	dtNeeded = 1
	dtStrtab = 5
	dtStrsz  = 10
	dtSoname = 14
	dtFlags1 = 0x6ffffffb

	dtRelasz = 8
	dtRelsz  = 18
	dtRelrsz = 35

	flagPIE = 0x08000000 // DF_1_PIE in DT_FLAGS_1
)

// stringRef is a string that a dynamic entry refers to.
type stringRef struct {
	index uint64 // in the string table
	entry uint64 // where the entry stands in the file
}

func (f *elfFile) readDynamic(s segment) error {
	if err := f.inFile(s); err != nil {
		return err
	}
	var (
		needed      []stringRef
		soname      *stringRef
		strtab      uint64
		strtabEntry uint64
		strsz       uint64
		strszEntry  uint64
		entsize     = uint64(8)
	)
	if f.is64 {
		entsize = 16
	}
	for i := range s.filesz / entsize {
		entry := s.off + i*entsize
		if i == maxDynamic {
			return formatErrorf(entry, "more than %d dynamic entries", maxDynamic)
		}
		b, err := f.at(entry, int(entsize))
		if err != nil {
			return err
		}
		var tag, val uint64
		if f.is64 {
			tag, val = f.order.Uint64(b), f.order.Uint64(b[8:])
		} else {
			tag, val = uint64(f.order.Uint32(b)), uint64(f.order.Uint32(b[4:]))
		}
		if tag == dtNull {
			break
		}
		switch tag {
		case dtNeeded:
			// One more than allowed is kept, for the complaint below.
			if len(needed) <= maxNeeded {
				needed = append(needed, stringRef{val, entry})
			}
		case dtSoname:
			soname = &stringRef{val, entry}
		case dtStrtab:
			strtab, strtabEntry = val, entry
		case dtStrsz:
			strsz, strszEntry = val, entry
		case dtRelasz, dtRelsz, dtRelrsz:
			f.out.Layout.Relocated = f.out.Layout.Relocated || val != 0
		case dtFlags1:
			f.pie = val&flagPIE != 0
		}
	}
	if soname == nil && len(needed) == 0 {
		return nil
	}
	if strtabEntry == 0 {
		return formatErrorf(s.header, "dynamic section names strings but no string table")
	}
	table, room, ok := f.fileOffset(strtab)
	if !ok {
		return formatErrorf(strtabEntry, "string table at address %#x, which is not in the file", strtab)
	}
	if strszEntry != 0 && strsz > room {
		if err := f.keep(formatErrorf(strszEntry, "string table of %d bytes where %d are left", strsz, room)); err != nil {
			return err
		}
	} else if strszEntry != 0 {
		room = strsz
	}
	return f.readNames(soname, needed, table, room)
}

// readNames reads the strings of the table of size bytes at offset table.
func (f *elfFile) readNames(soname *stringRef, needed []stringRef, table, size uint64) error {
	read := func(n stringRef) (string, error) {
		if n.index >= size {
			return "", f.keep(formatErrorf(n.entry, "string %d of a table of %d bytes", n.index, size))
		}
		s, err := f.cstring(table+n.index, size-n.index)
		return s, f.keep(err)
	}
	var err error
	if soname != nil {
		if f.out.Soname, err = read(*soname); err != nil {
			return err
		}
	}
	if len(needed) > 0 {
		f.out.Needed = make([]string, 0, min(len(needed), maxNeeded))
	}
	total := 0
	for i, n := range needed {
		if i == maxNeeded {
			return formatErrorf(n.entry, "more than %d needed libraries", maxNeeded)
		}
		s, err := read(n)
		if err != nil {
			return err
		}
		if total += len(s); total > maxNeededBytes {
			return formatErrorf(n.entry, "names of needed libraries of more than %d bytes", maxNeededBytes)
		}
		if s != "" {
			f.out.Needed = append(f.out.Needed, s)
		}
	}
	return nil
}

// fileOffset translates an address to an offset in the file, and says how many
// bytes follow it there in the same segment.
func (f *elfFile) fileOffset(vaddr uint64) (offset, room uint64, ok bool) {
	for i := range len(f.phdrs) / f.phentsize() {
		s := f.segment(i)
		if s.typ != ptLoad || vaddr < s.vaddr || vaddr-s.vaddr >= s.filesz || f.inFile(s) != nil {
			continue
		}
		skip := vaddr - s.vaddr
		return s.off + skip, s.filesz - skip, true
	}
	return 0, 0, false
}
