// Package lines reads logs and lists of hostile length line by line.
package lines

import (
	"bufio"
	"errors"
	"io"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Max bounds a line, in bytes.
const Max = 64 << 10

// ErrLong says that a line is longer than Max. Reading goes on behind it.
var ErrLong = errors.New("line is too long")

// Reader reads a stream line by line within bounds and knows where it is.
type Reader struct {
	r     *bufio.Reader
	limit int64 // bytes of the whole stream
	Next  int64 // offset of the next line
	Start int64 // offset of the line read last
	// Terminated says that the line read last ended with a newline, which the
	// last one of a log that is being written may not.
	Terminated bool
}

// New reads at most limit bytes of r.
func New(r io.Reader, limit int64) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, Max), limit: limit}
}

// Read returns the next line without its newline, valid until the next call.
// After ErrLong reading goes on at the next line; every other error, as
// file.ErrTooLarge behind limit, is final.
func (l *Reader) Read() ([]byte, error) {
	l.Start = l.Next
	line, err := l.r.ReadSlice('\n')
	l.Next += int64(len(line))
	if l.Next > l.limit {
		return nil, file.ErrTooLarge
	}
	if err == bufio.ErrBufferFull {
		return nil, l.skip()
	}
	l.Terminated = err == nil
	if err == nil {
		return line[:len(line)-1], nil
	}
	if err == io.EOF && len(line) > 0 {
		return line, nil
	}
	return nil, err
}

// skip drops the rest of a line that did not fit.
func (l *Reader) skip() error {
	for {
		rest, err := l.r.ReadSlice('\n')
		l.Next += int64(len(rest))
		switch {
		case l.Next > l.limit:
			return file.ErrTooLarge
		case err == nil || err == io.EOF:
			return ErrLong
		case err != bufio.ErrBufferFull:
			return err
		}
	}
}
