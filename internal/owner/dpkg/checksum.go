package dpkg

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// sumLen is the length of what stands before the path in an md5sums line: 32
// hexadecimal digits and two blanks (deb-md5sums(5)), the second of which
// md5sum(1) writes as "*" in binary mode.
const sumLen = 32 + 2

var (
	errSum     = errors.New("line is not a checksum and a path")
	errUnknown = errors.New("package is not in this database")
)

// Checksum returns the MD5 that the owning package recorded for o.Path, and
// false if it recorded none: conffiles, symbolic links and the files of some
// packages have none. RecordedAt is the ctime of the md5sums file, which dpkg
// writes anew whenever it unpacks the package. The error is an *owner.Error.
func (d *Database) Checksum(o owner.Owned) (owner.Checksum, bool, error) {
	r, ok := d.find(o.Package.Name, o.Package.Arch)
	if !ok {
		return owner.Checksum{}, false, owner.Defect(admin, -1, errUnknown)
	}
	name, content, err := d.readSums(r)
	if errors.Is(err, fs.ErrNotExist) {
		return owner.Checksum{}, false, nil
	}
	if err != nil {
		return owner.Checksum{}, false, owner.Defect(name, -1, err)
	}
	sum, ok, err := findSum(name, content, o.Path)
	if err != nil {
		d.defects.Add(err)
	}
	if !ok {
		return owner.Checksum{}, false, nil
	}
	info, err := d.root.Stat(name)
	if err != nil {
		return owner.Checksum{}, false, owner.Defect(name, -1, err)
	}
	return owner.Checksum{Hash: crypto.MD5, Sum: sum, RecordedAt: info.Ctime}, true, nil
}

func (d *Database) readSums(r *record) (name string, content []byte, err error) {
	if r.control != "" {
		name = r.control + ".md5sums"
		content, err = d.readInto(name, nil)
		return name, content, err
	}
	return d.readInfo(r, ".md5sums", nil)
}

// findSum looks a path up in the content of an md5sums file. A malformed line
// is skipped; the first one is the error, an *owner.Error, whether or not the
// path is found.
func findSum(name string, content []byte, path string) (sum string, ok bool, first error) {
	path = strings.TrimPrefix(path, "/")
	for off := 0; off < len(content); {
		line := content[off:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end]
		}
		if !validSum(line) {
			first = keepFirst(first, owner.Defect(name, int64(off), errSum))
		} else if string(sumPath(line)) == path {
			return strings.ToLower(string(line[:32])), true, first
		}
		off += len(line) + 1
	}
	return "", false, first
}

func validSum(line []byte) bool {
	if len(line) <= sumLen || line[32] != ' ' || line[33] != ' ' && line[33] != '*' {
		return false
	}
	var sum [16]byte
	_, err := hex.Decode(sum[:], line[:32])
	return err == nil
}

// sumPath returns the path of an md5sums line, without the "./" or "/" that
// some tools write before it.
func sumPath(line []byte) []byte {
	p := bytes.TrimPrefix(line[sumLen:], []byte("./"))
	return bytes.TrimPrefix(p, []byte("/"))
}
