// Package rpm reads the database of the RPM package manager in any root: which
// package owns a file, what content it recorded, what was installed when, and
// what a new version changed.
//
// The files it reads and what describes them:
//
//	rpmdb.sqlite   SQLite, table Packages (rpm's lib/backend/sqlite.c)
//	Packages.db    rpm's own format "ndb" (rpm's lib/backend/ndb/rpmpkg.c)
//	Packages       Berkeley DB hash (Berkeley DB's src/dbinc/db_page.h)
//	.rpm.lock      held while a transaction runs (rpm's lib/rpmlock.c)
//
// in /usr/lib/sysimage/rpm, /var/lib/rpm or /usr/share/rpm, each holding the headers
// of the packages (rpm's docs/manual/format_header.md), and
//
//	var/lib/dnf/history.sqlite                              dnf 4 (libdnf's libdnf/transaction)
//	usr/lib/sysimage/libdnf5/transaction_history.sqlite     dnf 5 (libdnf5/transaction/db)
//	var/lib/yum/history/*.sqlite                            yum 3 (yum's yum/history.py)
//	var/log/zypp/history                                    zypper (libzypp's zypp/HistoryLog.cc)
//
// Every reader of a format takes its input for hostile. None of the libraries for
// these formats does: they follow chains of pages in circles, allocate what a file
// says, and panic in goroutines of their own. SQLite files are read by SQLite, but
// only as pages that this package hands to it.
package rpm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/merged"
)

const (
	// maxHeader bounds the header of one package, in bytes. Those of packages with
	// 50,000 files have some 10 MB.
	maxHeader = 32 << 20
	// maxRead bounds what is read of a database in one pass, in bytes.
	maxRead = 1 << 30
	// maxPackages bounds the packages of one root; Fedora has some 70,000.
	maxPackages = 1 << 17
)

var (
	// errTooMany says that a root has more of something than is looked at.
	errTooMany = errors.New("too many entries: the rest is ignored")
	errTooMuch = errors.New("database is larger than allowed: the rest is ignored")
	errEmpty   = errors.New("there is no package in it")
	errChanged = errors.New("database changed while it was read")
	errRunning = errors.New("rpm changes the database at this moment")
	errGone    = errors.New("package is not what it was when the database was opened")
	errUnknown = errors.New("package is not in this database")
	errSize    = errors.New("header of a package is larger than allowed")
)

// Root is the root directory that a database lies in: a *file.Root, or an image's layers
// put together. Names are relative to it and cannot lead outside; errors are those of
// package fs and of the system calls.
type Root interface {
	Open(name string) (*os.File, error)
	Stat(name string) (file.Info, error)
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string, limit int) ([]string, error)
	Readlink(name string) (string, error)
}

// format is one kind of file that holds the headers of packages.
type format struct {
	base string
	open func(root Root, name string) (store, error)
	// row is set where headers are not found by the offset in the file but by the
	// number of a row.
	row bool
}

// store is an open file of headers.
type store interface {
	// each calls visit with the header of each package and where it lies, or with
	// an *owner.Error for one that cannot be read, until visit returns false. A
	// header is valid until visit returns. The error is an *owner.Error that
	// hides everything that was not visited before.
	each(visit func(at uint64, header []byte, err error) bool) error
	// read returns the header that lies there.
	read(at uint64) ([]byte, error)
	Close() error
}

// directories are where the database may lie, the newer convention first; the others
// are often links to it. rpm-ostree has it in /usr/share/rpm.
var directories = [...]string{"usr/lib/sysimage/rpm/", "var/lib/rpm/", "usr/share/rpm/"}

// formats are the files to look for, in the order in which rpm replaced one by the
// other.
func formats() []format {
	return []format{
		{base: "rpmdb.sqlite", open: openSQLite, row: true},
		{base: "Packages.db", open: openNDB},
		{base: "Packages", open: openBDB},
	}
}

// record is one installed package.
type record struct {
	owner.Package
	at        uint64 // where the store has its header
	installed time.Time
	number    int // in the order of the store, for want of a better one
}

