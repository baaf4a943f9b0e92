package file

import (
	"bytes"
	"fmt"
	"io"
)

// at returns the n bytes at offset, valid until the next call; n is at most
// elfWindow.
func (f *elfFile) at(offset uint64, n int) ([]byte, error) {
	if b := f.buffered(offset); len(b) >= n {
		return b[:n], nil
	}
	if err := f.inBounds(offset, n); err != nil {
		return nil, err
	}
	f.winOff, f.winLen = offset, 0
	b := f.win[:min(elfWindow, f.size-offset)]
	if err := f.readAt(b, offset); err != nil {
		return nil, err
	}
	f.winLen = len(b)
	return b[:n], nil
}

// buffered returns what the window holds from offset on.
func (f *elfFile) buffered(offset uint64) []byte {
	if offset < f.winOff || offset-f.winOff >= uint64(f.winLen) {
		return nil
	}
	return f.win[offset-f.winOff : f.winLen]
}

// copyAt returns a copy of the n bytes at offset.
func (f *elfFile) copyAt(offset uint64, n int) ([]byte, error) {
	if err := f.inBounds(offset, n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if copy(b, f.buffered(offset)) == n {
		return b, nil
	}
	return b, f.readAt(b, offset)
}

func (f *elfFile) inBounds(offset uint64, n int) error {
	if offset > f.size || uint64(n) > f.size-offset {
		return formatErrorf(f.size, "the file ends before %d bytes at offset %d", n, offset)
	}
	return nil
}

func (f *elfFile) readAt(b []byte, offset uint64) error {
	if f.budget -= len(b); f.budget < 0 {
		return formatErrorf(offset, "its headers lead to more than %d bytes", elfBudget)
	}
	n, err := f.r.ReadAt(b, int64(offset))
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(b), offset, err)
}

// cstring returns the string at offset, whose NUL stands within limit bytes
// that are known to be in the file.
func (f *elfFile) cstring(offset, limit uint64) (string, error) {
	n := int(min(limit, maxString))
	if s, ok := cut(f.buffered(offset), n); ok {
		return s, nil
	}
	b, err := f.at(offset, n)
	if err != nil {
		return "", err
	}
	s, ok := cut(b, n)
	if !ok {
		return "", formatErrorf(offset, "string without end in %d bytes", n)
	}
	return s, nil
}

// cut returns the string that ends at the first NUL of b[:n].
func cut(b []byte, n int) (string, bool) {
	i := bytes.IndexByte(b[:min(n, len(b))], 0)
	if i < 0 {
		return "", false
	}
	return string(b[:i]), true
}
