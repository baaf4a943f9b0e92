package rpm

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// Layout of a hash of Berkeley DB (src/dbinc/db_page.h). Numbers are in the byte order
// of the machine that made the file. Every page begins with a header of 26 bytes:
//
//	0 LSN, 8 page number, 12 page before, 16 page after, 20 entries, 22 high free
//	offset (of an overflow page: bytes on it), 24 level, 25 type
//
// The page of metadata goes on otherwise (DBMETA, HMETA).
const (
	bdbMagic      = 0x00061561 // DB_HASHMAGIC
	bdbHeaderLen  = 26
	bdbMetaLen    = 512
	bdbMagicAt    = 12
	bdbPageSizeAt = 20
	bdbCryptAt    = 24
	bdbTypeAt     = 25
	bdbLastAt     = 32
	bdbNextAt     = 16
	bdbEntriesAt  = 20
	bdbOffsetAt   = 22

	bdbPageUnsorted = 2  // P_HASH_UNSORTED, before 4.6
	bdbPageOverflow = 7  // P_OVERFLOW
	bdbPageMeta     = 8  // P_HASHMETA
	bdbPageHash     = 13 // P_HASH

	bdbItemInline  = 1 // H_KEYDATA
	bdbItemOffpage = 3 // H_OFFPAGE: type, 3 bytes, page, length
	bdbOffpageLen  = 12
)

var (
	errBDB     = errors.New("not a hash of Berkeley DB that can be read")
	errBDBPage = errors.New("page of a Berkeley DB is damaged")
)

// bdb reads a Packages file. Where a header lies is the offset of the entry in the table
// of its page that points to it.
type bdb struct {
	name     string
	r        io.ReaderAt
	order    binary.ByteOrder
	pageSize int64
	last     int64 // number of the last page
	left     int64 // bytes that may still be read
	io.Closer
}

