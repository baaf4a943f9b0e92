package kernel

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// newXZ reads the first block of an .xz file of size bytes (The .xz File Format
// 1.2). The kernel's build packs with a filter for machine code before LZMA2
// (scripts/xz_wrap.sh), which the library's own reader of the format refuses:
// here are the headers and the filter of x86, the library does the rest. Checks
// of the content are not verified: the build ID is all that is taken from it.
func newXZ(in io.Reader, size int64) (io.Reader, error) {
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, errorAt(0, "xz: %w", err)
	}
	if crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return nil, errorAt(6, "xz: wrong checksum of the stream header")
	}
	var first [1]byte
	if _, err := io.ReadFull(in, first[:]); err != nil {
		return nil, errorAt(12, "xz: %w", err)
	}
	if first[0] == 0 {
		return nil, errorAt(12, "xz: no block")
	}
	block := make([]byte, 4*(int(first[0])+1))
	block[0] = first[0]
	if _, err := io.ReadFull(in, block[1:]); err != nil {
		return nil, errorAt(12, "xz: %w", err)
	}
	body := block[:len(block)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(block[len(body):]) {
		return nil, errorAt(12, "xz: wrong checksum of the block header")
	}
	x86, window, err := parseFilters(body)
	if err != nil {
		return nil, errorAt(12, "xz: %w", err)
	}
	if window > maxWindow {
		return nil, errorAt(12, "xz: window of %d bytes where %d are allowed", window, maxWindow)
	}
	r, err := lzma.Reader2Config{DictCap: int(window)}.NewReader2(in)
	if err != nil {
		return nil, errorAt(12, "xz: %w", err)
	}
	if x86 {
		return &x86Filter{r: r}, nil
	}
	return r, nil
}

var errBlockHeader = errors.New("block header ends too soon")

// parseFilters reads a block header without its checksum: its size, flags (two
// bits for the number of filters, 0x40 and 0x80 for optional sizes), and the
// filters, each an ID, the size of its properties, and these.
func parseFilters(b []byte) (x86 bool, window int64, err error) {
	if len(b) < 2 {
		return false, 0, errBlockHeader
	}
	flags := b[1]
	pos := 2
	number := func() uint64 {
		n, used := binary.Uvarint(b[min(pos, len(b)):])
		if used <= 0 {
			err = errBlockHeader
			return 0
		}
		pos += used
		return n
	}
	for _, bit := range []byte{0x40, 0x80} {
		if flags&bit != 0 {
			number()
		}
	}
	for i := range int(flags&3) + 1 {
		id, n := number(), number()
		if err == nil && n > uint64(len(b)-pos) {
			err = errBlockHeader
		}
		if err != nil {
			return false, 0, err
		}
		props := b[pos : pos+int(n)]
		pos += int(n)
		last := i == int(flags&3)
		switch {
		case id == 0x21 && last && n == 1:
			bits := uint(props[0])
			if bits > 40 {
				return false, 0, errors.New("size of the window is not valid")
			}
			if bits == 40 {
				return x86, 1<<32 - 1, nil
			}
			// 2 or 3 times a power of two, from 4 KiB on.
			return x86, max(lzma.MinDictCap, int64(2|bits&1)<<(bits/2+11)), nil
		case id == 4 && !last && !x86 && (n == 0 || n == 4 && binary.LittleEndian.Uint32(props) == 0):
			x86 = true
		default:
			return false, 0, errorAt(-1, "filter %#x: %w", id, ErrCompression)
		}
	}
	return false, 0, errors.New("no LZMA2")
}

// x86Filter turns the absolute targets of x86 calls and jumps back into
// relative ones (XZ Utils, src/liblzma/simple/x86.c; lib/xz/xz_dec_bcj.c of the
// kernel).
type x86Filter struct {
	r        io.Reader
	buf      [16 << 10]byte
	from, to int    // filtered bytes that were not read yet
	end      int    // bytes in buf, filtered or not
	pos      uint32 // of buf[to] in the content
	mask     uint32
	err      error
}

func (f *x86Filter) Read(p []byte) (int, error) {
	for f.from == f.to {
		if f.err != nil {
			return 0, f.err
		}
		f.fill()
	}
	n := copy(p, f.buf[f.from:f.to])
	f.from += n
	return n, nil
}

// fill moves what was too short to be filtered to the front, and reads more.
func (f *x86Filter) fill() {
	f.end = copy(f.buf[:], f.buf[f.to:f.end])
	f.from, f.to = 0, 0
	n, err := f.r.Read(f.buf[f.end:])
	f.end += n
	f.err = err
	done := f.filter(f.buf[:f.end])
	if err != nil {
		done = f.end // the last bytes cannot be an instruction
	}
	f.to = done
	f.pos += uint32(done)
}

// filter works on as much of buf as can be decided and returns how much.
func (f *x86Filter) filter(buf []byte) int {
	// Indexed by which of the last three bytes began an instruction.
	allowed := [8]bool{true, true, true, false, true, false, false, false}
	bits := [8]uint32{0, 1, 2, 2, 3, 3, 3, 3}
	farthest := func(b byte) bool { return b == 0 || b == 0xff }
	if len(buf) <= 4 {
		return 0
	}
	size := len(buf) - 4
	prev, mask := -1, f.mask
	i := 0
	for ; i < size; i++ {
		if buf[i]&0xfe != 0xe8 {
			continue
		}
		gap := i - prev
		prev = i
		if gap > 3 {
			mask = 0
		} else {
			mask = mask << (gap - 1) & 7
			if mask != 0 && (!allowed[mask] || farthest(buf[i+4-int(bits[mask])])) {
				mask = mask<<1 | 1
				continue
			}
		}
		if !farthest(buf[i+4]) {
			mask = mask<<1 | 1
			continue
		}
		src := binary.LittleEndian.Uint32(buf[i+1:])
		var dest uint32
		for {
			dest = src - (f.pos + uint32(i) + 5)
			if mask == 0 {
				break
			}
			j := bits[mask] * 8
			if !farthest(byte(dest >> (24 - j))) {
				break
			}
			src = dest ^ (1<<(32-j) - 1)
		}
		dest &= 0x01ffffff
		dest |= -(dest & 0x01000000)
		binary.LittleEndian.PutUint32(buf[i+1:], dest)
		i += 4
	}
	if gap := i - prev; gap > 3 {
		f.mask = 0
	} else {
		f.mask = mask << (gap - 1)
	}
	return i
}