// Database is the rpm database of one root as it stood when it was opened. Of its
// packages it holds what Packages returns and the names of their files; checksums,
// changelogs and the history are read when asked for. It is safe for concurrent use.
type Database struct {
	root     Root
	name     string // of the file, relative to the root
	format   format
	packages []record // by name, architecture and time of installation
	files    fileIndex
	merged   []merged.Alias
	defects  owner.Defects
	seen     file.Info // of the file, before it was read

	historyOnce sync.Once
	changes     []owner.Change
	historyErr  error
}

// Open reads the database of root, which must stay open for as long as the Database is
// used. The error is owner.ErrNoDatabase if the root has none, and an *owner.Error if
// what it has cannot be read at all; lesser damage is told by Problems.
func Open(root Root) (*Database, error) {
	for _, dir := range directories {
		for _, f := range formats() {
			name := dir + f.base
			_, err := root.Stat(name)
			if absent(err) {
				continue
			}
			if err != nil {
				return nil, owner.Defect(name, -1, err)
			}
			d := &Database{root: root, name: name, format: f, defects: owner.Defects{Database: name}}
			if err := d.load(dir); err != nil {
				return nil, err
			}
			return d, nil
		}
	}
	return nil, owner.ErrNoDatabase
}

// absent reports whether err says that a name leads to nothing.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// load reads the database, and once more if that failed while a transaction ran: what is
// read of a file that is written to may be of two times.
func (d *Database) load(dir string) error {
	var err error
	for range 3 {
		if err = d.loadOnce(dir); err == nil {
			return nil
		}
		now, statErr := d.root.Stat(d.name)
		running := transaction(d.root, dir+lockFile, d.name)
		if !running && statErr == nil && now.Size == d.seen.Size && now.Mtime.Equal(d.seen.Mtime) && now.ID == d.seen.ID {
			return err // as it is, it cannot be read
		}
		d.packages, d.files, d.defects = nil, fileIndex{}, owner.Defects{Database: d.name}
		time.Sleep(10 * time.Millisecond)
	}
	// Whatever it looks like, it is being written to.
	return owner.Defect(d.name, -1, errChanged)
}

func (d *Database) loadOnce(dir string) error {
	// rpm holds the lock from before it writes until after, so a transaction that
	// is not seen at either end has not run for the time between, or has left
	// another file behind.
	lock := dir + lockFile
	running := transaction(d.root, lock, d.name)
	before, err := d.root.Stat(d.name)
	if err != nil {
		return owner.Defect(d.name, -1, err)
	}
	d.seen = before
	s, err := d.format.open(d.root, d.name)
	if err != nil {
		return err
	}
	defer s.Close()
	b := newIndexBuilder()
	if err := d.readAll(s, b); err != nil {
		if len(d.packages) == 0 {
			return err
		}
		d.defects.Add(err)
	}
	d.settle(b)
	d.merged = merged.Directories(d.root, mergeable())
	after, err := d.root.Stat(d.name)
	if err != nil || before.ID != after.ID || before.Size != after.Size || !before.Mtime.Equal(after.Mtime) {
		d.defects.Add(owner.Defect(d.name, -1, errChanged))
	}
	if running || transaction(d.root, lock, d.name) {
		d.defects.Add(owner.Defect(lock, -1, errRunning))
	}
	return nil
}

// readAll takes in every header of the store. Of what is wrong with them only the first
// of each kind is told: a file that was cut off hides many.
func (d *Database) readAll(s store, b *indexBuilder) error {
	var last error
	told := make(map[error]bool)
	err := s.each(func(at uint64, blob []byte, err error) bool {
		if err == nil {
			err = d.take(at, blob, b)
		}
		if err != nil {
			last = err
			if kind := kindOf(err); !told[kind] {
				told[kind] = true
				d.defects.Add(err)
			}
		}
		if len(d.packages) == maxPackages {
			d.defects.Add(owner.Defect(d.name, -1, errTooMany))
		}
		return len(d.packages) < maxPackages
	})
	if err == nil && len(d.packages) == 0 {
		if last == nil {
			d.defects.Add(owner.Defect(d.name, -1, errEmpty))
		}
		return last // there were packages, and not one could be read
	}
	return err
}

