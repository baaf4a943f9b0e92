package microcode

import (
	"encoding/binary"
	"fmt"
)

// Sizes of Intel's format (Intel SDM volume 3, "Microcode Update Facilities", and
// arch/x86/kernel/cpu/microcode/intel.c): a header, data, and perhaps a table of more
// processors.
const (
	intelHeader    = 48
	intelExtHeader = 20
	intelExtEntry  = 12
	intelData      = 2000 // of an update whose header gives no size
	maxUpdates     = 8192 // in one file
)

// newestIntel reads a file of updates that follow one another. The error is an *Error
// without a file name, ErrNoUpdate or ErrPlatform.
func newestIntel(b []byte, cpu CPU) (Update, error) {
	var c choice
	platform := true
	for at, count := 0, 0; at < len(b); count++ {
		if allZero(b[at:]) { // padding, as cpio and block devices need
			break
		}
		if count == maxUpdates {
			return c.result(formatErrorf(at, "more than %d updates", maxUpdates))
		}
		u, err := parseIntel(b[at:])
		if err != nil {
			d := err.(*Error)
			d.Offset += int64(at)
			return c.result(d)
		}
		for _, p := range u.processors {
			if p.signature != cpu.Signature {
				continue
			}
			if cpu.PlatformKnown && p.platform&cpu.Platform == 0 && (p.platform != 0 || cpu.Platform != 0) {
				continue
			}
			platform = platform && cpu.PlatformKnown
			c.add(Update{Revision: u.revision, Date: u.date, Offset: int64(at)})
		}
		at += u.size
	}
	if !platform {
		return c.result(ErrPlatform)
	}
	return c.result(nil)
}

func allZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// processor is what an update is for: CPUID(1).EAX, and a bit for each platform that it
// fits.
type processor struct{ signature, platform uint32 }

type intelUpdate struct {
	revision   uint32
	date       string
	size       int // bytes of all of it
	processors []processor
}

// parseIntel reads the update at the beginning of b; the error is an *Error.
func parseIntel(b []byte) (intelUpdate, error) {
	if len(b) < intelHeader {
		return intelUpdate{}, formatErrorf(0, "%d bytes where a header has %d", len(b), intelHeader)
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	if v, loader := word(0), word(20); v != 1 || loader != 1 {
		return intelUpdate{}, formatErrorf(0, "header version %#x and loader version %#x where both are 1", v, loader)
	}
	data, total := uint64(word(28)), uint64(word(32))
	if data == 0 {
		data, total = intelData, intelHeader+intelData
	}
	switch {
	case total > uint64(len(b)):
		return intelUpdate{}, formatErrorf(32, "update of %d bytes where %d are left", total, len(b))
	case data%4 != 0 || total%4 != 0 || intelHeader+data > total:
		return intelUpdate{}, formatErrorf(28, "%d bytes of data in an update of %d", data, total)
	}
	main := b[:intelHeader+data]
	if s := sum(main); s != 0 {
		return intelUpdate{}, formatErrorf(16, "checksum does not match: off by %#x", s)
	}
	u := intelUpdate{revision: word(4), date: date(word(8)), size: int(total),
		processors: []processor{{word(12), word(24)}}}
	if ext := b[len(main):total]; len(ext) > 0 {
		more, err := parseExtended(ext, word(12)+word(24)+word(16))
		if err != nil {
			return intelUpdate{}, formatErrorf(len(main), "%w", err)
		}
		u.processors = append(u.processors, more...)
	}
	return u, nil
}

// parseExtended reads the table of more processors, all of b: a count, a checksum of
// the table, three words, and for each processor signature, platforms and the checksum
// that the main header would have with these two in place of its own. base is the sum
// of those three in the main header.
func parseExtended(b []byte, base uint32) ([]processor, error) {
	if len(b) < intelExtHeader {
		return nil, fmt.Errorf("%d bytes after the data where a table has %d", len(b), intelExtHeader)
	}
	count := uint64(binary.LittleEndian.Uint32(b))
	if want := intelExtHeader + count*intelExtEntry; want != uint64(len(b)) {
		return nil, fmt.Errorf("table of %d processors in %d bytes", count, len(b))
	}
	if s := sum(b); s != 0 {
		return nil, fmt.Errorf("checksum of the table does not match: off by %#x", s)
	}
	list := make([]processor, 0, count)
	for e := b[intelExtHeader:]; len(e) > 0; e = e[intelExtEntry:] {
		p := processor{binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])}
		if p.signature+p.platform+binary.LittleEndian.Uint32(e[8:]) != base {
			return nil, fmt.Errorf("checksum of processor %#x in the table does not match", p.signature)
		}
		list = append(list, p)
	}
	return list, nil
}

// sum adds words of 32 bits; b has a whole number of them.
func sum(b []byte) uint32 {
	var s uint32
	for ; len(b) >= 4; b = b[4:] {
		s += binary.LittleEndian.Uint32(b)
	}
	return s
}
