package packed

import (
	"encoding/binary"
	"io"
)

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
