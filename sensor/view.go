package sensor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/proc"
)

// view is the file system as a group of processes sees it: one root directory in
// one mount namespace.
type view struct {
	key  viewKey
	root *file.Root // nil until opened
	// link is the root as the kernel names it: "/" unless the processes were
	// moved by chroot(2).
	link  string
	err   error // why the last try to open it failed
	tries int

	db       *packages
	dbOpened bool
}

type viewKey struct {
	root uint64
	ns   uint32
}

// maxTries bounds how many processes are tried to reach what they share; a few
// may refuse or end.
const maxTries = 8

// open opens the view's root through one of its processes. Failing is not final:
// another process may do.
func (v *view) open(p *proc.Process) {
	if v.root != nil || v.tries >= maxTries {
		return
	}
	v.tries++
	root, err := p.Root()
	if err != nil {
		v.err = err
		return
	}
	link, err := p.Readlink("root")
	if err != nil {
		root.Close()
		v.err = err
		return
	}
	v.root, v.link, v.err = root, link, nil
}

func (v *view) close() {
	if v.root != nil {
		v.root.Close()
	}
}

var errNoRoot = errors.New("no process of its mount namespace shows its root directory")

// locate turns the kernel's name for a mapped file into the view in which that
// name can be looked up and the name inside it. The kernel names files from the
// root of the mount namespace (or the reader's root, which is above), so that a
// chroot's prefix comes off; what was loaded from outside of the chroot, before
// the process moved there, is looked up from the namespace's root.
func (sc *scan) locate(v *view, shown string) (*view, string, error) {
	if v.root == nil {
		if v.err != nil {
			return nil, "", v.err
		}
		return nil, "", errNoRoot
	}
	if v.link == "/" {
		return v, shown, nil
	}
	if rest, ok := strings.CutPrefix(shown, v.link); ok && strings.HasPrefix(rest, "/") {
		return v, rest, nil
	}
	for _, o := range sc.views {
		if o.key.ns == v.key.ns && o.link == "/" && o.root != nil {
			return o, shown, nil
		}
	}
	return nil, "", fmt.Errorf("loaded from outside of %s: %w", v.link, errNoRoot)
}
