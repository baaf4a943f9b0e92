package packed

import "encoding/binary"

// x86Code knows CALL and JMP with 32 bits (liblzma/simple/x86.c).
type x86Code struct{ mask uint32 }

func (f *x86Code) decode(buf []byte, pos uint32) int {
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
			dest = src - (pos + uint32(i) + 5)
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