func openBDB(root Root, name string) (store, error) {
	f, size, err := openSized(root, name)
	if err != nil {
		return nil, err
	}
	b, err := newBDB(name, f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	b.Closer = f
	return b, nil
}

// newBDB reads the page of metadata.
func newBDB(name string, r io.ReaderAt, size int64) (*bdb, error) {
	var meta [bdbMetaLen]byte
	if _, err := r.ReadAt(meta[:], 0); err != nil {
		return nil, owner.Defect(name, 0, noEOF(err))
	}
	b := &bdb{name: name, r: r, order: binary.LittleEndian, left: maxRead}
	if binary.BigEndian.Uint32(meta[bdbMagicAt:]) == bdbMagic {
		b.order = binary.BigEndian
	}
	b.pageSize = int64(b.order.Uint32(meta[bdbPageSizeAt:]))
	switch {
	case b.order.Uint32(meta[bdbMagicAt:]) != bdbMagic, meta[bdbTypeAt] != bdbPageMeta, meta[bdbCryptAt] != 0,
		b.pageSize < 512 || b.pageSize > 64<<10 || b.pageSize&(b.pageSize-1) != 0:
		return nil, owner.Defect(name, 0, errBDB)
	}
	b.last = int64(b.order.Uint32(meta[bdbLastAt:]))
	return b, nil
}

func (b *bdb) each(visit func(at uint64, header []byte, err error) bool) error {
	page := make([]byte, b.pageSize)
	for n := int64(1); n <= b.last; n++ {
		base := n * b.pageSize
		if err := b.page(n, page); err != nil {
			return err // the file ends, or is too large
		}
		if page[bdbTypeAt] != bdbPageHash && page[bdbTypeAt] != bdbPageUnsorted {
			continue
		}
		entries := int64(b.order.Uint16(page[bdbEntriesAt:]))
		if entries%2 != 0 || bdbHeaderLen+2*entries > b.pageSize {
			if !visit(0, nil, owner.Defect(b.name, base+bdbEntriesAt, errBDBPage)) {
				return nil
			}
			continue
		}
		for i := int64(1); i < entries; i += 2 { // keys are at even places
			at := base + bdbHeaderLen + 2*i
			key, err := b.inline(page, base, i-1)
			if err == nil && len(key) == 4 && b.order.Uint32(key) == 0 {
				continue // the number for the next package
			}
			blob, err := b.value(page, base, i)
			if b.left < 0 {
				return owner.Defect(b.name, at, errTooMuch)
			}
			if !visit(uint64(at), blob, err) {
				return nil
			}
		}
	}
	return nil
}

func (b *bdb) read(at uint64) ([]byte, error) {
	n, i := int64(at)/b.pageSize, (int64(at)%b.pageSize-bdbHeaderLen)/2
	page := make([]byte, b.pageSize)
	if err := b.page(n, page); err != nil {
		return nil, err
	}
	if (page[bdbTypeAt] != bdbPageHash && page[bdbTypeAt] != bdbPageUnsorted) || i < 1 || i >= int64(b.order.Uint16(page[bdbEntriesAt:])) {
		return nil, owner.Defect(b.name, int64(at), errGone)
	}
	return b.value(page, n*b.pageSize, i)
}

// page reads a page.
func (b *bdb) page(n int64, page []byte) error {
	at := n * b.pageSize
	if b.left -= b.pageSize; b.left < 0 {
		return owner.Defect(b.name, at, errTooMuch)
	}
	if _, err := b.r.ReadAt(page, at); err != nil {
		return owner.Defect(b.name, at, noEOF(err))
	}
	return nil
}

// item returns the offset of an item in its page, of which the byte is its type, and
// where it ends: items are put into a page from its end.
func (b *bdb) item(page []byte, i int64) (from, to int64, ok bool) {
	offset := func(i int64) int64 { return int64(b.order.Uint16(page[bdbHeaderLen+2*i:])) }
	if bdbHeaderLen+2*i+2 > b.pageSize {
		return 0, 0, false
	}
	from, to = offset(i), b.pageSize
	if i > 0 {
		to = offset(i - 1)
	}
	return from, to, from >= bdbHeaderLen && from < to && to <= b.pageSize
}

// inline returns an item that is in the page itself.
func (b *bdb) inline(page []byte, base, i int64) ([]byte, error) {
	from, to, ok := b.item(page, i)
	if !ok || page[from] != bdbItemInline {
		return nil, owner.Defect(b.name, base+bdbHeaderLen+2*i, errBDBPage)
	}
	return page[from+1 : to], nil
}

// value returns an item that is in the page or in a chain of overflow pages.
func (b *bdb) value(page []byte, base, i int64) ([]byte, error) {
	from, to, ok := b.item(page, i)
	if ok && page[from] == bdbItemOffpage && to-from >= bdbOffpageLen {
		return b.overflow(int64(b.order.Uint32(page[from+4:])), int64(b.order.Uint32(page[from+8:])))
	}
	return b.inline(page, base, i)
}

// overflow reads the chain of pages that begins with page n and holds length bytes. Each
// must hold some, so that a chain in a circle comes to its end.
func (b *bdb) overflow(n, length int64) ([]byte, error) {
	if length > maxHeader {
		return nil, owner.Defect(b.name, n*b.pageSize, errSize)
	}
	var (
		out  []byte
		page = make([]byte, b.pageSize)
	)
	for int64(len(out)) < length {
		if n == 0 || n > b.last {
			return nil, owner.Defect(b.name, n*b.pageSize, errBDBPage)
		}
		if err := b.page(n, page); err != nil {
			return nil, err
		}
		used := int64(b.order.Uint16(page[bdbOffsetAt:]))
		if page[bdbTypeAt] != bdbPageOverflow || used == 0 || bdbHeaderLen+used > b.pageSize || int64(len(out))+used > length {
			return nil, owner.Defect(b.name, n*b.pageSize, errBDBPage)
		}
		if out == nil {
			out = make([]byte, 0, min(length, 1<<20))
		}
		out = append(out, page[bdbHeaderLen:bdbHeaderLen+used]...)
		n = int64(b.order.Uint32(page[bdbNextAt:]))
	}
	return out, nil
}
