package sentinel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Outcome is what Maintain did.
type Outcome string

// The outcomes of Maintain.
const (
	Nothing Outcome = "nothing" // no reboot is needed and no file asks for one
	Written Outcome = "written"
	Kept    Outcome = "kept" // it says already what it should
	Removed Outcome = "removed"
	// Foreign: another asks for a reboot by that file, which is left alone.
	Foreign Outcome = "foreign"
)

// required is the file that is maintained.
const required = "reboot-required"

// Maintain makes the directory dir, /run of a machine, say that a reboot is needed,
// by the files reboot-required and reboot-required.pkgs; or no longer say so, if
// need is nil.
//
// It touches no file that it did not write, or that another has touched since: then
// another asks for a reboot too. A list of packages that is another's means the same.
// Files appear whole or not at all. Neither dir nor the files may be symbolic links.
func Maintain(dir string, need *Need) (Outcome, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	d := directory{fd, dir}

	now, err := d.look(required)
	if err != nil {
		return "", err
	}
	list, err := d.look(required + packagesSuffix)
	if err != nil {
		return "", err
	}
	stamp, own := stampOf(now.content)
	own = own && now.isFrom(stamp)
	switch {
	case !now.exists && need == nil:
		return Nothing, nil
	case !now.exists:
		return d.write(*need, list)
	case !own || list.exists && !list.isFrom(stamp):
		return Foreign, nil
	case need == nil:
		// The list goes first: left alone it would seem to be another's.
		return d.both(Removed,
			func() (bool, error) { return d.remove(required+packagesSuffix, list) },
			func() (bool, error) { return d.remove(required, now) })
	}
	// How long it has been so is not forgotten when a reason comes or goes.
	content, names := need.content(stamp), need.list()
	if now.content == content && list.content == names {
		return Kept, nil
	}
	return d.both(Written,
		func() (bool, error) { return d.replace(required, now, content, stamp) },
		func() (bool, error) { return d.replace(required+packagesSuffix, list, names, stamp) })
}

// write makes both files where the first one is missing. A list that is there is
// another's.
func (d directory) write(need Need, list entry) (Outcome, error) {
	stamp := need.Since.Truncate(time.Second)
	if need.Since.IsZero() {
		var err error
		if stamp, err = d.now(); err != nil {
			return "", err
		}
	}
	names := need.list()
	if list.exists {
		names = list.content
	}
	return d.both(Written,
		func() (bool, error) { return d.replace(required, entry{}, need.content(stamp), stamp) },
		func() (bool, error) { return d.replace(required+packagesSuffix, list, names, stamp) })
}

// both does two steps. A step says whether the file was still as it had been seen.
func (d directory) both(done Outcome, steps ...func() (bool, error)) (Outcome, error) {
	for _, step := range steps {
		ok, err := step()
		if err != nil {
			return "", err
		}
		if !ok {
			return Foreign, nil
		}
	}
	return done, nil
}

// directory is where the files are.
type directory struct {
	fd   int
	name string
}

// entry is a file of it, as it was seen.
type entry struct {
	exists   bool
	regular  bool
	modified time.Time
	content  string // empty if it is too long to be Maintain's
}

// isFrom reports whether the file has the time of modification that Maintain gave it.
func (e entry) isFrom(stamp time.Time) bool { return e.regular && e.modified.Equal(stamp) }

func (d directory) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: path.Join(d.name, name), Err: err}
}

// look reads a file. What is no regular file is never opened for reading.
func (d directory) look(name string) (entry, error) {
	pfd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, d.fail("open", name, err)
	}
	defer unix.Close(pfd)
	info, err := file.StatFD(pfd)
	if err != nil {
		return entry{}, d.fail("stat", name, err)
	}
	e := entry{exists: true, regular: info.Regular(), modified: info.Mtime}
	if !e.regular {
		return e, nil
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", pfd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return entry{}, d.fail("open", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err != nil {
		return entry{}, d.fail("read", name, err)
	}
	if len(b) <= maxList {
		e.content = string(b)
	}
	return e, nil
}

// aside is the name under which a file is made, and looked at before it goes. None
// but Maintain uses it.
func aside(name string) string { return "." + name + ".patchsensor" }

// now is the time of the file system.
func (d directory) now() (time.Time, error) {
	if err := d.create(required, ""); err != nil {
		return time.Time{}, err
	}
	e, err := d.look(aside(required))
	return e.modified.Truncate(time.Second), err
}

// create makes the file that is to become name, under the name beside it.
func (d directory) create(name, content string) error {
	tmp := aside(name)
	if err := d.unlink(tmp); err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return d.fail("create", tmp, err)
	}
	f := os.NewFile(uintptr(fd), path.Join(d.name, tmp))
	_, err = f.WriteString(content)
	// Everyone may read it, whatever the caller's umask.
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return errors.Join(err, d.unlink(tmp))
	}
	return nil
}

// replace puts a file with the content in the place of one that was seen, or of
// none; an empty content only removes that one.
func (d directory) replace(name string, seen entry, content string, stamp time.Time) (bool, error) {
	switch {
	case seen.content == content:
		return true, nil
	case content == "":
		return d.remove(name, seen)
	}
	tmp := aside(name)
	if err := d.create(name, content); err != nil {
		return false, err
	}
	at := unix.NsecToTimespec(stamp.UnixNano())
	if err := unix.UtimesNanoAt(d.fd, tmp, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, errors.Join(d.fail("utimensat", tmp, err), d.unlink(tmp))
	}
	flag := uint(unix.RENAME_NOREPLACE)
	if seen.exists {
		flag = unix.RENAME_EXCHANGE
	}
	switch err := unix.Renameat2(d.fd, tmp, d.fd, name, flag); {
	case err == unix.EEXIST || seen.exists && err == unix.ENOENT:
		return false, d.unlink(tmp)
	case err != nil:
		return false, errors.Join(d.fail("rename", name, err), d.unlink(tmp))
	}
	if !seen.exists {
		return true, nil
	}
	// Between look and here another may have touched it.
	same, err := d.same(tmp, seen)
	if err == nil && !same {
		err = unix.Renameat2(d.fd, tmp, d.fd, name, unix.RENAME_EXCHANGE)
	}
	return same, errors.Join(err, d.unlink(tmp))
}

// remove takes a file away that was seen.
func (d directory) remove(name string, seen entry) (bool, error) {
	if !seen.exists {
		return true, nil
	}
	tmp := aside(name)
	if err := d.unlink(tmp); err != nil {
		return false, err
	}
	switch err := unix.Renameat2(d.fd, name, d.fd, tmp, unix.RENAME_NOREPLACE); {
	case err == unix.ENOENT:
		return true, nil
	case err != nil:
		return false, d.fail("rename", name, err)
	}
	same, err := d.same(tmp, seen)
	if err == nil && !same {
		// If there is a new one already, that asks for the reboot.
		if err = unix.Renameat2(d.fd, tmp, d.fd, name, unix.RENAME_NOREPLACE); err == unix.EEXIST {
			err = nil
		}
	}
	return same, errors.Join(err, d.unlink(tmp))
}

func (d directory) same(name string, seen entry) (bool, error) {
	now, err := d.look(name)
	return now == seen, err
}

func (d directory) unlink(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil && err != unix.ENOENT {
		return d.fail("remove", name, err)
	}
	return nil
}
