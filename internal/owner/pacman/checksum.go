package pacman

import (
	"compress/gzip"
	"crypto"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

// maxMtree bounds an mtree file, in uncompressed bytes; that of a package of 100,000
// files has some 20 MB.
const maxMtree = 64 << 20

var (
	errUnknown = errors.New("package is not in this database")
	errMtree   = errors.New("line is not an entry of an mtree")
)

// Checksum returns the SHA-256 of the file that the owning package recorded, or
// the MD5 if it recorded no other; false if it recorded none: links have none, and
// packages made before pacman 4.1 no mtree.
// RecordedAt is the ctime of the mtree, which pacman writes anew whenever it
// installs the package. The error is an *owner.Error.
func (d *Database) Checksum(o owner.Owned) (owner.Checksum, bool, error) {
	r, ok := d.find(o.Package)
	if !ok {
		return owner.Checksum{}, false, owner.Defect(local, -1, errUnknown)
	}
	name := r.dir + "mtree"
	m, err := d.openMtree(r)
	if errors.Is(err, fs.ErrNotExist) {
		return owner.Checksum{}, false, nil
	}
	if err != nil {
		err := owner.Defect(name, -1, err)
		d.defects.Add(err)
		return owner.Checksum{}, false, err
	}
	defer m.Close()
	want := strings.TrimPrefix(o.Path, "/")
	for {
		e, err := m.next()
		if err == io.EOF {
			return owner.Checksum{}, false, nil
		}
		if err == errMtree {
			d.defects.Add(owner.Defect(name, m.in.Start, err))
			continue
		}
		if err != nil {
			err := owner.Defect(name, m.in.Next, err)
			d.defects.Add(err)
			return owner.Checksum{}, false, err
		}
		if e.path != want {
			continue
		}
		sum, ok := e.checksum()
		if !ok {
			return owner.Checksum{}, false, nil
		}
		info, err := d.root.Stat(name)
		if err != nil {
			return owner.Checksum{}, false, owner.Defect(name, -1, err)
		}
		sum.RecordedAt = info.Ctime
		return sum, true, nil
	}
}

// mtree reads the entries of an mtree file as bsdtar(1) writes it for makepkg(8):
//
//	#mtree
//	/set type=file uid=0 gid=0 mode=644
//	./usr/bin/a time=1700000000.0 size=5 md5digest=HEX sha256digest=HEX
//	./usr/bin/link time=1700000000.0 mode=777 type=link link=a
type mtree struct {
	f    *os.File
	z    *gzip.Reader
	in   *lines.Reader
	kind string // of entries that say none
}

// mtreeEntry is one line of an mtree.
type mtreeEntry struct {
	path        string // relative to the root
	kind        string // "file", "dir", "link" and others
	md5, sha256 string
}

func (d *Database) openMtree(r *record) (*mtree, error) {
	f, err := d.root.Open(r.dir + "mtree")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err == io.EOF { // nothing at all
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &mtree{f: f, z: z, in: lines.New(z, maxMtree), kind: "file"}, nil
}

func (m *mtree) Close() error { return errors.Join(m.z.Close(), m.f.Close()) }

// next returns the next entry. After errMtree reading goes on with the next line;
// every other error is final, io.EOF at the end.
func (m *mtree) next() (mtreeEntry, error) {
	for {
		line, err := m.in.Read()
		if err == lines.ErrLong {
			return mtreeEntry{}, errMtree
		}
		if err != nil {
			return mtreeEntry{}, err
		}
		if !m.in.Terminated {
			return mtreeEntry{}, io.ErrUnexpectedEOF
		}
		words := strings.Fields(string(line))
		switch {
		case len(words) == 0 || words[0][0] == '#' || words[0] == "/unset":
		case words[0] == "/set":
			for _, w := range words[1:] {
				if kind, ok := strings.CutPrefix(w, "type="); ok {
					m.kind = kind
				}
			}
		default:
			e, ok := parseEntry(words, m.kind)
			if !ok {
				return mtreeEntry{}, errMtree
			}
			return e, nil
		}
	}
}

func parseEntry(words []string, kind string) (mtreeEntry, bool) {
	path, ok := unescape(words[0])
	e := mtreeEntry{path: strings.TrimPrefix(path, "./"), kind: kind}
	if !ok || e.path != "." && !cleanRelative([]byte(e.path)) {
		return e, false
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "type":
			e.kind = value
		case "md5digest", "md5":
			e.md5 = value
		case "sha256digest", "sha256":
			e.sha256 = value
		}
	}
	return e, true
}

// unescape undoes the encoding of paths, \ and three octal digits for a byte, and
// those of vis(3) that libarchive reads (archive_read_support_format_mtree.c).
func unescape(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", false
		}
		if at := strings.IndexByte(`abfnrstv\`, s[i]); at >= 0 {
			b.WriteByte("\a\b\f\n\r \t\v\\"[at])
			continue
		}
		if i+3 > len(s) || s[i] < '0' || s[i] > '3' || s[i+1] < '0' || s[i+1] > '7' || s[i+2] < '0' || s[i+2] > '7' {
			return "", false
		}
		b.WriteByte((s[i]-'0')<<6 | (s[i+1]-'0')<<3 | (s[i+2] - '0'))
		i += 2
	}
	return b.String(), true
}

func (e mtreeEntry) checksum() (owner.Checksum, bool) {
	if e.kind != "file" {
		return owner.Checksum{}, false
	}
	for _, c := range [...]owner.Checksum{{Hash: crypto.SHA256, Sum: e.sha256}, {Hash: crypto.MD5, Sum: e.md5}} {
		if raw, err := hex.DecodeString(c.Sum); err == nil && len(raw) == c.Hash.Size() {
			c.Sum = strings.ToLower(c.Sum)
			return c, true
		}
	}
	return owner.Checksum{}, false
}
