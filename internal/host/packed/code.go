package packed

import (
	"encoding/binary"
	"io"
)

// decoder turns the absolute targets of calls and jumps in buf, which stands at pos of the
// content, back into relative ones. It works on as much of buf as can be decided and
// returns how much.
type decoder interface {
	decode(buf []byte, pos uint32) int
}

// codeFilter undoes a filter for machine code, which makes code easier to pack (XZ Utils,
// src/liblzma/simple; lib/xz/xz_dec_bcj.c of the kernel).
type codeFilter struct {
	decoder
	r        io.Reader
	buf      [16 << 10]byte
	from, to int    // filtered bytes that were not read yet
	end      int    // bytes in buf, filtered or not
	pos      uint32 // of buf[to] in the content
	err      error
}

func (f *codeFilter) Read(p []byte) (int, error) {
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
func (f *codeFilter) fill() {
	f.end = copy(f.buf[:], f.buf[f.to:f.end])
	f.from, f.to = 0, 0
	n, err := f.r.Read(f.buf[f.end:])
	f.end += n
	f.err = err
	done := f.decode(f.buf[:f.end], f.pos)
	if err != nil {
		done = f.end // the last bytes cannot be an instruction
	}
	f.to = done
	f.pos += uint32(done)
}

// arm64Code knows BL, and ADRP within 512 MiB (liblzma/simple/arm64.c).
type arm64Code struct{}

func (arm64Code) decode(buf []byte, pos uint32) int {
	i := 0
	for ; i+4 <= len(buf); i += 4 {
		pc := pos + uint32(i)
		switch v := binary.LittleEndian.Uint32(buf[i:]); {
		case v>>26 == 0x25: // BL: 26 bits of words
			binary.LittleEndian.PutUint32(buf[i:], 0x94000000|(v-pc>>2)&0x03ffffff)
		case v&0x9f000000 == 0x90000000: // ADRP: 21 bits of pages, the lowest two apart
			src := v>>29&3 | v>>3&0x001ffffc
			if (src+0x00020000)&0x001c0000 != 0 {
				continue
			}
			dest := src - pc>>12
			v = v&0x9000001f | dest&3<<29 | dest&0x0003fffc<<3 | -(dest&0x00020000)&0x00e00000
			binary.LittleEndian.PutUint32(buf[i:], v)
		}
	}
	return i
}
