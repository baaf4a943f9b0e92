package apk

import (
	"bufio"
	"errors"
	"io"

	"github.com/patchsensor/patchsensor/internal/file"
)

// maxLine bounds a line of a log.
const maxLine = 64 << 10

var errLongLine = errors.New("line is too long")

// lines reads a stream line by line within bounds and knows where it is.
type lines struct {
	r     *bufio.Reader
	limit int64 // bytes of the whole stream
	next  int64 // offset of the next line
	start int64 // offset of the line read last
	// terminated says that the line read last ended with a newline, which the
	// last one of a log that is being written may not.
	terminated bool
}

func newLines(r io.Reader, limit int64) *lines {
	return &lines{r: bufio.NewReaderSize(r, maxLine), limit: limit}
}

// read returns the next line without its newline, valid until the next call.
// After errLongLine reading goes on at the next line; every other error is
// final.
func (l *lines) read() ([]byte, error) {
	l.start = l.next
	line, err := l.r.ReadSlice('\n')
	l.next += int64(len(line))
	if l.next > l.limit {
		return nil, file.ErrTooLarge
	}
	if err == bufio.ErrBufferFull {
		return nil, l.skip()
	}
	l.terminated = err == nil
	if err == nil {
		return line[:len(line)-1], nil
	}
	if err == io.EOF && len(line) > 0 {
		return line, nil
	}
	return nil, err
}

// skip drops the rest of a line that did not fit.
func (l *lines) skip() error {
	for {
		rest, err := l.r.ReadSlice('\n')
		l.next += int64(len(rest))
		switch {
		case l.next > l.limit:
			return file.ErrTooLarge
		case err == nil || err == io.EOF:
			return errLongLine
		case err != bufio.ErrBufferFull:
			return err
		}
	}
}
