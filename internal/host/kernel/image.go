package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/patchsensor/patchsensor/internal/host/packed"
)

// Kinds of kernel image files.
const (
	FormatBzImage = "bzImage" // x86: a boot sector, a setup header, a compressed ELF file
	FormatUKI     = "uki"     // an EFI program with the kernel in its section .linux
	FormatZBoot   = "zboot"   // an EFI program that decompresses the kernel itself
	FormatImage   = "Image"   // arm64 and RISC-V: the bare kernel
	FormatELF     = "vmlinux" // an ELF file, as POWER boots it
	FormatPacked  = "packed"  // one of the last two, compressed as a whole
)

// ErrNotKernel is returned for a file that is in no known format of kernels.
var ErrNotKernel = errors.New("not a kernel image of a known format")

// ErrNoBuildID says that a kernel was built without a build ID, or that it
// cannot be told apart from others in the image.
var ErrNoBuildID = errors.New("no build ID that is certain")

// Image is what a kernel image file says of itself. Strings are the bytes of
// the file, neither escaped nor checked for UTF-8.
type Image struct {
	Format  string
	Release string // uname(2) release; empty where the header does not have it
	// Version is the release, the builder and uname(2)'s version: "6.1.0-35-amd64
	// (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1
	// (2025-05-07)". Debian names the version of the package there.
	Version string
	// OSRelease is section .osrel of a unified kernel image: os-release(5) of what
	// it boots.
	OSRelease string
	// BuildID is the NT_GNU_BUILD_ID of the kernel, as /sys/kernel/notes has it of
	// the one that runs, in lower-case hexadecimal digits. Only Identify reads it.
	BuildID string
}

// part is some bytes of a file that an image's payload lies in.
type part struct{ off, size int64 }

// Limits of the headers, in bytes.
const (
	maxVersion   = 512
	maxOSRelease = 64 << 10
	// x86SetupHeader ends behind payload_length, boot.rst.
	x86SetupHeader = 0x250
)

// ReadImage reads the headers of the kernel image r of size bytes, in a few
// small reads. It returns ErrNotKernel, an *Error for headers that contradict
// the file, or an error of r.
func ReadImage(r io.ReaderAt, size int64) (Image, error) {
	img, _, err := readHeaders(r, size, true)
	return img, err
}

// Identify reads the headers of a kernel image, and the build ID of the kernel
// in it, which has to be decompressed as far as its notes: up to 256 MiB, with
// up to 128 MiB of memory for the window that the packer has asked for, in a
// second or so. Where the headers do not have the release it comes from the
// kernel too.
//
// Beside an error is what the headers say. The error is ErrCompression for
// packers that are not known (lzo), ErrNoBuildID if the kernel has none,
// else as with ReadImage, or ctx's.
func Identify(ctx context.Context, r io.ReaderAt, size int64) (Image, error) {
	img, where, err := readHeaders(r, size, true)
	if err != nil {
		return img, err
	}
	in, err := unpack(ctx, r, where)
	if err != nil {
		return img, err
	}
	defer in.Close()
	found, err := readInner(in)
	if img.Release == "" {
		img.Release, img.Version = found.release, found.version
	}
	img.BuildID = found.buildID
	if err == nil && img.BuildID == "" {
		err = ErrNoBuildID
	}
	return img, err
}

// shift makes the offset of an error one of the whole file.
func shift(err error, by int64) error {
	if e, ok := err.(*Error); ok && e.Offset >= 0 {
		return &Error{File: e.File, Offset: e.Offset + by, Err: e.Err}
	}
	return err
}

// readHeaders reads the headers of an image and says where its payload lies. A
// unified kernel image may not hold another one.
func readHeaders(r io.ReaderAt, size int64, outer bool) (Image, part, error) {
	head := make([]byte, min(size, x86SetupHeader))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), head); err != nil {
		return Image{}, part{}, err
	}
	whole := part{0, size}
	switch {
	case isBzImage(head):
		return readBzImage(r, size, head)
	case isZBoot(head):
		return readZBoot(size, head)
	case isImage(head):
		return Image{Format: FormatImage}, whole, nil
	case bytes.HasPrefix(head, []byte(elfMagic)):
		return Image{Format: FormatELF}, whole, nil
	case bytes.HasPrefix(head, []byte("MZ")) && outer:
		return readUKI(r, size, head)
	case packed.KindOf(head) != packed.Plain:
		return Image{Format: FormatPacked}, whole, nil
	}
	return Image{}, part{}, ErrNotKernel
}

const elfMagic = "\x7fELF"

func isBzImage(head []byte) bool {
	return len(head) == x86SetupHeader && string(head[0x202:0x206]) == "HdrS" && string(head[0x1fe:0x200]) == "\x55\xaa"
}

// isImage recognises the header that arm64 and RISC-V share (booting.rst,
// Documentation/arch/riscv/boot-image-header.rst).
func isImage(head []byte) bool {
	return len(head) >= 64 && (string(head[0x38:0x3c]) == "ARM\x64" || string(head[0x38:0x3c]) == "RSC\x05")
}

func isZBoot(head []byte) bool {
	return len(head) >= 64 && string(head[:2]) == "MZ" && string(head[4:8]) == "zimg"
}

// readBzImage reads the setup header of boot.rst: byte 0x1f1 has the number of
// sectors before the protected-mode part, 0x206 the protocol's version, 0x20e
// where the version string is, 0x248 where the payload is in that part.
func readBzImage(r io.ReaderAt, size int64, head []byte) (Image, part, error) {
	img := Image{Format: FormatBzImage}
	sectors := int64(head[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	setup := (sectors + 1) * 512
	if setup > size {
		return img, part{}, errorAt(0x1f1, "%d bytes of setup in a file of %d", setup, size)
	}
	if off := int64(binary.LittleEndian.Uint16(head[0x20e:])); off != 0 {
		// From 0x200 on, and inside the setup part.
		if off += 0x200; off >= setup {
			return img, part{}, errorAt(0x20e, "version string at %d, behind the setup's %d bytes", off, setup)
		}
		b := make([]byte, min(maxVersion, setup-off))
		if _, err := r.ReadAt(b, off); err != nil {
			return img, part{}, err
		}
		text, _, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return img, part{}, errorAt(off, "version string of more than %d bytes", len(b)-1)
		}
		img.Version = string(text)
		img.Release, _, _ = strings.Cut(img.Version, " ")
	}
	if protocol := binary.LittleEndian.Uint16(head[0x206:]); protocol < 0x208 {
		return img, part{}, errorAt(0x206, "boot protocol %#x does not tell where the kernel is", protocol)
	}
	off := setup + int64(binary.LittleEndian.Uint32(head[0x248:]))
	length := int64(binary.LittleEndian.Uint32(head[0x24c:]))
	if off > size || length > size-off || length == 0 {
		return img, part{}, errorAt(0x248, "payload of %d bytes at %d in a file of %d", length, off, size)
	}
	return img, part{off, length}, nil
}

// readZBoot reads zboot-header.S: "zimg", then where the payload is and how long.
func readZBoot(size int64, head []byte) (Image, part, error) {
	img := Image{Format: FormatZBoot}
	off := int64(binary.LittleEndian.Uint32(head[8:]))
	length := int64(binary.LittleEndian.Uint32(head[12:]))
	if off > size || length > size-off || length == 0 {
		return img, part{}, errorAt(8, "payload of %d bytes at %d in a file of %d", length, off, size)
	}
	return img, part{off, length}, nil
}
