package packed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

var errOffset = errors.New("negative offset")

// errNothing says that a compressed file ends before anything is in it.
var errNothing = errors.New("compressed file without content")

// chunk is in how large pieces a content is kept, in bytes: one buffer that grows would
// need thrice the content for a moment.
const chunk = 1 << 20

// maxWindow is the window that Read allows, in bytes: xz -9 asks for as much, and zstd
// for less unless it is told to be --ultra.
const maxWindow = 64 << 20

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

// Read returns the whole content of r, uncompressed. Errors are those of Reader: it is
// file.ErrTooLarge if there are more than limit bytes, however little r holds. Memory
// stays below limit, two pieces more and the decoder's window of at most 64 MiB.
func Read(r io.Reader, kind Kind, limit int64) (*Content, error) {
	in, err := NewReader(r, kind, Limits{Window: maxWindow, Output: limit})
	if err != nil {
		return nil, err
	}
	defer in.Close()
	c := new(Content)
	buf := make([]byte, chunk)
	for {
		n, err := fill(in, buf)
		c.size += int64(n)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if n > 0 {
			c.chunks = append(c.chunks, bytes.Clone(buf[:n]))
		}
		switch {
		case err == io.EOF && c.size == 0 && kind != Plain:
			return nil, &Error{in.in.offset(), fmt.Errorf("%v: %w", kind, errNothing)}
		case err == io.EOF:
			return c, nil
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
