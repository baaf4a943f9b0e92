package kernel

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"

	"github.com/patchsensor/patchsensor/internal/file"
)

// ErrCompression is returned for a kernel that is packed in a way that is not
// known here.
var ErrCompression = errors.New("compression is not known")

const (
	// maxUnpacked bounds what comes out of a packed kernel. Real ones have 20 to
	// 80 MiB.
	maxUnpacked = 256 << 20
	// maxWindow bounds the memory of a decompressor: the kernel's build packs with
	// zstd --ultra -22, which takes 128 MiB, and with xz windows of 32 or 128 MiB.
	maxWindow = 128 << 20
)

// packers are the magic numbers of what kernels are packed with
// (lib/decompress.c; scripts/extract-vmlinux).
var packers = [...]struct{ name, magic string }{
	{"gzip", "\x1f\x8b\x08"},
	{"xz", "\xfd7zXZ\x00"},
	{"zstd", "\x28\xb5\x2f\xfd"},
	{"bzip2", "BZh"},
	{"lzma", "\x5d\x00\x00"},
	{"lz4", "\x02\x21\x4c\x18"},
	{"lzo", "\x89LZO\x00\r\n\x1a\n"},
}

// packer is the name of what head was packed with, empty if it is none of those.
func packer(head []byte) string {
	for _, p := range packers {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return p.name
		}
	}
	return ""
}

// unpacked reads what was packed; close gives back its memory.
type unpacked struct {
	io.Reader
	close func()
}

// unpack returns a reader of what r has packed, or of r itself if that is not
// packed but a kernel.
func unpack(r *io.SectionReader) (unpacked, error) {
	head := make([]byte, min(64, r.Size()))
	if _, err := r.ReadAt(head, 0); err != nil {
		return unpacked{}, err
	}
	in := bufio.NewReaderSize(r, 64<<10)
	u := unpacked{close: func() {}}
	var err error
	switch name := packer(head); name {
	case "gzip":
		u.Reader, err = gzip.NewReader(in)
	case "xz":
		u.Reader, err = newXZ(in, r.Size())
	case "zstd":
		var d *zstd.Decoder
		// One goroutine: the reader asks for little, and what is read ahead is lost.
		d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			u.Reader, u.close = d, d.Close
		}
	case "bzip2":
		u.Reader = bzip2.NewReader(in)
	case "lzma":
		u.Reader, err = newLZMA(in, head)
	case "lz4":
		u.Reader, err = newLZ4(in)
	case "":
		if !bytes.HasPrefix(head, []byte(elfMagic)) && !isImage(head) {
			return u, &Error{Offset: 0, Err: ErrCompression}
		}
		u.Reader = in
	default:
		return u, &Error{Offset: 0, Err: fmt.Errorf("%s: %w", name, ErrCompression)}
	}
	if err != nil {
		if _, ok := err.(*Error); !ok {
			err = errorAt(0, "%s: %w", packer(head), err)
		}
		return u, err
	}
	return u, nil
}

// newLZMA reads the format of the old lzma program: a byte of parameters, the
// size of the window, the size of the content or -1 (lzma-file-format.txt of XZ
// Utils). It reads the window's size first because the library would allocate
// whatever is asked for.
func newLZMA(in io.Reader, head []byte) (io.Reader, error) {
	if len(head) < 13 {
		return nil, errorAt(0, "lzma: header of %d bytes", len(head))
	}
	if window := binary.LittleEndian.Uint32(head[1:]); window > maxWindow {
		return nil, errorAt(1, "lzma: window of %d bytes where %d are allowed", window, maxWindow)
	}
	return lzma.NewReader(in)
}

// bounded reads at most left bytes of r, then fails with file.ErrTooLarge, and
// stops when ctx is done.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left int64
	pos  int64 // bytes read so far
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.left == 0 {
		return 0, errorAt(-1, "more than %d bytes after unpacking: %w", maxUnpacked, file.ErrTooLarge)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left, 256<<10)])
	b.left -= int64(n)
	b.pos += int64(n)
	if err != nil && err != io.EOF {
		err = errorAt(-1, "after %d unpacked bytes: %w", b.pos, err)
	}
	return n, err
}
