// Package packed unpacks what distributions compress of a kernel: images, modules and
// firmware. Memory, input and output of each unpacking are bounded.
//
// What it reads and what describes it:
//
//	gzip           RFC 1952
//	xz             The .xz File Format 1.2.1, with LZMA2 alone or behind a filter for x86 or arm64
//	zstd           RFC 8878
//	bzip2          the bzip2 manual
//	lzma           lzma-file-format.txt of XZ Utils
//	lz4            LZ4 Frame Format Description, "Legacy frame"
package packed

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"

	"github.com/patchsensor/patchsensor/internal/file"
)

// ErrUnknown is returned for a compression that is recognised but not known: lzo, and
// filters of xz for other machines.
var ErrUnknown = errors.New("compression is not known")

// Kind is how a content is compressed.
type Kind uint8

const (
	Plain Kind = iota
	Gzip
	XZ
	Zstd
	Bzip2
	LZMA
	LZ4
	LZO // only recognised
)

// kinds are the names and the magic numbers (lib/decompress.c, scripts/extract-vmlinux
// and lib/zstd of the kernel).
var kinds = [...]struct{ name, magic string }{
	Plain: {"plain", ""},
	Gzip:  {"gzip", "\x1f\x8b\x08"},
	XZ:    {"xz", magicXZ},
	Zstd:  {"zstd", "\x28\xb5\x2f\xfd"},
	Bzip2: {"bzip2", "BZh"},
	LZMA:  {"lzma", "\x5d\x00\x00"},
	LZ4:   {"lz4", magicLZ4},
	LZO:   {"lzo", "\x89LZO\x00\r\n\x1a\n"},
}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].name
	}
	return "compression"
}

// HeadSize is how many bytes KindOf wants to see.
const HeadSize = 9

// KindOf tells from the first bytes how a content is compressed; the kernel and libkmod
// go by them, too.
func KindOf(head []byte) Kind {
	for k := Gzip; int(k) < len(kinds); k++ {
		if bytes.HasPrefix(head, []byte(kinds[k].magic)) {
			return k
		}
	}
	return Plain
}

// Limits bound what an unpacking costs, in bytes.
type Limits struct {
	// Window is the memory in which a decoder may keep what it wrote. Some blocks more
	// of some hundred KiB each, 16 MiB for lz4, are on top of it.
	Window int64
	// Output is how much may come out. What goes in may be an eighth more than that:
	// compression makes nothing much larger, but frames without content may follow one
	// another for ever.
	Output int64
}

func (l Limits) input() int64 { return l.Output + l.Output/8 + 64<<10 }

// Error is a defect of what is packed.
type Error struct {
	// Offset is how many bytes of the packed content had been taken when the defect was
	// found.
	Offset int64
	Err    error // begins with the name of the compression
}

func (e *Error) Error() string { return fmt.Sprintf("offset %d: %v", e.Offset, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Reader unpacks. Its errors are an *Error, or as they came from the packed content's
// reader. The *Error wraps file.ErrTooLarge where limits are exceeded. What is read
// before an error may be damaged already: checksums come last.
type Reader struct {
	kind   Kind
	limits Limits
	in     *source
	out    io.Reader
	close  func()
	left   int64 // of limits.Output
	err    error
}

// NewReader reads the beginning of what r has packed. The error is that of Reader, or
// wraps ErrUnknown.
func NewReader(r io.Reader, kind Kind, limits Limits) (*Reader, error) {
	u := &Reader{kind: kind, limits: limits, left: limits.Output, close: func() {}}
	counted := &counter{r: r, left: limits.input()}
	if kind == Plain {
		counted.left = limits.Output + 1
	}
	u.in = &source{bufio.NewReaderSize(counted, 64<<10), counted}
	if err := u.open(); err != nil {
		return nil, u.explain(unexpected(err))
	}
	return u, nil
}

func (u *Reader) open() (err error) {
	in := u.in.Reader
	switch u.kind {
	case Plain:
		u.out = in
	case Gzip:
		u.out, err = gzip.NewReader(in)
	case XZ:
		u.out, err = newXZ(u.in, u.limits)
	case Zstd:
		var d *zstd.Decoder
		// One goroutine: what would be read ahead may not be wanted.
		d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(u.limits.Window)), zstd.WithDecoderMaxWindow(uint64(u.limits.Window)))
		if err == nil {
			u.out, u.close = d, d.Close
		}
	case Bzip2:
		u.out = bzip2.NewReader(in)
	case LZMA:
		u.out, err = newLZMA(in, u.limits.Window)
	case LZ4:
		u.out, err = newLZ4(in)
	default:
		err = ErrUnknown
	}
	return err
}

// Offset is how many bytes of the packed content were taken so far.
func (u *Reader) Offset() int64 { return u.in.offset() }

// Close gives back memory; Read must not be called any more.
func (u *Reader) Close() { u.close() }

func (u *Reader) Read(p []byte) (int, error) {
	if u.err != nil || len(p) == 0 {
		return 0, u.err
	}
	// One byte more than is left tells whether the content ends in time.
	n, err := u.out.Read(p[:min(int64(len(p)), u.left+1)])
	if int64(n) > u.left {
		n, err = int(u.left), fmt.Errorf("more than %d bytes after unpacking: %w", u.limits.Output, file.ErrTooLarge)
	}
	u.left -= int64(n)
	if err != nil {
		u.err = u.explain(err)
	}
	return n, u.err
}

// explain says where an error is that a decoder returned.
func (u *Reader) explain(err error) error {
	switch {
	case u.in.err != nil:
		return u.in.err
	case u.in.exceeded:
		err = fmt.Errorf("more than %d packed bytes: %w", u.limits.input(), file.ErrTooLarge)
	case err == io.EOF:
		return io.EOF
	}
	return &Error{u.in.offset(), fmt.Errorf("%v: %w", u.kind, err)}
}

// source is the packed content.
type source struct {
	*bufio.Reader
	*counter
}

// offset is how much of it was taken.
func (s *source) offset() int64 { return s.n - int64(s.Buffered()) }

func (s *source) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// full reads as much as p has room for.
func (s *source) full(p []byte) error {
	_, err := io.ReadFull(s.Reader, p)
	return unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// counter counts what is read of r, and reads no more than it may.
type counter struct {
	r        io.Reader
	n, left  int64
	exceeded bool
	err      error // of r, other than io.EOF
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.exceeded = true
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.n += int64(n)
	c.left -= int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// newLZMA reads the format of the old lzma program: a byte of parameters, the size of
// the window, the size of the content or -1. It reads the window's size first because
// the library would allocate whatever is asked for.
func newLZMA(in *bufio.Reader, window int64) (io.Reader, error) {
	head, err := in.Peek(lzma.HeaderLen)
	if err != nil {
		return nil, unexpected(err)
	}
	if size := int64(binary.LittleEndian.Uint32(head[1:])); size > window {
		return nil, fmt.Errorf("window of %d bytes where %d are allowed", size, window)
	}
	return lzma.NewReader(in)
}
