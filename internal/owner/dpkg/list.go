package dpkg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxList bounds one file list or md5sums file, in bytes. The largest of
	// Debian have some 4 MB.
	maxList = 32 << 20
	// maxLists bounds what one pass over the lists reads in all.
	maxLists = 512 << 20
)

var (
	errNoList    = errors.New("package has no file list: its files are not known")
	errListsSize = errors.New("file lists are larger than allowed in all: this one and those after it are ignored")
	errNoLists   = errors.New("not one file list could be read")
)

// tails is a set of the last two bytes of strings: a test that rejects nearly
// every line of a list before it is looked up in a map.
type tails [1 << 16 / 64]uint64

func (t *tails) set(a, b byte) {
	n := uint(a)<<8 | uint(b)
	t[n/64] |= 1 << (n % 64)
}

// add puts a path relative to the root, or the end of one, into the set. The
// byte before it is a slash, or the blank of an md5sums line.
func (t *tails) add(s string) {
	switch n := len(s); n {
	case 0:
	case 1:
		t.set('/', s[0])
		t.set(' ', s[0])
	default:
		t.set(s[n-2], s[n-1])
	}
}

func (t *tails) has(line []byte) bool {
	if len(line) < 2 {
		return false
	}
	n := uint(line[len(line)-2])<<8 | uint(line[len(line)-1])
	return t[n/64]&(1<<(n%64)) != 0
}

// list is the file list of one package: the lines of info/*.list, or of
// status.d/*.md5sums.
type list struct {
	content []byte
	sums    bool // lines begin with a checksum
}

// scan calls hit with each path of the list that may be in wanted, or with all if that is
// nil, without its leading slash.
func (l list) scan(wanted *tails, hit func(path []byte)) {
	for buf := l.content; len(buf) > 0; {
		line := buf
		if end := bytes.IndexByte(buf, '\n'); end >= 0 {
			line, buf = buf[:end], buf[end+1:]
		} else {
			buf = nil
		}
		if len(line) == 0 || wanted != nil && !wanted.has(line) {
			continue
		}
		switch {
		case l.sums && len(line) > sumLen:
			hit(sumPath(line))
		case !l.sums && line[0] == '/':
			hit(line[1:])
		}
	}
}

// eachList reads the file list of every package, or of some unless that is nil, into
// one buffer and calls visit, for which the content is valid until it returns. Lists that cannot be
// read are reported as defects; the error says that not one could be.
func (d *Database) eachList(some map[*record]bool, visit func(r *record, l list)) error {
	var (
		buf  = make([]byte, 0, 256<<10)
		all  int64
		read int
		last error
	)
	for i := range d.packages {
		r := &d.packages[i]
		if some != nil && !some[r] {
			continue
		}
		name, content, err := d.readList(r, buf)
		if err == nil {
			if all += int64(len(content)); all > maxLists {
				err = errListsSize
			}
		}
		if err == errNoList && r.State == "half-installed" {
			read++ // a first installation that died early has none
			continue
		}
		if err != nil {
			last = owner.Defect(name, -1, err)
			d.defects.Add(last)
			if err == errListsSize {
				return nil
			}
			continue
		}
		buf = content[:0]
		read++
		if n := len(content); n > 0 && content[n-1] != '\n' && r.control == "" {
			d.defects.Add(owner.Defect(name, int64(n), errNoNewline))
		}
		visit(r, list{content, r.control != ""})
	}
	if read == 0 && last != nil {
		return fmt.Errorf("%w: %w", errNoLists, last)
	}
	return nil
}

// readList returns the file list of a package and the name it was found under.
func (d *Database) readList(r *record, buf []byte) (name string, content []byte, err error) {
	if r.control != "" {
		name = r.control + ".md5sums"
		content, err = d.readInto(name, buf)
	} else {
		name, content, err = d.readInfo(r, ".list", buf)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errNoList
	}
	return name, content, err
}

// readInfo reads the package's file with the given extension in info.
func (d *Database) readInfo(r *record, ext string, buf []byte) (name string, content []byte, err error) {
	stems := r.stems()
	for _, stem := range stems {
		name = stem + ext
		content, err = d.readInto(name, buf)
		if !errors.Is(err, fs.ErrNotExist) {
			return name, content, err
		}
	}
	return stems[0] + ext, nil, err
}

// readInto reads a file into buf, which grows as needed.
func (d *Database) readInto(name string, buf []byte) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, cap(buf)+4096)
		}
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > maxList {
			return nil, file.ErrTooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
