package proc

import (
	"errors"
	"os"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
)

// linkOf is the magic link that leads to a mapped file: the executable has one
// of its own (proc_pid_exe(5)), whether it is mapped or not.
func linkOf(m snapshot.Mapping) string {
	if m.Exe {
		return "exe"
	}
	return mapFile(m.Start, m.End)
}

// NameOf is the kernel's name of a mapped file: relative to the root of the
// reader, or of the mount namespace where the reader's root does not reach, with
// " (deleted)" appended when that name is gone.
func (p *Process) NameOf(m snapshot.Mapping) (string, error) { return p.Readlink(linkOf(m)) }

// StatOf describes a mapped file, deleted or not, as stat(2) shows it. For all but
// the executable it needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
func (p *Process) StatOf(m snapshot.Mapping) (file.Info, error) {
	info, err := file.StatAt(p.fd, linkOf(m))
	if err != nil {
		return info, p.error("stat", linkOf(m), errors.Unwrap(err))
	}
	return info, nil
}

// OpenOf opens a mapped file for reading, deleted or not.
func (p *Process) OpenOf(m snapshot.Mapping) (*os.File, error) { return p.open(linkOf(m)) }
