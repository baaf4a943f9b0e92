package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
)

// Installed is a kernel image in a root.
type Installed struct {
	File string    // absolute, inside the root
	Link string    // the text of the symbolic link that File is; else empty
	Info file.Info // of what File leads to: images may be linked to one another
	Image
	// Named says that Release is from the name of the file or its directory: bare
	// and packed kernels have no header that tells it.
	Named bool
	Err   error // why the image could not be read; Release may still be known
}

// Places where kernels are, as distributions and kernel-install(8) put them.
var (
	bootDirs   = [...]string{"boot"}
	moduleDirs = [...]string{"usr/lib/modules", "lib/modules"}
	ukiDirs    = [...]string{"boot/efi/EFI/Linux", "boot/EFI/Linux", "efi/EFI/Linux"}
	// Entries of type 1 of the Boot Loader Specification have their files below
	// MACHINE-ID/RELEASE there (kernel-install(8)).
	entryDirs = [...]string{"boot", "boot/efi", "efi"}
	// The Raspberry Pi's firmware partition.
	firmwareDirs = [...]string{"boot/firmware"}
	// NixOS has the kernel of the configuration that will boot here.
	fixedNames = [...]string{"run/current-system/kernel"}
)

// imageNames are what kernel images are called, with or without a release behind.
var imageNames = [...]string{"vmlinuz", "vmlinux", "Image", "kernel8", "kernel7l", "kernel7", "kernel_2712", "kernel"}

// maxKernels bounds the images of a root. Each may bring 64 KiB of os-release(5).
const maxKernels = 512

// List finds the kernel images of a root and reads their headers, sorted by
// place; IdentifyFile reads the build ID of one. A root without any has none:
// containers, and guests that are started with a kernel from outside. The error
// joins directories that could not be read.
func List(root Root) ([]Installed, error) {
	var found []Installed
	var errs []error
	seen := make(map[file.ID]bool)
	add := func(dir, name, named string) {
		if len(found) == maxKernels {
			return
		}
		path := dir + "/" + name
		k, err := readInstalled(root, path, named)
		if absent(err) {
			return
		}
		if found = append(found, k); len(found) == maxKernels {
			errs = append(errs, &Error{File: "/" + path, Offset: -1, Err: fmt.Errorf("kernels behind the first %d are not looked at", maxKernels)})
		}
	}
	names := func(dir string) []string {
		names, err := readDir(root, dir)
		if err != nil {
			errs = append(errs, err)
		}
		return names
	}
	for _, dir := range slices.Concat(bootDirs[:], firmwareDirs[:]) {
		for _, name := range names(dir) {
			if release, ok := imageName(name); ok {
				add(dir, name, release)
			}
		}
	}
	for _, dir := range entryDirs {
		for _, id := range names(dir) {
			if !isMachineID(id) {
				continue
			}
			for _, release := range names(dir + "/" + id) {
				if startsWithDigit(release) {
					add(dir+"/"+id+"/"+release, "linux", release)
				}
			}
		}
	}
	for _, name := range fixedNames {
		if _, err := root.Stat(name); err == nil {
			add(path.Dir(name), path.Base(name), "")
		}
	}
	for _, dir := range moduleDirs {
		for _, release := range names(dir) {
			// Where lib is a link to usr/lib both lead to the same.
			info, err := root.Stat(dir + "/" + release)
			if err != nil || seen[info.ID] {
				continue
			}
			seen[info.ID] = true
			if info.Mode&unix.S_IFMT != unix.S_IFDIR {
				continue
			}
			for _, name := range names(dir + "/" + release) {
				if name == "vmlinuz" || name == "Image" || strings.HasSuffix(name, ".efi") {
					add(dir+"/"+release, name, release)
				}
			}
		}
	}
	for _, dir := range ukiDirs {
		for _, name := range names(dir) {
			if strings.HasSuffix(strings.ToLower(name), ".efi") {
				add(dir, name, "")
			}
		}
	}
	return found, errors.Join(errs...)
}

// imageName divides the name of a file of /boot: "vmlinuz-6.1.0-35-amd64". Sums
// and signatures beside an image, what a package manager is about to put in its
// place, and what was put aside ("make install" leaves .old) are none.
func imageName(name string) (release string, ok bool) {
	for _, suffix := range []string{".hmac", ".sig", ".dpkg-new", ".dpkg-tmp", ".rpmnew", ".rpmsave", ".apk-new", ".old", ".orig", ".bak", "~"} {
		if strings.HasSuffix(name, suffix) {
			return "", false
		}
	}
	for _, prefix := range imageNames {
		rest, ok := strings.CutPrefix(name, prefix)
		switch {
		case !ok:
		case rest == "", rest == ".gz", rest == ".img":
			return "", true
		case rest[0] == '-':
			release := rest[1:]
			for _, suffix := range []string{".gz", ".signed", ".efi"} {
				release = strings.TrimSuffix(release, suffix)
			}
			// Alpine's vmlinuz-lts, Arch's vmlinuz-linux, Fedora's
			// vmlinuz-0-rescue-MACHINE.
			if !startsWithDigit(release) || strings.HasPrefix(release, "0-rescue") {
				release = ""
			}
			return release, true
		}
	}
	return "", false
}

// isMachineID reports whether a name is a machine ID (machine-id(5)).
func isMachineID(name string) bool {
	return len(name) == 32 && strings.Trim(name, "0123456789abcdef") == ""
}

// Look is what there is to say of one kernel image of a root, absolute or relative to
// it. What is wrong with it is in Err.
func Look(root Root, name string) Installed {
	k, _ := readInstalled(root, strings.TrimPrefix(name, "/"), "")
	if k.Release == "" {
		if release, _ := imageName(path.Base(name)); release != "" {
			k.Release, k.Named = release, true
		}
	}
	return k
}

func readInstalled(root Root, path, named string) (Installed, error) {
	k := Installed{File: "/" + path}
	if text, err := root.Readlink(path); err == nil {
		k.Link = text
	}
	var err error
	if k.Info, err = root.Stat(path); err == nil {
		k.Image, err = openImage(root, path, ReadImage)
	}
	k.Err = err
	if k.Release == "" && named != "" {
		k.Release, k.Named = named, true
	}
	return k, err
}

// IdentifyFile is Identify for a file of a root.
func IdentifyFile(ctx context.Context, root Root, name string) (Image, error) {
	return openImage(root, name, func(r io.ReaderAt, size int64) (Image, error) { return Identify(ctx, r, size) })
}

func openImage(root Root, name string, read func(io.ReaderAt, int64) (Image, error)) (Image, error) {
	f, err := root.Open(name)
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Image{}, err
	}
	img, err := read(f, info.Size())
	return img, inFile(name, err)
}
