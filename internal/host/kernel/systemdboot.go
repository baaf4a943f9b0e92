package kernel

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// maxLoaderConf bounds a loader.conf.
const maxLoaderConf = 64 << 10

// ParseLoaderConf reads a loader.conf(5) and returns the pattern of its default
// entry, empty if it has none. The error is ErrUncertain for what only newest
// versions know.
func ParseLoaderConf(r io.Reader) (pattern string, err error) {
	data, err := readAll(r, maxLoaderConf)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(data) {
		switch key, value := cutSpace(string(line)); key {
		case "default":
			pattern = value
		case "preferred":
			return "", uncertain("the preferred entry %.200q counts only while it has tries left", value)
		}
	}
	return pattern, nil
}

// ChooseBLS finds the entry that systemd-boot starts: of those that the pattern
// fits the first in the specification's order, else the first of all. The name
// that a pattern is to fit has its suffix (loader.conf(5)). The error is
// ErrUncertain with the reason.
func ChooseBLS(entries []BLSEntry, pattern string) (BLSEntry, error) {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, CompareBLS)
	if strings.HasPrefix(pattern, "@") || strings.HasPrefix(pattern, "auto-") {
		return BLSEntry{}, uncertain("the default entry %.200q is known to the firmware only", pattern)
	}
	if pattern != "" {
		if _, err := path.Match(pattern, ""); err != nil {
			return BLSEntry{}, uncertain("the pattern %.200q is not understood", pattern)
		}
		for _, e := range sorted {
			// Older versions of systemd-boot left the suffix out.
			for _, name := range []string{e.ID + path.Ext(e.File), e.ID} {
				if ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(name)); ok {
					return e, nil
				}
			}
		}
	}
	if len(sorted) == 0 {
		return BLSEntry{}, uncertain("there are no entries")
	}
	return sorted[0], nil
}

// espDirs are where the EFI system partition, or the partition of the extended
// boot loader, is mounted (UAPI.1; Debian and Fedora have boot/efi).
var espDirs = [...]string{"efi", "boot", "boot/efi"}

// readSystemdBoot is what systemd-boot would start.
func readSystemdBoot(root Root) (Next, error) {
	n := Next{Loader: LoaderSystemd}
	for _, dir := range espDirs {
		name := dir + "/loader/loader.conf"
		if _, err := root.Stat(name); err == nil {
			n.Config = "/" + name
			break
		}
		if names, err := readDir(root, dir+"/EFI/systemd"); err == nil && slices.ContainsFunc(names, func(s string) bool {
			return strings.HasPrefix(strings.ToLower(s), "systemd-boot")
		}) {
			n.Config = "/" + name // which is optional
		}
	}
	if n.Config == "" {
		return n, ErrNoLoader
	}
	pattern := ""
	f, err := root.Open(n.Config)
	if err == nil {
		pattern, err = ParseLoaderConf(f)
		f.Close()
	}
	if err != nil && !absent(err) {
		return n, inFile(n.Config, err)
	}
	var entries []BLSEntry
	base := make(map[string]string)
	for _, dir := range espDirs {
		found, err := readBLS(root, dir+"/loader/entries")
		if err != nil {
			return n, err
		}
		images, err := readUKIs(root, dir+"/EFI/Linux")
		if err != nil {
			return n, err
		}
		for _, e := range append(found, images...) {
			base[e.File] = dir
			entries = append(entries, e)
		}
	}
	e, err := ChooseBLS(entries, pattern)
	if err != nil {
		return n, inFile(n.Config, err)
	}
	n.Entry, n.Path = e.ID, cmp.Or(e.Linux, e.Other)
	return n, n.resolve(root, []string{path.Join("/", base[e.File], path.Clean("/"+n.Path))})
}

// readUKIs makes an entry of each unified kernel image of a directory, with the
// keys that systemd takes from section .osrel.
func readUKIs(root Root, dir string) ([]BLSEntry, error) {
	names, err := readDir(root, dir)
	if err != nil {
		return nil, err
	}
	var entries []BLSEntry
	for _, name := range names {
		if !strings.HasSuffix(strings.ToLower(name), ".efi") {
			continue
		}
		if len(entries) == maxBLSCount {
			return nil, &Error{File: "/" + dir, Offset: -1, Err: errors.New("too many entries")}
		}
		img, err := openImage(root, dir+"/"+name, ReadImage)
		if err != nil {
			return nil, err
		}
		release := make(map[string]string)
		for line := range strings.Lines(img.OSRelease) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			release[key] = strings.Trim(value, `"'`)
		}
		e := BLSEntry{
			File:    "/" + dir + "/" + name,
			Title:   release["PRETTY_NAME"],
			SortKey: cmp.Or(release["IMAGE_ID"], release["ID"]),
			Version: cmp.Or(release["IMAGE_VERSION"], release["VERSION"], release["VERSION_ID"], release["BUILD_ID"]),
			Other:   "/EFI/Linux/" + name,
		}
		e.setName(name, name[len(name)-len(".efi"):])
		entries = append(entries, e)
	}
	return entries, nil
}
