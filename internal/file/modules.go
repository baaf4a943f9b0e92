package file

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
)

// ErrNoModules is returned for a file that does not say what it was built from.
var ErrNoModules = errors.New("no embedded module list")

// The ecosystems of modules, as OSV names them.
const (
	EcosystemGo    = "Go"
	EcosystemCrate = "crates.io"
)

// Module is a Go module or a Rust crate that was built into a file. Strings are
// what the file claims: neither escaped nor checked for UTF-8.
type Module struct {
	// Ecosystem says whose advisories speak of the module; empty for a crate that
	// did not come from crates.io, whose name there is another's.
	Ecosystem string
	// Path is the path of a Go module or the name of a crate. For a Go module
	// replaced by a directory it is that directory, which no advisory names.
	Path string
	// Version is as the ecosystem writes it: "v1.2.3" for Go, with "(devel)" for
	// what has none, "1.2.3" for crates and for Go's standard library.
	Version string
	Sum     string // of a Go module, as in go.sum: "h1:…"; else empty
	// Source is where a crate came from: "crates.io", "registry" for another one,
	// "git", "local" or a word of the future; empty for Go.
	Source string
	// ReplacedPath and ReplacedVersion name the Go module for which a replace
	// directive put in this one; empty without one.
	ReplacedPath, ReplacedVersion string
}

// Modules is what a file says that it was built from: the build information of
// the Go toolchain, the audit data of cargo-auditable, or both when a Rust
// program links a Go archive. A Modules may be shared: its Deps are not to be
// written to.
type Modules struct {
	// Main is the module of the main package, or the root crate. It is empty if
	// not told: Go programs built outside of any module, Rust libraries. With both
	// it is the crate, and the main Go module stands in Deps.
	Main Module
	// Toolchain is the Go version with its experiments: "go1.26.8", "go1.22.1
	// X:boringcrypto", "devel go1.27-…"; empty without Go.
	Toolchain string
	// Deps are the modules whose code is in the file, in its order. Crates that only
	// ran at build time are left out, as far as the file tells: audit data of format 0
	// counts procedural macros as run-time crates. Go's standard library stands
	// among them as the module "stdlib", of the version that Toolchain tells.
	Deps []Module
}

// Limits of a module list. Large programs link some hundred modules.
const (
	maxModules     = 4096
	maxModuleWord  = 1024    // bytes of one path, version, sum or source
	maxModuleBytes = 1 << 20 // bytes of all of them

	// maxSections bounds the section headers, which take up to 64 bytes each.
	maxSections     = 4096
	maxSectionNames = 64 << 10 // bytes of the section names; real files have some 500
	maxSectionName  = 16       // bytes of a name that is looked for, with its NUL
)

// ReadModules reads what the ELF file r of size bytes says that it was built
// from. It reads at most 1 MiB: the section headers and the lists, whatever the
// size of the file. A file without section headers is searched for Go's list at the
// beginning of its data, as debug/buildinfo does; Rust's is not found there.
//
// It returns ErrNoModules for a file that says nothing, also for one that is not
// ELF; a *FormatError for one that contradicts itself or the limits, together
// with what could be read beside the first contradiction; or the error of a read.
func ReadModules(r io.ReaderAt, size int64) (Modules, error) {
	m := moduleFile{elfFile: elfFile{r: r, size: uint64(max(size, 0)), budget: elfBudget}}
	err := m.keep(m.readModules())
	switch {
	case errors.Is(err, ErrNotELF):
		return Modules{}, ErrNoModules
	case err != nil:
		return Modules{}, err
	case m.bad != nil:
		return m.list, m.bad
	case !m.found:
		return Modules{}, ErrNoModules
	}
	return m.list, nil
}

// moduleFile is one reading of the module lists of one file.
type moduleFile struct {
	elfFile
	list  Modules
	found bool // there is a list, be it empty
	bytes int  // of the strings in list
}

func (m *moduleFile) readModules() error {
	if err := m.header(); err != nil {
		return err
	}
	var golang, rust section
	known, err := m.sections(func(name string, s section) {
		switch {
		case name == goSection && golang.entry == 0:
			golang = s
		case name == rustSection && rust.entry == 0:
			rust = s
		}
	})
	if err := m.keep(err); err != nil {
		return err
	}
	if rust.entry != 0 {
		if err := m.keep(m.readCrates(rust)); err != nil {
			return err
		}
	}
	if golang.entry != 0 {
		if err := m.holds(golang); err != nil {
			return err
		}
		return m.readGoInfo(golang.off, golang.size)
	}
	if s, ok := m.data(); ok && !known {
		return m.readGoInfo(s.off, s.filesz)
	}
	return nil
}

// holds refuses a section that is not wholly in the file.
func (m *moduleFile) holds(s section) error {
	if s.off > m.size || s.size > m.size-s.off {
		return formatErrorf(s.entry, "section of %d bytes at offset %d lies beyond the end of the file", s.size, s.off)
	}
	return nil
}

// complain remembers a contradiction at offset, if it is the first.
func (m *moduleFile) complain(offset uint64, format string, args ...any) {
	if m.bad == nil {
		m.bad = formatErrorf(offset, format, args...)
	}
}

// setMain makes the module that stands at offset the main one, or a dependency if
// another is that already.
func (m *moduleFile) setMain(mod Module, offset uint64) {
	if m.list.Main != (Module{}) {
		m.add(mod, offset)
	} else if mod, ok := m.own(mod, offset); ok {
		m.list.Main = mod
	}
}

