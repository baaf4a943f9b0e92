package apk

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"

	"github.com/patchsensor/patchsensor/internal/owner"
)

var (
	errSum     = errors.New("checksum (field Z) is none of those that apk writes")
	errUnknown = errors.New("package is not in this database")
)

// Checksum returns the SHA-1 or SHA-256 that the owning package recorded for
// o.Path, and false if it recorded none that is of the content:
//
//   - That of a symbolic link is of the link's text. The database does not say
//     which files are links, but that they have mode 0777, in which other files
//     are rarely packed; and what is a link in the root now has no content.
//   - A SHA-256 may be cut to 160 bits (apk-tools 3, of packages of version 3).
//
// RecordedAt is the ctime that the database had when it was opened; apk writes it
// anew in every transaction. The error is an *owner.Error.
func (d *Database) Checksum(o owner.Owned) (owner.Checksum, bool, error) {
	i, ok := d.find(o.Package.Name)
	if !ok || d.packages[i].Arch != o.Package.Arch {
		return owner.Checksum{}, false, &owner.Error{File: "/" + places[0], Offset: -1, Err: errUnknown}
	}
	var e *entry
	d.lookup(o.Path, func(have *entry) {
		if int(have.pkg) == i && (e == nil || have.name < e.name) {
			e = have
		}
	})
	if e == nil || d.packages[i].truncated {
		return owner.Checksum{}, false, nil
	}
	src := d.packages[i].source
	at, link := findSum(src.content, int(e.name))
	if at < 0 || link {
		return owner.Checksum{}, false, nil
	}
	if _, err := d.root.Readlink(o.Path); err == nil {
		return owner.Checksum{}, false, nil
	}
	sum, ok := parseSum(lineAt(src.content, at))
	if !ok {
		d.defects.Add(owner.Defect(src.name, int64(at), errSum))
		return owner.Checksum{}, false, nil
	}
	sum.RecordedAt = src.ctime
	return sum, true, nil
}

// findSum returns the offset of the checksum of the file whose name is at an
// offset, -1 if it has none, and whether the file may be a symbolic link.
func findSum(content []byte, name int) (at int, link bool) {
	off := name + len(lineAt(content, name)) + 1
	for off < len(content) {
		line := lineAt(content, off)
		switch {
		case off+len(line) == len(content): // cut off
			return -1, link
		case len(line) > 2 && line[0] == 'Z' && line[1] == ':':
			return off + 2, link
		case len(line) > 2 && line[0] == 'a' && line[1] == ':':
			link = linkMode(line[2:])
		case len(line) < 2 || line[0] == 'F' || line[0] == 'R':
			return -1, link
		}
		off += len(line) + 1
	}
	return -1, link
}

// linkMode reports whether the mode in UID:GID:MODE[:XATTRS], which is octal, is
// that of symbolic links.
func linkMode(acl []byte) bool {
	parts := bytes.SplitN(acl, []byte(":"), 4)
	return len(parts) >= 3 && string(bytes.TrimLeft(parts[2], "0")) == "777"
}

// parseSum parses a digest as apk does (src/blob.c, apk_blob_pull_digest): Q for
// base64 or X for hexadecimal digits, and 1 for SHA-1 or 2 for SHA-256.
func parseSum(b []byte) (owner.Checksum, bool) {
	if len(b) < 2 {
		return owner.Checksum{}, false
	}
	sum := owner.Checksum{Hash: crypto.SHA1}
	switch b[1] {
	case '1':
	case '2':
		sum.Hash = crypto.SHA256
	default:
		return owner.Checksum{}, false
	}
	var raw []byte
	var err error
	switch b[0] {
	case 'Q':
		raw, err = base64.StdEncoding.Strict().DecodeString(string(b[2:]))
	case 'X':
		raw, err = hex.DecodeString(string(b[2:]))
	default:
		return owner.Checksum{}, false
	}
	if err != nil || len(raw) != sum.Hash.Size() {
		return owner.Checksum{}, false
	}
	sum.Sum = hex.EncodeToString(raw)
	return sum, true
}
