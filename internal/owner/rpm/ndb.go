package rpm

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"os"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// Layout of ndb (rpm's lib/backend/ndb/rpmpkg.c). Numbers are little endian. The file
// begins with a header in the place of the first two slots; blobs lie in blocks of 16
// bytes: a head, the blob, zeros, and a tail at the end of the last block.
const (
	ndbMagic     = 'R' | 'p'<<8 | 'm'<<16 | 'P'<<24
	ndbSlotMagic = 'S' | 'l'<<8 | 'o'<<16 | 't'<<24
	ndbHeadMagic = 'B' | 'l'<<8 | 'b'<<16 | 'S'<<24
	ndbTailMagic = 'B' | 'l'<<8 | 'b'<<16 | 'E'<<24

	ndbHeaderLen = 32
	ndbPage      = 4096
	ndbBlock     = 16 // a slot, too
	ndbHeadLen   = 16
	ndbTailLen   = 12
	// maxSlotPages bounds the pages of slots, 256 slots each.
	maxSlotPages = 2 * maxPackages / (ndbPage / ndbBlock)
)

var (
	errNDB     = errors.New("not an ndb database of version 0")
	errNDBSlot = errors.New("slot of an ndb database is damaged")
	errNDBBlob = errors.New("blob of an ndb database is damaged")
)

// ndb reads a Packages.db.
type ndb struct {
	name string
	r    io.ReaderAt
	size int64
	io.Closer
}

func openNDB(root Root, name string) (store, error) {
	f, size, err := openSized(root, name)
	if err != nil {
		return nil, err
	}
	return &ndb{name: name, r: f, size: size, Closer: f}, nil
}

// openSized opens a file with what its size is by now.
func openSized(root Root, name string) (*os.File, int64, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, owner.Defect(name, -1, err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, owner.Defect(name, -1, err)
	}
	return f, fi.Size(), nil
}

func (n *ndb) each(visit func(at uint64, header []byte, err error) bool) error {
	var head [ndbHeaderLen]byte
	if _, err := n.r.ReadAt(head[:], 0); err != nil {
		return owner.Defect(n.name, 0, noEOF(err))
	}
	pages := int64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint32(head[:]) != ndbMagic || binary.LittleEndian.Uint32(head[4:]) != 0 {
		return owner.Defect(n.name, 0, errNDB)
	}
	if pages == 0 || pages > maxSlotPages {
		return owner.Defect(n.name, 12, errNDB)
	}
	var (
		page [ndbPage]byte
		left = int64(maxRead)
	)
	for p := range pages {
		base := p * ndbPage
		if _, err := n.r.ReadAt(page[:], base); err != nil {
			return owner.Defect(n.name, base, noEOF(err))
		}
		for o := int64(0); o < ndbPage; o += ndbBlock {
			if base+o < ndbHeaderLen {
				continue
			}
			slot := page[o : o+ndbBlock]
			if binary.LittleEndian.Uint32(slot) != ndbSlotMagic {
				if !visit(0, nil, owner.Defect(n.name, base+o, errNDBSlot)) {
					return nil
				}
				continue
			}
			at := uint64(binary.LittleEndian.Uint32(slot[8:])) * ndbBlock
			if at == 0 {
				continue // free
			}
			blob, err := n.blob(at, binary.LittleEndian.Uint32(slot[4:]), int64(binary.LittleEndian.Uint32(slot[12:])))
			if left -= int64(len(blob)) + ndbPage; left < 0 {
				return owner.Defect(n.name, int64(at), errTooMuch)
			}
			if !visit(at, blob, err) {
				return nil
			}
		}
	}
	return nil
}

func (n *ndb) read(at uint64) ([]byte, error) { return n.blob(at, 0, 0) }

// blob reads the blob at a byte offset; pkg and blocks are what its slot says, or 0. Even
// a damaged blob is returned, so that it can be counted what was read.
func (n *ndb) blob(at uint64, pkg uint32, blocks int64) ([]byte, error) {
	var head [ndbHeadLen]byte
	if int64(at) > n.size {
		return nil, owner.Defect(n.name, int64(at), io.ErrUnexpectedEOF)
	}
	if _, err := n.r.ReadAt(head[:], int64(at)); err != nil {
		return nil, owner.Defect(n.name, int64(at), noEOF(err))
	}
	length := int64(binary.LittleEndian.Uint32(head[12:]))
	have := (ndbHeadLen + length + ndbTailLen + ndbBlock - 1) / ndbBlock
	switch {
	case binary.LittleEndian.Uint32(head[:]) != ndbHeadMagic,
		pkg != 0 && binary.LittleEndian.Uint32(head[4:]) != pkg, blocks != 0 && blocks != have:
		return nil, owner.Defect(n.name, int64(at), errNDBBlob)
	case length > maxHeader:
		return nil, owner.Defect(n.name, int64(at), errSize)
	case int64(at)+have*ndbBlock > n.size:
		return nil, owner.Defect(n.name, int64(at), io.ErrUnexpectedEOF)
	}
	rest := make([]byte, have*ndbBlock-ndbHeadLen)
	if _, err := n.r.ReadAt(rest, int64(at)+ndbHeadLen); err != nil {
		return nil, owner.Defect(n.name, int64(at), noEOF(err))
	}
	tail := rest[len(rest)-ndbTailLen:]
	sum := adler32.New()
	sum.Write(head[:])
	sum.Write(rest[:len(rest)-ndbTailLen])
	if binary.LittleEndian.Uint32(tail) != sum.Sum32() || int64(binary.LittleEndian.Uint32(tail[4:])) != length ||
		binary.LittleEndian.Uint32(tail[8:]) != ndbTailMagic {
		return rest, owner.Defect(n.name, int64(at), errNDBBlob)
	}
	return rest[:length], nil
}

// noEOF turns the end of a file that should go on into an error that says so.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
