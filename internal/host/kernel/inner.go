package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
)

// inner is what an unpacked kernel says of itself.
type inner struct{ release, version, buildID string }

// readInner reads an unpacked kernel, an ELF file or a bare Image, no further
// than it has to. Offsets of errors are those of the unpacked content.
func readInner(r *unpacked) (inner, error) {
	head := make([]byte, 64)
	if _, err := io.ReadFull(r, head); err != nil {
		return inner{}, r.cut(err, "header")
	}
	switch {
	case bytes.HasPrefix(head, []byte(elfMagic)):
		return readInnerELF(r, head)
	case isImage(head):
		return scanImage(r)
	}
	return inner{}, errorAt(0, "unpacked: %w", ErrNotKernel)
}

const (
	maxProgramHeaders = 64
	// maxHeaderOffset bounds where the program headers may be; linkers put them
	// behind the ELF header.
	maxHeaderOffset = 1 << 20
)

// readInnerELF reads the first PT_NOTE segment of an ELF file (elf(5)) from a
// stream, of which head has been read.
func readInnerELF(r *unpacked, head []byte) (inner, error) {
	var order binary.ByteOrder = binary.LittleEndian
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	is64 := head[elf.EI_CLASS] == byte(elf.ELFCLASS64)
	var phoff uint64
	var entsize, count, wantSize int
	if is64 {
		phoff, wantSize = order.Uint64(head[32:]), 56
		entsize, count = int(order.Uint16(head[54:])), int(order.Uint16(head[56:]))
	} else {
		phoff, wantSize = uint64(order.Uint32(head[28:])), 32
		entsize, count = int(order.Uint16(head[42:])), int(order.Uint16(head[44:]))
	}
	if entsize != wantSize || count > maxProgramHeaders || phoff > maxHeaderOffset {
		return inner{}, errorAt(0, "unpacked: %d program headers of %d bytes at %d", count, entsize, phoff)
	}
	// Program headers of 32 bits may begin inside what has been read.
	table := make([]byte, 0, entsize*count)
	if phoff < 64 {
		table = append(table, head[phoff:min(64, int(phoff)+cap(table))]...)
	} else if err := skip(r, int64(phoff)); err != nil {
		return inner{}, r.cut(err, "program headers")
	}
	n := len(table)
	table = table[:cap(table)]
	if _, err := io.ReadFull(r, table[n:]); err != nil {
		return inner{}, r.cut(err, "program headers")
	}
	for i := range count {
		p := table[i*entsize:][:entsize]
		if elf.ProgType(order.Uint32(p)) != elf.PT_NOTE {
			continue
		}
		var off, size uint64
		if is64 {
			off, size = order.Uint64(p[8:]), order.Uint64(p[32:])
		} else {
			off, size = uint64(order.Uint32(p[4:])), uint64(order.Uint32(p[16:]))
		}
		if off < uint64(r.pos) || off > maxUnpacked || size > maxNoteBytes {
			return inner{}, errorAt(int64(phoff)+int64(i*entsize), "unpacked: notes of %d bytes at %d", size, off)
		}
		if err := skip(r, int64(off)); err != nil {
			return inner{}, r.cut(err, "segments")
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return inner{}, r.cut(err, "notes")
		}
		notes, err := ParseNotes(data, order)
		if e, ok := err.(*Error); ok {
			err = errorAt(int64(off)+e.Offset, "unpacked: %w", e.Err)
		}
		return inner{buildID: notes.BuildID}, err
	}
	return inner{}, nil
}

// skip reads on to the offset to.
func skip(r *unpacked, to int64) error {
	_, err := io.CopyN(io.Discard, r, to-r.pos)
	return err
}

// A bare Image has no headers that lead to its notes, and a vDSO, which is an
// ELF file with notes of its own, lies in it. What tells the notes of a vDSO
// apart is the version code among them (arch/arm64/kernel/vdso/note.S).
//
// scanWindow is how much is looked at in one go, scanOverlap how much of that
// again in the next: more than the longest thing looked for.
const (
	scanWindow  = 1 << 20
	scanOverlap = 4096
)

