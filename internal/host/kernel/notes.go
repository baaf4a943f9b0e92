package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
)

// Limits of the notes. Kernels have about ten, in less than 1 KiB.
const (
	maxNoteBytes = 64 << 10
	maxNotes     = 256
	maxBuildID   = 64 // bytes; linkers write 8 to 20
	maxSalt      = 256
)

// Note types, each in the name space of its owner.
const (
	noteBuildID   = 3     // owner "GNU", elf.h
	noteVersion   = 0     // owner "Linux": LINUX_VERSION_CODE, in a vDSO
	noteBuildSalt = 0x100 // owner "Linux", include/linux/build-salt.h
	noteLTO       = 0x101 // owner "Linux", include/linux/elfnote-lto.h
)

// Notes is what the ELF notes of a kernel say.
type Notes struct {
	BuildID string // NT_GNU_BUILD_ID in lower-case hexadecimal digits; empty if there is none
	Salt    string // CONFIG_BUILD_SALT, often the release that the package was built as; may be empty
}

// ParseNotes reads the ELF notes of a kernel as /sys/kernel/notes has them: in
// the byte order of the machine, each three words (name size, descriptor size,
// type), then name and descriptor, each padded to four bytes (elf(5)). What
// stands before a defect is returned beside the error, an *Error.
func ParseNotes(data []byte, order binary.ByteOrder) (Notes, error) {
	var n Notes
	if len(data) > maxNoteBytes {
		return n, errorAt(maxNoteBytes, "more than %d bytes of notes", maxNoteBytes)
	}
	const words = 12
	for pos, count := 0, 0; len(data)-pos >= words; count++ {
		if count == maxNotes {
			return n, errorAt(int64(pos), "more than %d notes", maxNotes)
		}
		namesz := uint64(order.Uint32(data[pos:]))
		descsz := uint64(order.Uint32(data[pos+4:]))
		typ := order.Uint32(data[pos+8:])
		left := uint64(len(data) - pos)
		desc := words + align4(namesz)
		if desc > left || descsz > left-desc {
			return n, errorAt(int64(pos), "note of %d+%d bytes where %d are left", namesz, descsz, left-words)
		}
		name := data[pos+words : pos+words+int(namesz)]
		if !n.add(string(bytes.TrimRight(name, "\x00")), typ, data[pos+int(desc):pos+int(desc+descsz)]) {
			return n, errorAt(int64(pos), "build ID of %d bytes", descsz)
		}
		pos += int(min(left, desc+align4(descsz)))
	}
	return n, nil
}

// add takes a note; false if it cannot be what it says. The first of a kind counts.
func (n *Notes) add(owner string, typ uint32, desc []byte) bool {
	switch {
	case owner == "GNU" && typ == noteBuildID && n.BuildID == "":
		if len(desc) == 0 || len(desc) > maxBuildID {
			return false
		}
		n.BuildID = hex.EncodeToString(desc)
	case owner == "Linux" && typ == noteBuildSalt && n.Salt == "" && len(desc) <= maxSalt:
		n.Salt = string(bytes.TrimRight(desc, "\x00"))
	}
	return true
}

func align4(n uint64) uint64 { return (n + 3) &^ 3 }
