package rpm

import (
	"encoding/binary"
	"errors"
	"io"
)

// Layout of a write-ahead log (https://www.sqlite.org/fileformat.html#walformat). All
// numbers are big endian, but checksums are over words in the order that the magic says.
const (
	walHeaderLen = 32
	walFrameLen  = 24
	walMagic     = 0x377f0682 // 0x377f0683 if words are big endian
	walVersion   = 3007000
	// maxWAL bounds a log, in bytes. rpm lets its own grow to 40 MB.
	maxWAL = 512 << 20
)

var (
	errWAL     = errors.New("write-ahead log is damaged")
	errWALSize = errors.New("write-ahead log is larger than allowed")
)

// wal is what a write-ahead log says of the database that it belongs to.
type wal struct {
	r        io.ReaderAt
	pageSize int64
	frames   map[uint32]int64 // where the newest content of a page lies, by its number
	pages    uint32           // of the database, once the log is taken in
	salt     [8]byte
}

// readWAL finds the pages that the log has of all transactions that were committed. A
// frame that is of an older log, or not whole, ends it: that is what a crash leaves
// behind, and what a writer has not finished. It is nil if nothing was committed.
func readWAL(r io.ReaderAt, size, pageSize int64) (*wal, error) {
	if size < walHeaderLen {
		return nil, nil
	}
	if size > maxWAL {
		return nil, errWALSize
	}
	var head [walHeaderLen]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, noEOF(err)
	}
	magic := binary.BigEndian.Uint32(head[:])
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 != 0 {
		order = binary.BigEndian
	}
	sum := walSum{order: order}
	sum.add(head[:24])
	switch {
	case magic&^1 != walMagic, binary.BigEndian.Uint32(head[4:]) != walVersion, !sum.is(head[24:]):
		return nil, nil // what SQLite takes for no log at all
	case int64(binary.BigEndian.Uint32(head[8:])) != pageSize:
		return nil, errWAL
	}
	w := &wal{r: r, pageSize: pageSize, frames: make(map[uint32]int64), salt: [8]byte(head[16:24])}
	pending := make(map[uint32]int64)
	frame := make([]byte, walFrameLen+pageSize)
	for at := int64(walHeaderLen); at+int64(len(frame)) <= size; at += int64(len(frame)) {
		if _, err := r.ReadAt(frame, at); err != nil {
			return nil, noEOF(err)
		}
		page := binary.BigEndian.Uint32(frame)
		sum.add(frame[:8])
		sum.add(frame[walFrameLen:])
		if page == 0 || [8]byte(frame[8:16]) != w.salt || !sum.is(frame[16:24]) {
			break
		}
		pending[page] = at
		if pages := binary.BigEndian.Uint32(frame[4:]); pages != 0 { // commit
			w.pages = pages
			for n, at := range pending {
				w.frames[n] = at
			}
			clear(pending)
		}
	}
	if w.pages == 0 {
		return nil, nil
	}
	return w, nil
}

// page reads the log's content of a page from an offset in it, and false if it has none.
func (w *wal) page(n uint32, p []byte, from int64) (bool, error) {
	at, ok := w.frames[n]
	if !ok {
		return false, nil
	}
	var head [walFrameLen]byte
	if _, err := w.r.ReadAt(head[:], at); err != nil {
		return true, noEOF(err)
	}
	if binary.BigEndian.Uint32(head[:]) != n || [8]byte(head[8:16]) != w.salt {
		return true, errChanged
	}
	_, err := w.r.ReadAt(p, at+walFrameLen+from)
	return true, noEOF(err)
}

// walSum is the running checksum of a log.
type walSum struct {
	order binary.ByteOrder
	a, b  uint32
}

func (s *walSum) add(p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		s.a += s.order.Uint32(p) + s.b
		s.b += s.order.Uint32(p[4:]) + s.a
	}
}

func (s *walSum) is(p []byte) bool {
	return binary.BigEndian.Uint32(p) == s.a && binary.BigEndian.Uint32(p[4:]) == s.b
}
