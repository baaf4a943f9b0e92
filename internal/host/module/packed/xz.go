package packed

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

const magicXZ = "\xfd7zXZ\x00"

// maxWindows bounds the dictionaries of all blocks of a file together, in bytes: each
// block has its own, however short it is. xz makes blocks thrice their dictionary.
const maxWindows = 256 << 20

var (
	errHeader = errors.New("damaged header")
	errCheck  = errors.New("checksum does not match")
)

// xzReader reads the first stream of a file in the format of "The .xz File Format",
// version 1.2.1. The library's own reader of it allocates the dictionary that a block
// asks for, up to 4 GiB; here that is bounded. Filters for machine code, which the
// kernel's own decoder has but nobody uses for modules, are refused, and the index
// after the blocks is not looked at: each block carries its checksum.
type xzReader struct {
	in    counter
	check byte
	block *lzma.Reader2 // nil between blocks
	start int64         // of the block's data
	spent int           // bytes of dictionaries so far
	sum   hash.Hash     // nil if the stream has no checksum that is known
	err   error
}

func newXZ(r io.Reader) (*xzReader, error) {
	x := &xzReader{in: counter{r: bufio.NewReaderSize(r, 64<<10)}}
	var h [12]byte
	if err := x.in.full(h[:]); err != nil {
		return nil, err
	}
	if string(h[:6]) != magicXZ || h[6] != 0 || h[7] > 15 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return nil, errHeader
	}
	x.check = h[7]
	return x, nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		switch {
		case err == io.EOF:
			x.err = x.end()
		case err != nil:
			x.err = err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next begins the next block; io.EOF if the index follows instead.
func (x *xzReader) next() error {
	size, err := x.in.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if size == 0 {
		return io.EOF
	}
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if err := x.in.full(h[1:]); err != nil {
		return err
	}
	body, sum := h[:len(h)-4], h[len(h)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errHeader
	}
	window, err := parseBlock(body)
	if err != nil {
		return err
	}
	if x.spent += window; x.spent > maxWindows {
		return fmt.Errorf("blocks that ask for dictionaries of more than %d bytes", maxWindows)
	}
	x.start = x.in.n
	if x.block, err = (lzma.Reader2Config{DictCap: window}).NewReader2(&x.in); err != nil {
		return err
	}
	switch x.check {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	}
	return nil
}

// parseBlock returns the dictionary, in bytes, that a block header asks for.
func parseBlock(h []byte) (int, error) {
	flags, b := h[1], bytes.NewReader(h[2:])
	if flags&0x3f != 0 {
		return 0, fmt.Errorf("filters other than LZMA2 alone (flags %#x)", flags)
	}
	for _, bit := range []byte{0x40, 0x80} { // compressed and uncompressed size
		if flags&bit != 0 {
			if _, err := binary.ReadUvarint(b); err != nil {
				return 0, errHeader
			}
		}
	}
	var filter [3]byte // identifier, size of properties, property
	if _, err := io.ReadFull(b, filter[:]); err != nil || filter[0] != 0x21 || filter[1] != 1 {
		return 0, fmt.Errorf("filter %#x where LZMA2 is known", filter[0])
	}
	window, err := lzma.DecodeDictCap(filter[2])
	if err != nil {
		return 0, err
	}
	if window > maxWindow {
		return 0, fmt.Errorf("dictionary of %d bytes where %d are allowed", window, maxWindow)
	}
	return int(max(window, lzma.MinDictCap)), nil
}

// end reads what follows the data of a block: padding to 4 bytes and the checksum.
func (x *xzReader) end() error {
	if !x.block.EOS() {
		return io.ErrUnexpectedEOF
	}
	x.block = nil
	sizes := [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
	tail := make([]byte, int(-(x.in.n-x.start)&3)+sizes[x.check])
	if err := x.in.full(tail); err != nil {
		return err
	}
	if x.sum == nil {
		return nil
	}
	want := tail[len(tail)-sizes[x.check]:]
	got := x.sum.Sum(nil)
	if x.check != 10 { // these are stored little end first
		for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
			got[i], got[j] = got[j], got[i]
		}
	}
	if !bytes.Equal(got, want) {
		return errCheck
	}
	return nil
}

// counter counts what is read through it.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *counter) full(p []byte) error {
	_, err := io.ReadFull(c, p)
	return unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