// add appends the module that stands at offset to the dependencies.
func (m *moduleFile) add(mod Module, offset uint64) {
	if len(m.list.Deps) == maxModules {
		m.complain(offset, "more than %d modules", maxModules)
	} else if mod, ok := m.own(mod, offset); ok {
		m.list.Deps = append(m.list.Deps, mod)
	}
}

// own returns the module in memory of its own, so that what is remembered of a
// file is as small as it looks.
func (m *moduleFile) own(mod Module, offset uint64) (Module, bool) {
	n := 0
	for _, word := range mod.words() {
		if len(*word) > maxModuleWord {
			m.complain(offset, "module with a word of %d bytes", len(*word))
			return Module{}, false
		}
		n += len(*word)
	}
	if n > maxModuleBytes-m.bytes {
		m.complain(offset, "modules of more than %d bytes", maxModuleBytes)
		return Module{}, false
	}
	m.bytes += n
	for _, word := range mod.words() {
		*word = strings.Clone(*word)
	}
	return mod, true
}

// words are the strings that a file gave.
func (mod *Module) words() []*string {
	return []*string{&mod.Path, &mod.Version, &mod.Sum, &mod.Source, &mod.ReplacedPath, &mod.ReplacedVersion}
}

// Types of sections that take no place in the file.
const (
	sectionNull   = 0 // SHT_NULL
	sectionNobits = 8 // SHT_NOBITS; so objcopy --only-keep-debug leaves them
)

// section is a section that has a place in the file.
type section struct {
	off, size uint64
	entry     uint64 // where the section header stands, which is never 0
}

// sections gives the sections in the file to use, by name and in order (elf(5)).
// It reports whether the file has section headers, whose names could be read.
func (m *moduleFile) sections(use func(name string, s section)) (known bool, err error) {
	headerSize, atOffset, atSizes, entsize := 52, 32, 46, 40
	if m.is64 {
		headerSize, atOffset, atSizes, entsize = 64, 40, 58, 64
	}
	b, err := m.at(0, headerSize)
	if err != nil {
		return false, err
	}
	word := func(b []byte) uint64 {
		if m.is64 {
			return m.order.Uint64(b)
		}
		return uint64(m.order.Uint32(b))
	}
	table := word(b[atOffset:])
	size, num, names := int(m.order.Uint16(b[atSizes:])), int(m.order.Uint16(b[atSizes+2:])), int(m.order.Uint16(b[atSizes+4:]))
	switch {
	case table == 0 || num == 0:
		return false, nil
	case size != entsize:
		return false, formatErrorf(uint64(atSizes), "section headers of %d bytes instead of %d", size, entsize)
	case num > maxSections:
		return false, formatErrorf(uint64(atSizes+2), "%d section headers", num)
	case names >= num:
		return false, formatErrorf(uint64(atSizes+4), "section %d of %d has the names", names, num)
	}
	headers, err := m.copyAt(table, num*entsize)
	if err != nil {
		return false, err
	}
	// The fields of a header stand at other places in each class.
	atOff, atSize := 16, 20
	if m.is64 {
		atOff, atSize = 24, 32
	}
	at := func(i int) section {
		h := headers[i*entsize:]
		return section{word(h[atOff:]), word(h[atSize:]), table + uint64(i*entsize)}
	}
	n := at(names)
	text, err := m.copyAt(n.off, int(min(n.size, maxSectionNames)))
	if err != nil {
		return false, err
	}
	for i := range num {
		h := headers[i*entsize:]
		name, typ := m.order.Uint32(h), m.order.Uint32(h[4:])
		if typ == sectionNull || typ == sectionNobits || uint64(name) >= uint64(len(text)) {
			continue
		}
		if name, ok := cut(text[name:], maxSectionName); ok {
			use(name, at(i))
		}
	}
	return true, nil
}

// modules is an answer of ReadModules; err is ErrNoModules or a *FormatError.
type modules struct {
	list Modules
	err  error
}

// maxRemembered is the size in bytes of the largest module list that a Cache
// remembers, about that of 300 Go modules: many hostile ones shall not fill the
// memory, and reading a list again costs less than a millisecond.
const maxRemembered = 64 << 10

// errLarge keeps once from remembering an answer.
var errLarge = errors.New("too large to remember")

// Modules returns what ReadModules says of the content: a list, ErrNoModules, or a
// list with a *FormatError; such errors are remembered like lists and name no file.
// Any other error is one of opening or reading the file, or of ctx.
func (c *Cache) Modules(ctx context.Context, key ContentKey, open func() (*os.File, error)) (Modules, error) {
	t := c.content(key)
	var large modules
	a, err := once(ctx, t, &t.modules, func() (modules, error) {
		var a modules
		err := readContent(key, open, func(f *os.File) error {
			a.list, a.err = ReadModules(f, key.Size)
			if _, ok := errors.AsType[*FormatError](a.err); ok || errors.Is(a.err, ErrNoModules) {
				return nil
			}
			return a.err
		})
		if err == nil && a.list.size() > maxRemembered {
			large, err = a, errLarge
		}
		return a, err
	})
	if errors.Is(err, errLarge) {
		a, err = large, nil
	}
	if err != nil {
		return Modules{}, err
	}
	return a.list, a.err
}

// size is the memory that a list takes, in bytes.
func (m *Modules) size() int {
	const module = 7 * 16 // its string headers
	n := len(m.Toolchain) + cap(m.Deps)*module
	count := func(mod *Module) {
		for _, word := range mod.words() {
			n += len(*word)
		}
	}
	count(&m.Main)
	for i := range m.Deps {
		count(&m.Deps[i])
	}
	return n
}
