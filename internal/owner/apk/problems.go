package apk

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// maxDefects bounds how many defects of one root are told apart.
const maxDefects = 128

var errMoreDefects = errors.New("more defects than are told apart")

// defects collects what was wrong with a database, each defect once.
type defects struct {
	mu   sync.Mutex
	seen map[string]bool
	list []error
}

func (d *defects) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) > maxDefects {
		return
	}
	text := err.Error()
	if d.seen[text] {
		return
	}
	if len(d.list) == maxDefects {
		err = &owner.Error{File: "/" + places[0], Offset: -1, Err: errMoreDefects}
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[text] = true
	d.list = append(d.list, err)
}

func (d *defects) all() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]error(nil), d.list...)
}

// defect makes an *owner.Error of a file named relative to the root. The
// outside name that an I/O error carries is dropped: it would repeat it.
func defect(name string, offset int64, err error) *owner.Error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &owner.Error{File: "/" + name, Offset: offset, Err: err}
}
