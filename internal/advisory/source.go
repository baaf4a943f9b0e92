package advisory

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// maxDepth is how deep directories are looked into: osv.dev's export has one for
// each ecosystem.
const maxDepth = 8

// walk calls visit with every plain file at or below the paths, other than hidden
// ones. Symbolic links are followed where a path is one, and not below.
func walk(ctx context.Context, paths []string, visit func(path string) error) error {
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("advisories: %w", err)
		}
		if info.IsDir() {
			err = walkDir(ctx, path, 1, visit)
		} else {
			err = visit(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walkDir reads directories in pieces: an unpacked dump has 300,000 files in one.
func walkDir(ctx context.Context, dir string, depth int, visit func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("advisories: %w", err)
	}
	defer d.Close()
	for {
		list, err := d.ReadDir(512)
		for _, e := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			path := filepath.Join(dir, e.Name())
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case e.IsDir() && depth < maxDepth:
				err := walkDir(ctx, path, depth+1, visit)
				if err != nil {
					return err
				}
			case e.Type()&fs.ModeSymlink != 0:
				// A link to a file, as deployments switch between versions by.
				if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
					continue
				}
				if err := visit(path); err != nil {
					return err
				}
			case e.Type().IsRegular():
				if err := visit(path); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("advisories: %w", err)
		}
	}
}

// openPlain opens a plain file, and never waits for a pipe.
func openPlain(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

var errEmpty = errors.New("empty")

// errForeign says that a file is no JSON and none of the containers for it.
var errForeign = errors.New("not a known kind of advisories")

// readFile reads all that a file holds, whatever it is packed in. kinds collects
// what was found. Its error is that the rest of the file cannot be read.
func readFile(ctx context.Context, f io.ReaderAt, size int64, to sinks, kinds *reading) error {
	begin := make([]byte, 4)
	n, err := f.ReadAt(begin, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if !bytes.HasPrefix(begin[:n], []byte("PK\x03\x04")) && !bytes.HasPrefix(begin[:n], []byte("PK\x05\x06")) {
		r, closer, err := unpack(io.NewSectionReader(f, 0, size))
		if err != nil {
			return err
		}
		defer closer()
		return readText(ctx, r, to, kinds)
	}
	a, err := openArchive(f, size)
	if err != nil {
		return err
	}
	for {
		e, err := a.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.HasSuffix(e.name, "/") && e.size == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		inner := to
		inner.problem = func(_ string, offset int64, err error) { to.problem(e.name, offset, err) }
		r, err := a.open(e)
		if err == nil {
			err = readText(ctx, r, inner, kinds)
		}
		var fatal *fatalError
		if errors.As(err, &fatal) || ctx.Err() != nil {
			return err
		}
		if err != nil {
			offset, err := place(err)
			to.problem(e.name, offset, err)
		}
	}
}

// unpack undoes compression by gzip and zstd, told by their first bytes (RFC 1952,
// RFC 8878).
func unpack(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 64<<10)
	begin, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case bytes.Equal(begin, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// reading is what is found out about a file while it is read: the kinds that it
// holds, and when it says that it was released. Its buffer serves all entries.
type reading struct {
	names    []string
	released time.Time
	buffer   *bufio.Reader
}

func (k *reading) add(kind string) {
	for _, name := range k.names {
		if name == kind {
			return
		}
	}
	k.names = append(k.names, kind)
}

// placed is an error at a byte offset.
type placed struct {
	offset int64
	err    error
}

func (p *placed) Error() string { return p.err.Error() }
func (p *placed) Unwrap() error { return p.err }

// place takes the offset off an error, -1 if it has none.
func place(err error) (int64, error) {
	var p *placed
	if errors.As(err, &p) {
		return p.offset, p.err
	}
	return -1, err
}

// fatalError is an error of the index that is written, not of what is read.
type fatalError struct{ err error }

func (f *fatalError) Error() string { return f.err.Error() }
func (f *fatalError) Unwrap() error { return f.err }

// readText reads JSON texts. Its error is placed.
func readText(ctx context.Context, r io.Reader, to sinks, kinds *reading) error {
	if kinds.buffer == nil {
		kinds.buffer = bufio.NewReaderSize(nil, 16<<10)
	}
	b := kinds.buffer
	b.Reset(r)
	begin, err := b.Peek(16 << 10)
	if err != nil && err != io.EOF {
		return &placed{0, err}
	}
	if len(begin) == 0 {
		return &placed{0, errEmpty}
	}
	// Most decide in their first key.
	kind := kindOf(begin[:min(len(begin), 256)])
	if kind == "" {
		kind = kindOf(begin)
	}
	if kind == "" {
		return &placed{0, errForeign}
	}
	kinds.add(kind)
	if kind == KindOSV && err == io.EOF && json.Valid(begin) {
		// All of it, and one record: the most frequent case by far.
		return readRecord(begin, 0, to)
	}
	s := newStream(ctx, b)
	switch kind {
	case KindTracker:
		err = readTracker(s, to)
	case KindSecDB:
		err = readSecDB(s, to)
	case KindKEV:
		kinds.released, err = readKEV(s, to)
	default:
		err = readOSV(s, to)
	}
	if err == nil && kind != KindOSV {
		// Nothing may follow, or it is not what it seems.
		s.allow(64 << 10)
		if t, tokenErr := s.Token(); tokenErr != io.EOF {
			err = fmt.Errorf("%.32v after the end", t)
			if tokenErr != nil {
				err = tokenErr
			}
		}
	}
	if err == nil {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	offset := s.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	return &placed{offset, err}
}

// readOSV reads one record after the other.
func readOSV(s *stream, to sinks) error {
	for {
		offset := s.InputOffset()
		var text json.RawMessage
		s.allow(maxRecord)
		err := s.Decode(&text)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := readRecord(text, offset, to); err != nil {
			return err
		}
	}
}

// readRecord reads the text of one record. Its error is one of the sinks.
func readRecord(text []byte, offset int64, to sinks) error {
	r, err := parseOSV(text)
	if err != nil {
		to.problem("", offset, err)
	}
	if r == nil {
		return nil
	}
	return to.record(r)
}
