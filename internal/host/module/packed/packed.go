// Package packed reads what distributions compress of a kernel: modules and firmware.
package packed

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/patchsensor/patchsensor/internal/file"
)

// maxWindow bounds the memory in which a decoder keeps what it wrote, in bytes:
// xz -9 asks for as much, and zstd for less unless it is told to be --ultra.
const maxWindow = 64 << 20

var errOffset = errors.New("negative offset")

// errNothing says that a compressed file ends before anything is in it.
var errNothing = errors.New("compressed file without content")

// Kind is how a content is compressed.
type Kind uint8

const (
	Plain Kind = iota
	Gzip
	XZ
	Zstd
)

func (k Kind) String() string {
	switch k {
	case Gzip:
		return "gzip"
	case XZ:
		return "xz"
	case Zstd:
		return "zstd"
	}
	return "plain"
}

// HeadSize is how many bytes KindOf wants to see.
const HeadSize = 6

// KindOf tells from the first bytes how a content is compressed; libkmod goes by
// them, too.
func KindOf(head []byte) Kind {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte(magicXZ)):
		return XZ
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	}
	return Plain
}

// chunk is in how large pieces a content is kept, in bytes: one buffer that grows would
// need thrice the content for a moment.
const chunk = 1 << 20

// Content is what a file holds, uncompressed, in memory.
type Content struct {
	chunks [][]byte // each of chunk bytes but the last
	size   int64
}

// Size is how many bytes there are.
func (c *Content) Size() int64 { return c.size }

// ReadAt implements io.ReaderAt.
func (c *Content) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errOffset
	}
	n := 0
	for n < len(p) && offset < c.size {
		got := copy(p[n:], c.chunks[offset/chunk][offset%chunk:])
		n, offset = n+got, offset+int64(got)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Read returns the whole content of r, uncompressed. It is file.ErrTooLarge if that
// is more than limit bytes, however little r holds: memory stays below limit, two
// pieces more and the decoder's window of at most 64 MiB.
func Read(r io.Reader, kind Kind, limit int64) (*Content, error) {
	// Compression makes nothing much larger, but frames without content may follow one
	// another for ever.
	if kind != Plain {
		r = io.LimitReader(r, limit+limit/8+64<<10)
	}
	in, done, err := open(r, kind)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", kind, err)
	}
	defer done()
	c := new(Content)
	buf := make([]byte, chunk)
	for {
		n, err := fill(in, buf)
		if c.size += int64(n); c.size > limit {
			return nil, file.ErrTooLarge
		}
		if n > 0 {
			c.chunks = append(c.chunks, bytes.Clone(buf[:n]))
		}
		switch {
		case err == io.EOF && c.size == 0 && kind != Plain:
			return nil, fmt.Errorf("%v: %w", kind, errNothing)
		case err == io.EOF:
			return c, nil
		case err != nil:
			return nil, fmt.Errorf("%v: %w", kind, err)
		}
	}
}

// fill reads until buf is full. Other than io.ReadFull it does not make one error of the
// end of r and of what a decoder says of a file that is cut.
func fill(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		got, err := r.Read(buf[n:])
		n += got
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func open(r io.Reader, kind Kind) (io.Reader, func(), error) {
	switch kind {
	case Gzip:
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case XZ:
		z, err := newXZ(r)
		return z, func() {}, err
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}