// kindOf returns the error that is at the bottom of err.
func kindOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// take adds one package. The error is an *owner.Error; the package may be there all
// the same, without its files.
func (d *Database) take(at uint64, blob []byte, b *indexBuilder) error {
	h, err := parseHeader(blob)
	if err != nil {
		return d.defect(at, err)
	}
	p, err := h.describe()
	if err != nil {
		return d.defect(at, err)
	}
	if p.Name == "gpg-pubkey" {
		return nil // a key: rpm keeps them like packages
	}
	n := len(d.packages)
	p.at, p.number = at, n
	d.packages = append(d.packages, p)
	if err := b.add(uint32(n), h); err != nil {
		return d.defect(at, err)
	}
	return nil
}

// settle sorts the packages and finishes the index of their files.
func (d *Database) settle(b *indexBuilder) {
	order := make([]uint32, len(d.packages)) // new place of each
	slices.SortFunc(d.packages, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), a.installed.Compare(b.installed),
			cmp.Compare(a.number, b.number))
	})
	for i := range d.packages {
		order[d.packages[i].number] = uint32(i)
	}
	d.files = b.finish(order, func(a, b uint32) bool { return d.packages[a].later(&d.packages[b]) })
}

// later reports whether r was installed after s: then the files that both have are
// r's. Of two of one transaction it is the one that the database has last.
func (r *record) later(s *record) bool {
	return cmp.Or(r.installed.Compare(s.installed), cmp.Compare(r.number, s.number)) > 0
}

// Packages returns the installed packages in the order of name, architecture and time
// of installation: some, such as kernels, are there in several versions. The keys that
// rpm keeps as packages are not among them.
func (d *Database) Packages() []owner.Package {
	out := make([]owner.Package, len(d.packages))
	for i := range d.packages {
		out[i] = d.packages[i].Package
	}
	return out
}

// Problems returns the defects that were met so far, each an *owner.Error and each
// once. Everything beside them was read. One of them may be that the database was
// being changed.
func (d *Database) Problems() []error { return d.defects.All() }

// find returns the record of a package that Packages returned.
func (d *Database) find(p owner.Package) (*record, bool) {
	i, _ := slices.BinarySearchFunc(d.packages, p, func(r record, p owner.Package) int {
		return cmp.Or(cmp.Compare(r.Name, p.Name), cmp.Compare(r.Arch, p.Arch))
	})
	var found *record
	for ; i < len(d.packages) && d.packages[i].Name == p.Name && d.packages[i].Arch == p.Arch; i++ {
		if d.packages[i].Version == p.Version {
			found = &d.packages[i]
		}
	}
	return found, found != nil
}

// reread calls use with the header of a package as it is in the database by now, if it
// still is that of the same installation. The error is an *owner.Error.
func (d *Database) reread(r *record, use func(header) error) error {
	s, err := d.format.open(d.root, d.name)
	if err != nil {
		return err
	}
	defer s.Close()
	blob, err := s.read(r.at)
	if err != nil {
		return err
	}
	h, err := parseHeader(blob)
	if err != nil {
		return d.defect(r.at, err)
	}
	now, err := h.describe()
	if err == nil && (now.Package != r.Package || !now.installed.Equal(r.installed)) {
		err = errGone
	}
	if err == nil {
		err = use(h)
	}
	if err != nil {
		return d.defect(r.at, err)
	}
	return nil
}

// defect makes an *owner.Error of a header.
func (d *Database) defect(at uint64, err error) *owner.Error {
	if d.format.row {
		return owner.Defect(d.name, -1, fmt.Errorf("row %d: %w", at, err))
	}
	return owner.Defect(d.name, int64(at), err)
}
