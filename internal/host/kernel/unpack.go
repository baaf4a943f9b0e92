package kernel

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/patchsensor/patchsensor/internal/host/packed"
)

// ErrCompression is returned for a kernel that is packed in a way that is not
// known here.
var ErrCompression = packed.ErrUnknown

// limits bound the unpacking of a kernel. Real ones have 20 to 80 MiB. The
// kernel's build packs with zstd --ultra -22, which takes a window of 128 MiB,
// and with xz windows of 32 or 128 MiB.
var limits = packed.Limits{Window: 128 << 20, Output: maxUnpacked}

const maxUnpacked = 256 << 20

// unpacked is a kernel that is unpacked while it is read. It stops when ctx is
// done. Defects of what is packed are an *Error with their offset in the image's
// file.
type unpacked struct {
	ctx  context.Context
	in   *packed.Reader
	base int64 // where the payload begins in the image's file
	pos  int64 // bytes read so far
}

// unpack returns a reader of what a part of r has packed, or of the part itself
// if that is not packed but a kernel.
func unpack(ctx context.Context, r io.ReaderAt, where part) (*unpacked, error) {
	head := make([]byte, min(64, where.size))
	if _, err := io.ReadFull(io.NewSectionReader(r, where.off, where.size), head); err != nil {
		return nil, err
	}
	kind := packed.KindOf(head)
	if kind == packed.Plain && !bytes.HasPrefix(head, []byte(elfMagic)) && !isImage(head) {
		return nil, &Error{Offset: where.off, Err: ErrCompression}
	}
	u := &unpacked{ctx: ctx, base: where.off}
	var err error
	u.in, err = packed.NewReader(io.NewSectionReader(r, where.off, where.size), kind, limits)
	return u, u.inFile(err)
}

// cut explains the end of what was to be read.
func (u *unpacked) cut(err error, what string) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errorAt(u.base+u.in.Offset(), "the kernel ends in its %s, after %d bytes", what, u.pos)
	}
	return err
}

func (u *unpacked) Close() { u.in.Close() }

func (u *unpacked) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	// Not so much at a time that ctx would have to wait for long.
	n, err := u.in.Read(p[:min(len(p), 256<<10)])
	u.pos += int64(n)
	return n, u.inFile(err)
}

// inFile makes the offset of an error one of the image's file.
func (u *unpacked) inFile(err error) error {
	if e, ok := errors.AsType[*packed.Error](err); ok {
		return &Error{Offset: u.base + e.Offset, Err: e.Err}
	}
	return err
}
