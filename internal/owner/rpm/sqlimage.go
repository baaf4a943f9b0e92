package rpm

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"time"
)

// Layout of a database file's header (https://www.sqlite.org/fileformat.html#the_database_header).
const (
	sqlHeaderLen  = 100
	sqlMagic      = "SQLite format 3\x00"
	sqlPageAt     = 16
	sqlWriteAt    = 18 // versions for writing and reading; 2 is with a write-ahead log
	sqlReadAt     = 19
	sqlChangeAt   = 24
	sqlPagesAt    = 28
	sqlValidForAt = 92
	// maxSQL bounds a database file, in bytes.
	maxSQL = 8 << 30
)

var (
	errSQL       = errors.New("not a SQLite database")
	errSQLSize   = errors.New("SQLite database is larger than allowed")
	errTruncated = errors.New("SQLite database is shorter than it says")
	errHot       = errors.New("transaction was not finished: what the database says is not certain")
)

// image is a SQLite database as its last committed transaction left it: the file, with
// the pages of its write-ahead log laid over it. To SQLite it looks like a database that
// never had such a log, so that nothing need be locked or written. It is for one
// connection at a time.
type image struct {
	r        io.ReaderAt
	size     int64 // of what there is
	pageSize int64
	length   int64 // of the whole
	wal      *wal
	// ahead is what was read of the file last, from offset aheadAt on: SQLite asks for
	// one page after the other.
	ahead   []byte
	aheadAt int64
}

// readAhead is how much is read of a file at once, in bytes.
const readAhead = 128 << 10

// openImage reads the header of a database. w is called for the log, if there can be
// one. The error may come with an image that can be read in part.
func openImage(r io.ReaderAt, size int64, w func(pageSize int64) (*wal, error)) (*image, error) {
	var head [sqlHeaderLen]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, noEOF(err)
	}
	if string(head[:16]) != sqlMagic {
		return nil, errSQL
	}
	m := &image{r: r, size: size, pageSize: int64(binary.BigEndian.Uint16(head[sqlPageAt:]))}
	if m.pageSize == 1 {
		m.pageSize = 1 << 16
	}
	if m.pageSize < 512 || m.pageSize&(m.pageSize-1) != 0 || head[sqlReadAt] < 1 || head[sqlReadAt] > 2 {
		return nil, errSQL
	}
	var err error
	if head[sqlReadAt] == 2 {
		if m.wal, err = w(m.pageSize); err != nil {
			m.wal = nil
		}
	}
	m.length = size - size%m.pageSize
	switch {
	case m.wal != nil:
		m.length = int64(m.wal.pages) * m.pageSize
	case [4]byte(head[sqlChangeAt:]) == [4]byte(head[sqlValidForAt:]):
		if pages := int64(binary.BigEndian.Uint32(head[sqlPagesAt:])); pages != 0 {
			m.length = pages * m.pageSize
		}
	}
	if m.length > maxSQL {
		return nil, errSQLSize
	}
	if m.wal == nil && m.length > size && err == nil {
		err = errTruncated
	}
	return m, err
}

// ReadAt reads bytes of the image. What the file lacks is read as zeros, which are no
// valid page.
func (m *image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= m.length {
		return 0, io.EOF
	}
	done := 0
	for done < len(p) && off < m.length {
		within := off % m.pageSize
		part := p[done:]
		part = part[:min(int64(len(part)), m.pageSize-within)]
		if err := m.pagePart(part, off, within); err != nil {
			return done, err
		}
		if page1 := off - within; page1 == 0 {
			for _, at := range [...]int64{sqlWriteAt, sqlReadAt} {
				if at >= off && at < off+int64(len(part)) {
					part[at-off] = 1
				}
			}
		}
		done += len(part)
		off += int64(len(part))
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// pagePart reads a part of one page.
func (m *image) pagePart(p []byte, off, within int64) error {
	if m.wal != nil {
		if ok, err := m.wal.page(uint32(off/m.pageSize)+1, p, within); ok {
			return err
		}
	}
	if off < m.aheadAt || off+int64(len(p)) > m.aheadAt+int64(len(m.ahead)) {
		if m.ahead == nil {
			m.ahead = make([]byte, readAhead)
		}
		n, err := m.r.ReadAt(m.ahead[:readAhead], off)
		if err != nil && err != io.EOF {
			m.ahead = m.ahead[:0]
			return err
		}
		clear(m.ahead[n:readAhead])
		m.ahead, m.aheadAt = m.ahead[:readAhead], off
	}
	copy(p, m.ahead[off-m.aheadAt:])
	return nil
}

// imageName is the name of the image in its file system.
const imageName = "db"

// imageFS is a file system that holds nothing but an image; SQLite looks for journals
// beside it in vain.
type imageFS struct{ *image }

func (f imageFS) Open(name string) (fs.File, error) {
	if name != imageName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return imageFile{io.NewSectionReader(f.image, 0, f.length)}, nil
}

// imageFile is the open file, and describes itself.
type imageFile struct{ *io.SectionReader }

func (f imageFile) Stat() (fs.FileInfo, error) { return f, nil }
func (imageFile) Close() error                 { return nil }
func (imageFile) Name() string                 { return imageName }
func (imageFile) Mode() fs.FileMode            { return 0o444 }
func (imageFile) ModTime() time.Time           { return time.Time{} }
func (imageFile) IsDir() bool                  { return false }
func (imageFile) Sys() any                     { return nil }
