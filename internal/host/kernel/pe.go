package kernel

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// maxSections bounds the sections of an EFI program; unified kernel images have
// some fifteen, those with several profiles a few dozen.
const maxSections = 256

// readUKI reads the sections of an EFI program (Microsoft, "PE Format": the
// offset of the PE header at 0x3c; there "PE", a COFF header of 20 bytes, the
// optional header, and 40 bytes a section). Of several sections of a name the
// first counts: those behind a section .profile are other profiles' (UAPI.5).
func readUKI(r io.ReaderAt, size int64, head []byte) (Image, part, error) {
	img := Image{Format: FormatUKI}
	if len(head) < 0x40 {
		return Image{}, part{}, ErrNotKernel
	}
	pe := int64(binary.LittleEndian.Uint32(head[0x3c:]))
	var coff [24]byte
	if err := readAt(r, size, coff[:], pe); err != nil {
		return img, part{}, err
	}
	if string(coff[:4]) != "PE\x00\x00" {
		return Image{}, part{}, ErrNotKernel
	}
	count := int64(binary.LittleEndian.Uint16(coff[6:]))
	if count > maxSections {
		return img, part{}, errorAt(pe+6, "%d sections", count)
	}
	off := pe + int64(len(coff)) + int64(binary.LittleEndian.Uint16(coff[20:]))
	table := make([]byte, 40*count)
	if err := readAt(r, size, table, off); err != nil {
		return img, part{}, err
	}
	sections := make(map[string]part)
	for i := range count {
		s := table[40*i:][:40]
		name := string(bytes.TrimRight(s[:8], "\x00"))
		// What is in memory beyond the file's is zeros, what is in the file beyond
		// that is padding.
		p := part{
			off:  int64(binary.LittleEndian.Uint32(s[20:])),
			size: int64(min(binary.LittleEndian.Uint32(s[8:]), binary.LittleEndian.Uint32(s[16:]))),
		}
		if _, ok := sections[name]; ok {
			continue
		}
		if p.off > size || p.size > size-p.off {
			return img, part{}, errorAt(off+40*i, "section %.8q of %d bytes at %d in a file of %d", name, p.size, p.off, size)
		}
		sections[name] = p
	}
	linux, ok := sections[".linux"]
	if !ok {
		return Image{}, part{}, ErrNotKernel
	}
	inner, where, err := readHeaders(io.NewSectionReader(r, linux.off, linux.size), linux.size, false)
	img.Release, img.Version = inner.Release, inner.Version
	where.off += linux.off
	if err != nil {
		err = shift(err, linux.off)
	}
	if name, nameErr := sectionText(r, sections[".uname"], maxVersion); nameErr == nil {
		if name = strings.TrimSpace(name); name != "" {
			img.Release = name
		}
	} else if err == nil {
		err = nameErr
	}
	var osErr error
	if img.OSRelease, osErr = sectionText(r, sections[".osrel"], maxOSRelease); err == nil {
		err = osErr
	}
	return img, where, err
}

func sectionText(r io.ReaderAt, p part, limit int64) (string, error) {
	if p.size > limit {
		return "", errorAt(p.off, "section of %d bytes where %d are allowed", p.size, limit)
	}
	b := make([]byte, p.size)
	if _, err := io.ReadFull(io.NewSectionReader(r, p.off, p.size), b); err != nil {
		return "", err
	}
	return string(bytes.TrimRight(b, "\x00")), nil
}

// readAt fills b with what stands at off of a file of size bytes.
func readAt(r io.ReaderAt, size int64, b []byte, off int64) error {
	if off > size || int64(len(b)) > size-off {
		return errorAt(off, "%d bytes wanted in a file of %d", len(b), size)
	}
	_, err := io.ReadFull(io.NewSectionReader(r, off, int64(len(b))), b)
	return err
}
