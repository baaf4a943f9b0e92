package advisory

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// Signatures and sizes of the records of a zip archive (PKWARE APPNOTE 6.3.10,
// sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16).
const (
	localHeader, localSize     = 0x04034b50, 30
	centralHeader, centralSize = 0x02014b50, 46
	endRecord, endSize         = 0x06054b50, 22
	end64Record, end64Size     = 0x06064b50, 56
	locator64, locator64Size   = 0x07064b50, 20
)

var errZip = errors.New("zip archive")

// archive reads a zip archive entry by entry from its central directory.
// archive/zip holds the whole directory in memory, 100 MB for the dumps this is
// for. Names of entries are only ever quoted.
type archive struct {
	file      io.ReaderAt
	size      int64
	directory *bufio.Reader
	left      int64 // bytes of the directory not yet read
	packed    int64 // sum of the compressed sizes so far
	inflater  io.ReadCloser
}

type zipEntry struct {
	name         string
	method       uint16
	encrypted    bool
	sum          uint32
	packed, size int64
	offset       int64
}

func openArchive(file io.ReaderAt, size int64) (*archive, error) {
	tail := make([]byte, min(size, endSize+1<<16))
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	i := bytes.LastIndex(tail, binary.LittleEndian.AppendUint32(nil, endRecord))
	if i < 0 || len(tail)-i < endSize {
		return nil, fmt.Errorf("%w: no end of the central directory: it is cut off", errZip)
	}
	end := tail[i:]
	length := int64(binary.LittleEndian.Uint32(end[12:]))
	begin := int64(binary.LittleEndian.Uint32(end[16:]))
	if at := size - int64(len(end)) - locator64Size; at >= 0 {
		locator := make([]byte, locator64Size)
		if _, err := file.ReadAt(locator, at); err != nil {
			return nil, err
		}
		if binary.LittleEndian.Uint32(locator) == locator64 {
			end64 := make([]byte, end64Size)
			at := int64(binary.LittleEndian.Uint64(locator[8:]))
			if at < 0 || at > size-end64Size {
				return nil, fmt.Errorf("%w: the central directory's end is outside of the file", errZip)
			}
			if _, err := file.ReadAt(end64, at); err != nil {
				return nil, err
			}
			if binary.LittleEndian.Uint32(end64) == end64Record {
				length = int64(binary.LittleEndian.Uint64(end64[40:]))
				begin = int64(binary.LittleEndian.Uint64(end64[48:]))
			}
		}
	}
	if begin < 0 || length < 0 || begin > size || length > size-begin {
		return nil, fmt.Errorf("%w: the central directory is outside of the file", errZip)
	}
	directory := bufio.NewReaderSize(io.NewSectionReader(file, begin, length), 64<<10)
	return &archive{file: file, size: size, directory: directory, left: length}, nil
}

// next returns the next entry of the directory, io.EOF after the last.
func (a *archive) next() (*zipEntry, error) {
	if a.left == 0 {
		return nil, io.EOF
	}
	var h [centralSize]byte
	if _, err := io.ReadFull(a.directory, h[:]); err != nil || binary.LittleEndian.Uint32(h[:]) != centralHeader {
		return nil, fmt.Errorf("%w: damaged central directory", errZip)
	}
	nameLen, extraLen := int(binary.LittleEndian.Uint16(h[28:])), int(binary.LittleEndian.Uint16(h[30:]))
	commentLen := int(binary.LittleEndian.Uint16(h[32:]))
	rest := make([]byte, nameLen+extraLen+commentLen)
	if _, err := io.ReadFull(a.directory, rest); err != nil {
		return nil, fmt.Errorf("%w: damaged central directory", errZip)
	}
	a.left -= int64(len(h) + len(rest))
	e := &zipEntry{
		name:      string(rest[:nameLen]),
		encrypted: h[8]&1 != 0,
		method:    binary.LittleEndian.Uint16(h[10:]),
		sum:       binary.LittleEndian.Uint32(h[16:]),
		packed:    int64(binary.LittleEndian.Uint32(h[20:])),
		size:      int64(binary.LittleEndian.Uint32(h[24:])),
		offset:    int64(binary.LittleEndian.Uint32(h[42:])),
	}
	e.extend(rest[nameLen : nameLen+extraLen])
	if e.packed < 0 || e.size < 0 || e.offset < 0 || e.packed > a.size || e.offset > a.size {
		return nil, fmt.Errorf("%w: entry %.100q is outside of the file", errZip, e.name)
	}
	// Entries that share their bytes are how a small file unfolds to a huge one.
	if a.packed += e.packed; a.packed > a.size {
		return nil, fmt.Errorf("%w: its entries overlap", errZip)
	}
	return e, nil
}

// extend takes the numbers of 64 bits from the extra field, those that the header
// has no room for (APPNOTE 4.5.3).
func (e *zipEntry) extend(extra []byte) {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, number := range []*int64{&e.size, &e.packed, &e.offset} {
			if *number == 1<<32-1 && len(field) >= 8 {
				*number = int64(binary.LittleEndian.Uint64(field))
				field = field[8:]
			}
		}
	}
}

// open returns the content of an entry. Reading it to the end checks its sum. It is
// good until the next call.
func (a *archive) open(e *zipEntry) (io.Reader, error) {
	var h [localSize]byte
	if _, err := a.file.ReadAt(h[:], e.offset); err != nil || binary.LittleEndian.Uint32(h[:]) != localHeader {
		return nil, errors.New("no entry where the directory says")
	}
	data := e.offset + localSize + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if data > a.size-e.packed {
		return nil, errors.New("the entry reaches beyond the file")
	}
	if e.encrypted {
		return nil, errors.New("encrypted")
	}
	packed := io.NewSectionReader(a.file, data, e.packed)
	switch e.method {
	case 0:
		return &summed{r: packed, left: e.size, want: e.sum, sum: crc32.NewIEEE()}, nil
	case 8:
		if a.inflater == nil {
			a.inflater = flate.NewReader(packed)
		} else if err := a.inflater.(flate.Resetter).Reset(packed, nil); err != nil {
			return nil, err
		}
		return &summed{r: a.inflater, left: e.size, want: e.sum, sum: crc32.NewIEEE()}, nil
	}
	return nil, fmt.Errorf("compression method %d", e.method)
}

// summed reads an entry and holds it to its size and checksum.
type summed struct {
	r    io.Reader
	left int64
	sum  hash.Hash32
	want uint32
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	s.left -= int64(n)
	if s.left < 0 {
		return n, errors.New("more than the directory says")
	}
	if err == io.EOF && (s.left != 0 || s.sum.Sum32() != s.want) {
		return n, errors.New("damaged: size or checksum differ")
	}
	return n, err
}
