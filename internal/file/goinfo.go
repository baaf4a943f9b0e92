package file

import (
	"encoding/binary"
	"strings"
)

// Go's build information, as cmd/link writes it (buildinfo in
// cmd/link/internal/ld/data.go) and debug/buildinfo reads it: a header of 32 bytes,
// aligned to 16, and two strings, the toolchain's version and the module list.
// debug/buildinfo itself is not for hostile files: it reads strings, section names
// and compressed sections of any length, and takes a failed read for another format.
const (
	goSection = ".go.buildinfo"
	goMagic   = "\xff Go buildinf:"
	goAlign   = 16
	goHeader  = 32

	// Offsets in the header, and a bit of its flags.
	goAtPtrSize = 14
	goAtFlags   = 15
	goAtPtrs    = 16
	goInline    = 2 // since Go 1.18 the strings follow the header

	// goFrame is the length of the random bytes before and after the module list
	// (infoStart and infoEnd in cmd/go/internal/modload/build.go).
	goFrame = 16
)

// Limits of the build information.
const (
	maxGoSearch  = 512 << 10 // bytes searched for the header
	maxGoVersion = 256       // bytes
	maxGoText    = 512 << 10 // bytes of the module list; a module takes some 90
)

// data returns the segment of the program's data.
func (m *moduleFile) data() (segment, bool) {
	const pfWrite = 2
	for i := range len(m.phdrs) / m.phentsize() {
		s := m.segment(i)
		if s.typ == ptLoad && s.flags&(pfExec|pfWrite) == pfWrite && m.inFile(s) == nil {
			return s, true
		}
	}
	return segment{}, false
}

// readGoInfo reads the build information that begins somewhere in the size bytes
// at offset, which are in the file. It is no contradiction that there is none.
func (m *moduleFile) readGoInfo(offset, size uint64) error {
	start, ok, err := m.findGoInfo(offset, min(size, maxGoSearch))
	if !ok {
		return err
	}
	m.found = true
	header, err := m.copyAt(start, goHeader)
	if err != nil {
		return err
	}
	inline, list := header[goAtFlags]&goInline != 0, start+goHeader
	var version, text goString
	if inline {
		version, err = m.goInlineString(start+goHeader, maxGoVersion)
		list = version.off + version.size
	} else {
		version, err = m.goPointedString(start, header, 0, maxGoVersion)
	}
	if err != nil {
		return err
	}
	b, err := m.copyAt(version.off, int(version.size))
	if err != nil {
		return err
	}
	m.list.Toolchain = string(b)
	if lib, ok := goStdlib(m.list.Toolchain); ok {
		m.add(lib, version.off)
	}
	if inline {
		text, err = m.goInlineString(list, maxGoText)
	} else {
		text, err = m.goPointedString(start, header, 1, maxGoText)
	}
	if err != nil {
		return err
	}
	if b, err = m.copyAt(text.off, int(text.size)); err != nil {
		return err
	}
	// A program built without modules has no list.
	if n := len(b); n > 2*goFrame && b[n-goFrame-1] == '\n' {
		m.readGoList(string(b[goFrame:n-goFrame]), text.off+goFrame)
	}
	return nil
}

// findGoInfo returns the offset of the header, somewhere in the size bytes at
// offset, which are in the file.
func (m *moduleFile) findGoInfo(offset, size uint64) (start uint64, ok bool, err error) {
	end := offset + size
	for at := roundUp(offset, goAlign); at < end && end-at >= goHeader; {
		b, err := m.at(at, int(min(elfWindow, end-at)))
		if err != nil {
			return 0, false, err
		}
		for i := 0; i+len(goMagic) <= len(b); i += goAlign {
			if string(b[i:i+len(goMagic)]) == goMagic {
				return at + uint64(i), true, nil
			}
		}
		at += roundUp(uint64(len(b)), goAlign)
	}
	return 0, false, nil
}

// goString is a string of the build information: a place in the file.
type goString struct{ off, size uint64 }

// goInlineString returns the string at offset, which its length precedes as a
// varint.
func (m *moduleFile) goInlineString(offset uint64, limit int) (goString, error) {
	if offset >= m.size {
		return goString{}, formatErrorf(m.size, "the file ends before a string at offset %d", offset)
	}
	b, err := m.at(offset, int(min(binary.MaxVarintLen64, m.size-offset)))
	if err != nil {
		return goString{}, err
	}
	size, n := binary.Uvarint(b)
	if n <= 0 {
		return goString{}, formatErrorf(offset, "Go string without a length")
	}
	if size > uint64(limit) {
		return goString{}, formatErrorf(offset, "Go string of %d bytes", size)
	}
	return goString{offset + uint64(n), size}, nil
}

