package owner

import (
	"errors"
	"io/fs"
	"sync"
)

// MaxDefects bounds how many defects of one database are told apart.
const MaxDefects = 128

var errMoreDefects = errors.New("more defects than are told apart")

// Defects collects what was wrong with a database, each defect once. It is safe for
// concurrent use.
type Defects struct {
	// Database is what stands for all of it, relative to the root.
	Database string

	mu   sync.Mutex
	seen map[string]bool
	list []error
}

// Add takes a defect in. Of those beyond MaxDefects it only says that there were more.
func (d *Defects) Add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) > MaxDefects {
		return
	}
	text := err.Error()
	if d.seen[text] {
		return
	}
	if len(d.list) == MaxDefects {
		err = &Error{File: "/" + d.Database, Offset: -1, Err: errMoreDefects}
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[text] = true
	d.list = append(d.list, err)
}

// All are the defects so far, as they were met.
func (d *Defects) All() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]error(nil), d.list...)
}

// Defect makes an *Error of a file named relative to the root. The
// outside name that an I/O error carries is dropped: it would repeat it.
func Defect(name string, offset int64, err error) *Error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &Error{File: "/" + name, Offset: offset, Err: err}
}