// noteRun is notes that follow one another without a gap.
type noteRun struct {
	end     int64
	buildID string
	vdso    bool
	ids     int
}

// imageScan collects what a bare Image has while it passes.
type imageScan struct {
	runs   []noteRun
	banner string
	seen   int64 // notes before this offset are known
}

func scanImage(r *unpacked) (inner, error) {
	var s imageScan
	buf := make([]byte, 0, scanWindow)
	base := r.pos
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		last := err != nil
		if last && err != io.EOF && err != io.ErrUnexpectedEOF {
			return s.result(), err
		}
		s.window(buf, base, last)
		if last {
			return s.result(), nil
		}
		keep := copy(buf, buf[len(buf)-scanOverlap:])
		base += int64(len(buf) - keep)
		buf = buf[:keep]
	}
}

func (s *imageScan) result() inner {
	var in inner
	if s.banner != "" {
		in.version = s.banner
		in.release, _, _ = strings.Cut(in.version, " ")
	}
	found := 0
	for _, run := range s.runs {
		if run.buildID != "" && !run.vdso {
			in.buildID = run.buildID
			found += run.ids
		}
	}
	if found != 1 {
		in.buildID = ""
	}
	return in
}

// window looks at buf, which stands at base. What might go on behind it is left
// to the next one, which begins scanOverlap bytes before the end.
func (s *imageScan) window(buf []byte, base int64, last bool) {
	limit := len(buf)
	if !last {
		limit -= scanOverlap / 2
	}
	if s.banner == "" {
		s.findBanner(buf[:limit], buf)
	}
	for pos := 0; pos < limit; {
		i := nextNote(buf[pos:])
		if i < 0 {
			return
		}
		at := pos + i
		pos = at + 4
		if abs := base + int64(at); at < limit && abs%4 == 0 && abs >= s.seen {
			s.note(buf[at:], abs)
		}
	}
}

// findBanner finds linux_banner (init/version-timestamp.c).
func (s *imageScan) findBanner(buf, whole []byte) {
	const prefix = "Linux version "
	for pos := 0; ; {
		i := bytes.Index(buf[pos:], []byte(prefix))
		if i < 0 {
			return
		}
		pos += i + len(prefix)
		text := whole[pos:min(len(whole), pos+maxVersion)]
		if end := bytes.IndexByte(text, '\n'); end > 0 && isDigit(text[0]) {
			s.banner = string(text[:end])
			return
		}
	}
}

// nextNote finds where a note of the owner "GNU" or "Linux" may begin: twelve
// bytes before its name.
func nextNote(buf []byte) int {
	found := -1
	for _, name := range []string{"GNU\x00", "Linux\x00\x00\x00"} {
		if len(buf) <= 12 {
			break
		}
		limit := len(buf)
		if found >= 0 {
			limit = min(limit, found+12+len(name))
		}
		if i := bytes.Index(buf[12:limit], []byte(name)); i >= 0 && (found < 0 || i < found) {
			found = i
		}
	}
	return found
}

func (s *imageScan) note(b []byte, abs int64) {
	namesz, descsz, typ := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	id := namesz == 4 && typ == noteBuildID && descsz > 0 && descsz <= maxBuildID
	linux := namesz == 6 && (typ == noteVersion || typ == noteBuildSalt || typ == noteLTO) && descsz <= maxSalt
	desc := 12 + align4(uint64(namesz))
	if !id && !linux || desc+uint64(descsz) > uint64(len(b)) || len(s.runs) == maxNotes {
		return
	}
	if len(s.runs) == 0 || s.runs[len(s.runs)-1].end != abs {
		s.runs = append(s.runs, noteRun{})
	}
	run := &s.runs[len(s.runs)-1]
	run.end = abs + int64(desc+align4(uint64(descsz)))
	s.seen = abs + int64(desc)
	if id {
		run.ids++
		run.buildID = hex.EncodeToString(b[desc : desc+uint64(descsz)])
	} else if typ == noteVersion {
		run.vdso = true
	}
}