// goPointedString returns the i-th string of the header at offset start: programs
// before Go 1.18 have there the address of each string's address and length, in
// the byte order of the file.
func (m *moduleFile) goPointedString(start uint64, header []byte, i, limit int) (goString, error) {
	ptrSize := int(header[goAtPtrSize])
	if ptrSize != 4 && ptrSize != 8 {
		return goString{}, formatErrorf(start+goAtPtrSize, "pointers of %d bytes", ptrSize)
	}
	pointer := func(b []byte) uint64 {
		if ptrSize == 4 {
			return uint64(m.order.Uint32(b))
		}
		return m.order.Uint64(b)
	}
	at := goAtPtrs + i*ptrSize
	addr := pointer(header[at:])
	if addr == 0 {
		return goString{}, nil
	}
	off, room, ok := m.fileOffset(addr)
	if !ok || room < uint64(2*ptrSize) {
		return goString{}, formatErrorf(start+uint64(at), "Go string at address %#x, which is not in the file", addr)
	}
	b, err := m.at(off, 2*ptrSize)
	if err != nil {
		return goString{}, err
	}
	addr, size := pointer(b), pointer(b[ptrSize:])
	if size > uint64(limit) {
		return goString{}, formatErrorf(off, "Go string of %d bytes", size)
	}
	if size == 0 {
		return goString{}, nil
	}
	text, room, ok := m.fileOffset(addr)
	if !ok || size > room {
		return goString{}, formatErrorf(off, "%d bytes at address %#x, which are not in the file", size, addr)
	}
	return goString{text, size}, nil
}

// readGoList reads the module list that stands at offset: lines of columns that
// tabs part, as runtime/debug.BuildInfo.String writes them. Lines of other kinds,
// such as the build settings, say nothing of modules.
func (m *moduleFile) readGoList(text string, offset uint64) {
	var last struct { // the module that a replacement may follow
		Module
		kind string
		at   uint64
	}
	flush := func() {
		switch last.kind {
		case "mod":
			m.setMain(last.Module, last.at)
		case "dep":
			m.add(last.Module, last.at)
		}
		last.kind = ""
	}
	for pos := 0; pos < len(text); {
		line, _, _ := strings.Cut(text[pos:], "\n")
		at := offset + uint64(pos)
		pos += len(line) + 1
		kind, rest, _ := strings.Cut(line, "\t")
		columns := strings.SplitN(rest, "\t", 4)
		switch n := len(columns); kind {
		case "mod", "dep":
			flush()
			if n != 2 && n != 3 {
				m.complain(at, "Go module of %d columns", n)
				continue
			}
			last.kind, last.at = kind, at
			last.Module = Module{Ecosystem: EcosystemGo, Path: columns[0], Version: columns[1]}
			if n == 3 {
				last.Sum = columns[2]
			}
		case "=>":
			if n != 3 || last.kind == "" {
				m.complain(at, "Go module of %d columns that replaces none", n)
				last.kind = ""
				continue
			}
			last.Module = Module{
				Ecosystem: EcosystemGo, Path: columns[0], Version: columns[1], Sum: columns[2],
				ReplacedPath: last.Path, ReplacedVersion: last.Version,
			}
			flush()
		}
	}
	flush()
}

// goStdlib returns the standard library of a toolchain as Go's vulnerability
// database names it, by a semantic version: go1.21rc2 has 1.21.0-rc.2. A toolchain
// between releases has none.
func goStdlib(toolchain string) (Module, bool) {
	number := func(s string) (digits, rest string) {
		rest = strings.TrimLeft(s, "0123456789")
		return s[:len(s)-len(rest)], rest
	}
	s, ok := strings.CutPrefix(toolchain, "go")
	if !ok {
		return Module{}, false
	}
	major, s := number(s)
	if s, ok = strings.CutPrefix(s, "."); !ok || major == "" {
		return Module{}, false
	}
	minor, s := number(s)
	patch, pre := "0", ""
	if after, ok := strings.CutPrefix(s, "."); ok {
		patch, s = number(after)
	}
	for _, kind := range []string{"beta", "rc"} {
		if after, ok := strings.CutPrefix(s, kind); ok {
			pre, s = number(after)
			if pre == "" {
				return Module{}, false
			}
			pre = "-" + kind + "." + pre
		}
	}
	// Builders append what they changed: "go1.22.1 X:boringcrypto", "go1.22.1-custom".
	if minor == "" || patch == "" || s != "" && !strings.ContainsRune(" +-", rune(s[0])) {
		return Module{}, false
	}
	return Module{Ecosystem: EcosystemGo, Path: "stdlib", Version: major + "." + minor + "." + patch + pre}, true
}
