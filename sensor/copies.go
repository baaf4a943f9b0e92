package sensor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// ownCopies are the pages of mapped files that a process has as its own.
type ownCopies struct {
	relocated proc.Relocated
	err       error
}

// mappingOf is the mapping by which a process has a file of a class.
func (p *process) mappingOf(c *class) (snapshot.Mapping, bool) {
	for i := range p.classes {
		if p.classes[i] == c {
			return p.Mappings[i], true
		}
	}
	return snapshot.Mapping{}, false
}

// evidence says whether a file was truncated or rewritten after a process loaded it,
// by what the process has of it. That is dear to find out, and stands for as long as
// neither the file nor what the process has mapped changes.
func (sc *scan) evidence(ctx context.Context, p *process, c *class) (truncated, rewritten Answer) {
	key := evidenceKey{p.key, p.PID, c.exe, c.facts.CopiedUp, file.KeyOf(c.file.info)}
	if sc.mem != nil {
		if e, ok := sc.mem.evidence[key]; ok {
			sc.evident[key] = e
			return e.truncated, e.rewritten
		}
	}
	e := evidence{sc.truncated(ctx, p, c), sc.rewritten(ctx, p, c)}
	// What was written a moment ago may be written again without another change time.
	settled := time.Since(c.file.info.Ctime) > writeSpan
	if sc.mem != nil && p.key.mappings != nil && c.file.known && settled && (p.copies == nil || p.copies.err == nil) {
		sc.evident[key] = e
	}
	return e.truncated, e.rewritten
}

// evidenceKey is one load of one reading of a process, with the state of its file.
type evidenceKey struct {
	reading       nameKey
	pid           int
	exe, copiedUp bool
	content       file.ContentKey
}

type evidence struct{ truncated, rewritten Answer }

// truncated reports whether the file was truncated after the process loaded it.
// Only an object that was relocated and has RELRO leaves a trace of that.
func (sc *scan) truncated(ctx context.Context, p *process, c *class) Answer {
	e, err := sc.elf(ctx, c.file)
	if err != nil || c.exe || e.RelroSize == 0 || !e.Layout.Relocated || c.facts.CopiedUp {
		return NotKnown
	}
	m, ok := p.mappingOf(c)
	if !ok {
		return NotKnown
	}
	copies, err := sc.copiesOf(p)
	if err != nil {
		return NotKnown
	}
	kept, ok := copies.Bytes(m.Start)
	if !ok {
		return NotKnown
	}
	return answer(kept == 0)
}

// copiesOf reads once what a process has of its files as its own.
func (sc *scan) copiesOf(p *process) (proc.Relocated, error) {
	if p.copies == nil {
		p.copies = new(ownCopies)
		dir, err := sc.open(p)
		if err != nil {
			p.copies.err = err
		} else {
			p.copies.relocated, p.copies.err = dir.Relocated()
			dir.Close()
		}
	}
	return p.copies.relocated, p.copies.err
}

// rewritten compares what the process has of a file's content with the file.
func (sc *scan) rewritten(ctx context.Context, p *process, c *class) Answer {
	m, ok := p.mappingOf(c)
	if !ok || c.exe {
		return NotKnown
	}
	e, err := sc.elf(ctx, c.file)
	if err != nil {
		return NotKnown
	}
	if c.facts.CopiedUp {
		return sc.otherBuild(p, m, e)
	}
	return sc.otherDynamic(p, c, m, e)
}

// otherBuild compares the build ID that the kernel reads from the mapped inode
// with the one of the file that has taken over its identity.
func (sc *scan) otherBuild(p *process, m snapshot.Mapping, e file.ELF) Answer {
	dir, err := sc.open(p)
	if err != nil {
		return NotKnown
	}
	defer dir.Close()
	id, err := dir.BuildID(m.Start)
	if err != nil || len(id) == 0 || e.BuildID == "" {
		return NotKnown
	}
	return answer(fmt.Sprintf("%x", id) != e.BuildID)
}

// maxDynamicSize bounds the dynamic section, in bytes; real ones have some forty
// entries.
const maxDynamicSize = 16 << 10

// dtDebug is the one entry that the loader writes besides addresses.
const dtDebug = 21

// otherDynamic compares the process's copy of the dynamic section with the file's:
// its tags, sizes and addresses change with nearly every build. The loader adds the
// load bias to the addresses in its copy (elf_get_dynamic_info in glibc). Equal
// sections prove nothing.
func (sc *scan) otherDynamic(p *process, c *class, m snapshot.Mapping, e file.ELF) Answer {
	l := e.Layout
	if e.Class != 64 || l.DynamicSize == 0 || l.DynamicSize > maxDynamicSize || m.Start == 0 {
		return NotKnown
	}
	now := make([]byte, l.DynamicSize)
	f, err := sc.openMapped(c.file)
	if err != nil {
		return NotKnown
	}
	defer f.Close()
	if _, err := f.ReadAt(now, int64(l.DynamicOffset)); err != nil {
		return NotKnown
	}
	bias := m.Start - l.ExecVaddr&^uint64(os.Getpagesize()-1)
	// A program may have mapped a part of the file by hand too.
	copies, err := sc.copiesOf(p)
	if err != nil {
		return NotKnown
	}
	if at, ok := copies.Offset(bias+l.DynamicVaddr, m.Start); !ok || at != l.DynamicOffset {
		return NotKnown
	}
	loaded := make([]byte, l.DynamicSize)
	var readErr error
	ok := inMemory(func(mem *proc.Memory) {
		mem.Reset(p.TID)
		readErr = mem.Read(loaded, bias+l.DynamicVaddr)
	})
	if !ok || readErr != nil {
		return NotKnown
	}
	if bytes.Equal(now, loaded) {
		return No
	}
	word := func(b []byte, i int) uint64 { return binary.NativeEndian.Uint64(b[i:]) }
	for i := 0; i+16 <= len(now); i += 16 {
		tag, value := word(now, i), word(now, i+8)
		was, had := word(loaded, i), word(loaded, i+8)
		if tag != was {
			return Yes
		}
		if tag == 0 {
			break
		}
		if tag != dtDebug && had != value && had != value+bias {
			return Yes
		}
	}
	return No
}
