package packed

import (
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

// maxWindows bounds the windows of all blocks of a file together, in bytes: each block
// has its own, however short it is. xz makes blocks thrice their window.
const maxWindows = 256 << 20

var (
	errHeader = errors.New("damaged header")
	errCheck  = errors.New("checksum does not match")
	errWindow = errors.New("window's size is not valid")
)

// xzReader reads the first stream of a file in the format of "The .xz File Format",
// version 1.2.1: blocks, each with headers, LZMA2 data and a checksum. The library's own
// reader of it allocates the window that a block asks for, up to 4 GiB, and refuses the
// filters for machine code with which the kernel's build packs images
// (scripts/xz_wrap.sh). The index after the blocks is not looked at.
type xzReader struct {
	in     *source
	limits Limits
	check  byte
	block  *lzma.Reader2 // nil between blocks
	data   io.Reader     // block, or the filter behind it
	start  int64         // of the block's data, as an offset of in
	size   int64         // of the block's content as its header has it; -1 if it has none
	out    int64         // bytes that came out so far, of all blocks
	begun  int64         // of out, when the block began
	spent  int64         // bytes of windows so far
	sum    hash.Hash     // nil if the stream has no checksum that is known
	err    error
}

func newXZ(in *source, limits Limits) (*xzReader, error) {
	x := &xzReader{in: in, limits: limits}
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
		n, err := x.data.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		x.out += int64(n)
		switch {
		case x.size >= 0 && x.out-x.begun > x.size:
			x.err = fmt.Errorf("more than the %d bytes that the block's header promises", x.size)
			return 0, x.err
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
	b, err := parseBlock(body)
	if err != nil {
		return err
	}
	// Nothing is ever copied from farther back than the block began.
	window := min(b.window, x.limits.Output-x.out+1)
	if b.size >= 0 {
		window = min(window, b.size)
	}
	if window > x.limits.Window {
		return fmt.Errorf("window of %d bytes where %d are allowed", window, x.limits.Window)
	}
	window = max(window, lzma.MinDictCap)
	// Each block has a window of its own, however little is in it.
	if x.spent += window; x.spent > maxWindows {
		return fmt.Errorf("blocks that ask for windows of more than %d bytes", maxWindows)
	}
	x.start, x.begun, x.size = x.in.offset(), x.out, b.size
	if x.block, err = (lzma.Reader2Config{DictCap: int(window)}).NewReader2(x.in.Reader); err != nil {
		return err
	}
	x.data = x.block
	if b.code != nil {
		x.data = &codeFilter{decoder: b.code, r: x.block}
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

// block is what a block's header says.
type block struct {
	size   int64   // of the content; -1 if it does not say
	window int64   // in bytes
	code   decoder // undoes the filter that was applied before LZMA2, if one was
}

// parseBlock reads a block's header without its checksum: its size, flags (two bits for
// the number of filters, 0x40 and 0x80 for the sizes of data and content), and the
// filters, each an ID, the size of its properties, and these.
func parseBlock(h []byte) (block, error) {
	out := block{size: -1}
	flags := h[1]
	h = h[2:]
	var err error
	number := func() uint64 {
		n, used := binary.Uvarint(h)
		if used <= 0 || n >= 1<<63 {
			err = errHeader
			return 0
		}
		h = h[used:]
		return n
	}
	if flags&0x3c != 0 {
		return out, fmt.Errorf("block flags %#x", flags)
	}
	if flags&0x40 != 0 {
		number()
	}
	if flags&0x80 != 0 {
		out.size = int64(number())
	}
	for i := range int(flags&3) + 1 {
		id, n := number(), number()
		if err == nil && n > uint64(len(h)) {
			err = errHeader
		}
		if err != nil {
			return out, err
		}
		props := h[:n]
		h = h[n:]
		last := i == int(flags&3)
		switch {
		case id == 0x21 && last && n == 1:
			if out.window, err = lzma.DecodeDictCap(props[0]); err != nil {
				return out, errWindow
			}
		case last || out.code != nil || n != 0 && (n != 4 || binary.LittleEndian.Uint32(props) != 0):
			return out, fmt.Errorf("filter %#x with %d bytes of properties: %w", id, n, ErrUnknown)
		case id == 4:
			out.code = new(x86Code)
		case id == 0xa:
			out.code = arm64Code{}
		default:
			return out, fmt.Errorf("filter %#x: %w", id, ErrUnknown)
		}
	}
	return out, nil
}

// end reads what follows the data of a block: padding to 4 bytes and the checksum.
func (x *xzReader) end() error {
	if !x.block.EOS() || x.size >= 0 && x.out-x.begun != x.size {
		return io.ErrUnexpectedEOF
	}
	x.block = nil
	sizes := [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
	tail := make([]byte, int(-(x.in.offset()-x.start)&3)+sizes[x.check])
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
