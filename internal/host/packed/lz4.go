package packed

import (
	"encoding/binary"
	"errors"
	"io"
)

const magicLZ4 = "\x02\x21\x4c\x18"

// maxLZ4Block is how much a block of the old LZ4 frame format has at most when
// it is unpacked (LZ4 Frame Format Description, "Legacy frame";
// lib/decompress_unlz4.c of the kernel).
const maxLZ4Block = 8 << 20

var errLZ4 = errors.New("block is damaged")

// lz4Reader reads the old LZ4 frame format, which kernels are packed with: a
// magic number, then blocks, each with its size in front. A block that is cut is not told
// from what the kernel's build appends, the size of the whole.
type lz4Reader struct {
	in     io.Reader
	packed []byte
	block  []byte
	rest   []byte // of block, not read yet
}

// newLZ4 reads the frame that in begins with.
func newLZ4(in io.Reader) (io.Reader, error) {
	var magic [len(magicLZ4)]byte
	if _, err := io.ReadFull(in, magic[:]); err != nil {
		return nil, unexpected(err)
	}
	return &lz4Reader{in: in}, nil
}

func (r *lz4Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *lz4Reader) next() error {
	var word [4]byte
	if _, err := io.ReadFull(r.in, word[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return err
	}
	size := int(binary.LittleEndian.Uint32(word[:]))
	// What does not shrink grows by one byte in 255.
	if size > maxLZ4Block+maxLZ4Block/255+16 {
		return errLZ4
	}
	if cap(r.packed) < size {
		r.packed = make([]byte, size)
	}
	r.packed = r.packed[:size]
	switch _, err := io.ReadFull(r.in, r.packed); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		// The kernel's build appends the size of the whole, which is no block.
		return io.EOF
	case err != nil:
		return err
	}
	var err error
	r.block, err = appendLZ4(r.block[:0], r.packed)
	r.rest = r.block
	return err
}

// appendLZ4 unpacks one block (LZ4 Block Format Description): sequences of a
// token, which has two lengths of four bits, literals, and a copy of what was
// unpacked before, which the last sequence does not have.
func appendLZ4(out, in []byte) ([]byte, error) {
	for len(in) > 0 {
		token := in[0]
		in = in[1:]
		literals, rest, ok := lz4Length(int(token>>4), in)
		if !ok || literals > len(rest) || len(out)+literals > maxLZ4Block {
			return out, errLZ4
		}
		out = append(out, rest[:literals]...)
		if in = rest[literals:]; len(in) == 0 {
			return out, nil
		}
		if len(in) < 2 {
			return out, errLZ4
		}
		back := int(binary.LittleEndian.Uint16(in))
		length, rest, ok := lz4Length(int(token&15), in[2:])
		length += 4
		if !ok || back == 0 || back > len(out) || len(out)+length > maxLZ4Block {
			return out, errLZ4
		}
		in = rest
		for length > 0 {
			// The copy may run into what it makes: then it repeats.
			from := len(out) - back
			n := min(length, back)
			out = append(out, out[from:from+n]...)
			length -= n
		}
	}
	return out, nil
}

// lz4Length reads what follows a length of 15: bytes to add, up to the first
// that is not 255.
func lz4Length(n int, in []byte) (int, []byte, bool) {
	if n < 15 {
		return n, in, true
	}
	for i, b := range in {
		if n += int(b); n > maxLZ4Block {
			return 0, nil, false
		}
		if b != 255 {
			return n, in[i+1:], true
		}
	}
	return 0, nil, false
}
