package file

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of the notes.
const (
	maxNotes       = 1024     // in one file
	maxBuildID     = 64       // bytes; linkers write 8 to 20
	maxGoBuildID   = 256      // bytes; the go command writes 83
	maxPackageNote = 64 << 10 // bytes of JSON
	maxPackageWord = 1024     // bytes of one field of it
)

// Note types, each in the name space of its owner.
const (
	noteGNUBuildID = 3          // owner "GNU", elf.h
	noteGoBuildID  = 4          // owner "Go", cmd/link/internal/ld/elf.go
	notePackage    = 0xcafe1a7e // owner "FDO", see PackageNote
)

// PackageNote is the package that an ELF file was built for, as its builder
// recorded it in the note .note.package (systemd, "Package Metadata for
// Executable Files"). Debian and Ubuntu record the source package there.
type PackageNote struct {
	Type         string `json:"type"` // deb, rpm, …
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	OS           string `json:"os"`        // ID of os-release(5); Debian writes "Debian"
	OSVersion    string `json:"osVersion"` // VERSION_ID of os-release(5)
	DebugInfoURL string `json:"debugInfoUrl"`
}

// readNotes reads the notes of a PT_NOTE segment: three words (name size,
// descriptor size, type), then name and descriptor, each padded to the
// segment's alignment (elf(5); 8 is used beside 4 since GNU property notes).
func (f *elfFile) readNotes(s segment) error {
	if err := f.inFile(s); err != nil {
		return err
	}
	align := uint64(4)
	if s.align == 8 {
		align = 8
	}
	const words = 12
	for pos, end := s.off, s.off+s.filesz; pos < end && end-pos >= words; {
		if f.notes++; f.notes > maxNotes {
			return formatErrorf(pos, "more than %d notes", maxNotes)
		}
		b, err := f.at(pos, words)
		if err != nil {
			return err
		}
		namesz, descsz := uint64(f.order.Uint32(b)), uint64(f.order.Uint32(b[4:]))
		typ := f.order.Uint32(b[8:])
		desc := roundUp(words+namesz, align)
		if desc > end-pos || descsz > end-pos-desc {
			return formatErrorf(pos, "note of %d+%d bytes where %d are left", namesz, descsz, end-pos-words)
		}
		if namesz == 4 {
			if b, err = f.at(pos+words, 4); err != nil {
				return err
			}
			if err := f.keep(f.readNote(string(b), typ, pos+desc, descsz)); err != nil {
				return err
			}
		}
		pos += roundUp(desc+descsz, align)
	}
	return nil
}

func roundUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// readNote reads the descriptor of size bytes at offset. The first note of a
// kind counts, as for the kernel (lib/buildid.c).
func (f *elfFile) readNote(owner string, typ uint32, offset, size uint64) error {
	switch {
	case owner == "GNU\x00" && typ == noteGNUBuildID && f.out.BuildID == "":
		if size > maxBuildID {
			return formatErrorf(offset, "build ID of %d bytes", size)
		}
		b, err := f.at(offset, int(size))
		if err != nil {
			return err
		}
		f.out.BuildID = hex.EncodeToString(b)
	case owner == "Go\x00\x00" && typ == noteGoBuildID && f.out.GoBuildID == "":
		if size > maxGoBuildID {
			return formatErrorf(offset, "Go build ID of %d bytes", size)
		}
		b, err := f.at(offset, int(size))
		if err != nil {
			return err
		}
		f.out.GoBuildID = string(b)
	case owner == "FDO\x00" && typ == notePackage && !f.sawNote:
		f.sawNote = true
		return f.readPackageNote(offset, size)
	}
	return nil
}

func (f *elfFile) readPackageNote(offset, size uint64) error {
	if size > maxPackageNote {
		return formatErrorf(offset, "package note of %d bytes", size)
	}
	b, err := f.copyAt(offset, int(size))
	if err != nil {
		return err
	}
	note, err := parsePackageNote(b)
	if err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset += uint64(syntax.Offset)
		}
		return formatErrorf(offset, "package note: %w", err)
	}
	f.out.PackageNote = note
	return nil
}

// parsePackageNote parses the descriptor of a package note: a JSON object that
// a NUL ends, if anything follows it. Unknown keys are allowed by the
// specification.
func parsePackageNote(b []byte) (*PackageNote, error) {
	b, _, _ = bytes.Cut(b, []byte{0})
	note := new(PackageNote)
	if err := json.Unmarshal(b, note); err != nil {
		return nil, err
	}
	for _, s := range []string{
		note.Type, note.Name, note.Version, note.Architecture,
		note.OS, note.OSVersion, note.DebugInfoURL,
	} {
		if len(s) > maxPackageWord {
			return nil, fmt.Errorf("value of %d bytes", len(s))
		}
	}
	return note, nil
}
