package microcode

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/patchsensor/patchsensor/internal/host/packed"
)

// Limits of directories.
const (
	maxNames  = 4096 // entries of a directory that are looked at
	maxImages = 256
)

// Installed returns the newest update for cpu in the files that the kernel of a release
// (uname -r) would ask for. It does not load them at boot by itself: initial ramdisks
// are made of them. The error joins an *Error for each file that is damaged, or is
// ErrNoUpdate or ErrPlatform. The path that firmware_class.path may name is not looked
// at.
func Installed(root Root, release string, cpu CPU) (Update, error) {
	var c choice
	var errs []error
	platform := false
	for _, name := range firmwareNames(cpu) {
		file, err := findFirmware(root, release, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var u Update
		if err == nil {
			u, err = readFirmware(root, file, cpu)
		}
		if u != (Update{}) {
			u.File = absolute(file)
			c.add(u)
		}
		switch {
		case errors.Is(err, ErrPlatform):
			platform = true
		case err != nil && !errors.Is(err, ErrNoUpdate):
			errs = append(errs, err)
		}
	}
	if platform && len(errs) == 0 {
		return c.result(ErrPlatform)
	}
	return c.result(errors.Join(errs...))
}

// firmwareNames are the files for a processor. Debian keeps what must not be loaded late
// under a name that the kernel does not ask for, and puts it into initial ramdisks.
func firmwareNames(cpu CPU) []string {
	switch cpu.Vendor {
	case Intel:
		name := fmt.Sprintf("intel-ucode/%02x-%02x-%02x", cpu.Family, cpu.Model, cpu.Stepping)
		return []string{name, name + ".initramfs"}
	case AMD:
		if cpu.Family < 0x15 {
			return []string{"amd-ucode/microcode_amd.bin"}
		}
		return []string{fmt.Sprintf("amd-ucode/microcode_amd_fam%02xh.bin", cpu.Family)}
	}
	return nil
}

// findFirmware returns the file that the kernel would take for a name (fw_path and
// _request_firmware of drivers/base/firmware_loader/main.c): plain in each directory,
// then compressed.
func findFirmware(root Root, release, name string) (string, error) {
	dirs := []string{"updates/" + release, "updates", release, ""}
	if release == "" || strings.ContainsAny(release, "/\x00") || release[0] == '.' {
		dirs = []string{"updates", ""}
	}
	for _, suffix := range [...]string{"", ".zst", ".xz"} {
		for _, base := range [...]string{"lib/firmware", "usr/lib/firmware"} {
			for _, dir := range dirs {
				file := path.Join(base, dir, name) + suffix
				_, err := root.Stat(file)
				if err == nil {
					return file, nil
				}
				if !errors.Is(err, fs.ErrNotExist) {
					return "", defect(file, err)
				}
			}
		}
	}
	return "", fs.ErrNotExist
}

func readFirmware(root Root, name string, cpu CPU) (Update, error) {
	f, err := root.Open(name)
	if err != nil {
		return Update{}, defect(name, err)
	}
	defer f.Close()
	var head [packed.HeadSize]byte
	n, _ := f.ReadAt(head[:], 0)
	c, err := packed.Read(f, packed.KindOf(head[:n]), maxContent)
	if err != nil {
		return Update{}, defect(name, err)
	}
	b := make([]byte, c.Size())
	if err := readFull(c, b, 0); err != nil {
		return Update{}, defect(name, err)
	}
	u, err := newest(b, cpu)
	if _, ok := errors.AsType[*Error](err); ok {
		err = defect(name, err)
	}
	return u, err
}

// Images names the initial ramdisks of root, sorted and absolute: those directly in the
// boot directories, and those of the Boot Loader Specification (type 1) below
// MACHINE-ID/RELEASE. Which one will be booted is for the boot loader to say. The error
// joins what could not be read.
func Images(root Root) ([]string, error) {
	var images []string
	var errs []error
	readDir := func(dir string) []string {
		names, err := root.ReadDir(dir, maxNames+1)
		if len(names) > maxNames {
			names, err = names[:maxNames], fmt.Errorf("more than %d entries", maxNames)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, defect(dir, err))
		}
		return names
	}
	list := func(dir string) []string {
		names := readDir(dir)
		slices.Sort(names)
		for _, name := range names {
			if full := path.Join(dir, name); isImage(name) && len(images) < maxImages {
				if info, err := root.Stat(full); err == nil && info.Regular() {
					if images = append(images, absolute(full)); len(images) == maxImages {
						errs = append(errs, defect(full, fmt.Errorf("initial ramdisks behind the first %d are not looked at", maxImages)))
					}
				}
			}
		}
		return names
	}
	for _, top := range [...]string{"boot", "boot/efi", "efi"} {
		for _, id := range list(top) {
			if !isMachineID(id) {
				continue
			}
			releases := readDir(path.Join(top, id))
			for _, release := range releases[:min(len(releases), 64)] {
				if info, err := root.Stat(path.Join(top, id, release)); err == nil && info.Mode&0o170000 == 0o040000 {
					list(path.Join(top, id, release))
				}
			}
		}
	}
	slices.Sort(images)
	return slices.Compact(images), errors.Join(errs...)
}

// isImage says whether a file is named as distributions name initial ramdisks:
// initrd.img-RELEASE, initramfs-RELEASE.img, initrd-RELEASE, or the microcode alone as
// intel-ucode.img and amd-ucode.img.
func isImage(name string) bool {
	return strings.HasPrefix(name, "initrd") || strings.HasPrefix(name, "initramfs") || strings.HasSuffix(name, "-ucode.img") ||
		slices.Contains([]string{"intel-uc.img", "amd-uc.img", "early_ucode.cpio", "microcode.cpio"}, name) // grub-mkconfig(8)
}

func isMachineID(name string) bool {
	return len(name) == 32 && strings.Trim(name, "0123456789abcdef") == ""
}

func absolute(name string) string { return path.Clean("/" + name) }
