package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Boot loaders whose configuration is understood.
const (
	LoaderGRUB     = "grub"
	LoaderSystemd  = "systemd-boot"
	LoaderExtlinux = "extlinux"
)

// ErrNoLoader says that a root has no configuration of a boot loader that is
// known here.
var ErrNoLoader = errors.New("no known boot loader is set up")

// ErrUncertain says that which kernel will boot cannot be told from the
// configuration alone.
var ErrUncertain = errors.New("what will boot is not certain")

func uncertain(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUncertain, fmt.Sprintf(format, args...))
}

// Next is the kernel that a boot loader starts if nobody chooses another one.
type Next struct {
	Loader  string
	Config  string // the file that was read, inside the root
	Entry   string // title or name of the entry
	Once    bool   // at the next boot only (grub-reboot(8))
	Path    string // the kernel as the configuration names it
	File    string // that file inside the root
	Release string // its release; empty if its header does not tell
}

// ReadNext finds out which kernel will boot. What stands in the firmware's
// variables is not looked at: systemd-boot's own choice of an entry for once or
// for good (bootctl set-oneshot, set-default), and which boot loader the firmware
// starts. With two configurations that would start different kernels the answer
// is ErrUncertain.
//
// The error is ErrNoLoader, ErrUncertain with the reason, fs.ErrNotExist if the
// kernel that is named does not exist (Next then says which one), or that of a
// file that could not be read.
func ReadNext(root Root) (Next, error) {
	next, err := Next{}, error(ErrNoLoader)
	for _, read := range []func(Root) (Next, error){readGrub, readSystemdBoot, readExtlinux} {
		n, nextErr := read(root)
		next, err = agree(next, err, n, nextErr)
	}
	return next, err
}

// agree is what two configurations lead to of which only one counts, and which
// one cannot be told.
func agree(a Next, aErr error, b Next, bErr error) (Next, error) {
	switch {
	case errors.Is(bErr, ErrNoLoader):
		return a, aErr
	case errors.Is(aErr, ErrNoLoader):
		return b, bErr
	case aErr == nil && bErr == nil && a.File == b.File:
		return a, nil
	}
	err := uncertain("both %s and %s are there", a.Config, b.Config)
	if a.Config == "" { // of more than two
		err = uncertain("%s is there too", b.Config)
	}
	for _, reason := range []error{aErr, bErr} {
		if reason != nil {
			err = fmt.Errorf("%w: %v", err, reason)
		}
	}
	return Next{}, err
}

// resolve finds the file of the kernel that a configuration names, among the
// places that it may mean: a boot loader does not know where its file system will
// be mounted.
func (n *Next) resolve(root Root, candidates []string) error {
	var found Installed
	var foundErr error
	for _, name := range candidates {
		k, err := readInstalled(root, strings.TrimPrefix(name, "/"), "")
		switch {
		case absent(err):
		case found.File == "":
			found, foundErr = k, err
		case k.Info.ID != found.Info.ID:
			return uncertain("%s names %.200q, which may be %.200q or %.200q", n.Config, n.Path, found.File, k.File)
		}
	}
	if found.File == "" {
		return fmt.Errorf("%s: %s names the kernel %.200q: %w", n.Config, n.Loader, n.Path, fs.ErrNotExist)
	}
	n.File, n.Release = found.File, found.Release
	if n.Release == "" {
		n.Release, _ = imageName(path.Base(n.File))
	}
	return foundErr
}

// grubFiles says where a path of GRUB may be in the root. /boot may be a file
// system of its own, or not, and the root a subvolume of one: "/@/boot/vmlinuz".
func grubFiles(p string) []string {
	p = path.Clean("/" + p)
	if i := strings.Index(p, "@/"); i >= 0 {
		// A dataset of ZFS, "/BOOT/debian@/vmlinuz", which is mounted anywhere.
		return []string{path.Join("/boot", p[i+1:]), p[i+1:]}
	}
	if i := strings.Index(p, "/boot/"); i >= 0 {
		return []string{p[i:], path.Join("/boot", p)}
	}
	return []string{path.Join("/boot", p), p}
}
