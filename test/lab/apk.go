package lab

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// APK is a small package of Alpine's.
type APK struct {
	Name    string
	Version string // as in 1.0.0-r1
	Source  string // origin of another name than the package, or empty
	// Files maps paths in the package to the files that are put there, Links
	// paths to the targets of symbolic links.
	Files map[string]string
	Links map[string]string
}

// APKArch is the machine's architecture as apk calls it, which is as the kernel does
// for those that the labs run on.
func APKArch(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(Output(t, "uname", "-m"))
}

// Build makes the package, unsigned, in the second version of the format, which is one
// gzip file of the description and one of the files, each with a tar archive
// (apk-package(5)). It returns the package's file, which lives as long as the test.
func (p APK) Build(t testing.TB) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	fillTree(t, tree, p.Files, p.Links)
	data, size := apkData(t, tree)
	out := filepath.Join(t.TempDir(), p.Name+"-"+p.Version+".apk")
	write(t, out, append(p.control(t, data, size), data...))
	return out
}

// control is the description. Its archive has no end, as that of the files goes on.
func (p APK) control(t testing.TB, data []byte, size int64) []byte {
	t.Helper()
	sum := sha256.Sum256(data)
	info := fmt.Sprintf("pkgname = %s\npkgver = %s\npkgdesc = a package of the lab\nurl = http://localhost\nbuilddate = %d\n"+
		"packager = Lab\nsize = %d\narch = %s\norigin = %s\nlicense = none\ndatahash = %s\n",
		p.Name, p.Version, time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC).Unix(), size, APKArch(t), cmp.Or(p.Source, p.Name), hex.EncodeToString(sum[:]))
	return compressed(t, func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Name: ".PKGINFO", Mode: 0o644, Size: int64(len(info)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := w.Write([]byte(info)); err != nil {
			return err
		}
		return w.Flush()
	})
}

// apkData is the archive of a tree's files, with their checksums, and their size.
func apkData(t testing.TB, tree string) (archive []byte, size int64) {
	t.Helper()
	archive = compressed(t, func(w *tar.Writer) error {
		err := filepath.WalkDir(tree, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || name == tree {
				return err
			}
			n, err := apkEntry(w, tree, name, entry)
			size += n
			return err
		})
		if err != nil {
			return err
		}
		return w.Close()
	})
	return archive, size
}

func apkEntry(w *tar.Writer, tree, name string, entry fs.DirEntry) (int64, error) {
	info, err := entry.Info()
	if err != nil {
		return 0, err
	}
	var (
		target  string
		content []byte
	)
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err = os.Readlink(name)
	} else if info.Mode().IsRegular() {
		content, err = os.ReadFile(name)
	}
	if err != nil {
		return 0, err
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return 0, err
	}
	if h.Name, err = filepath.Rel(tree, name); err != nil {
		return 0, err
	}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "root", "root"
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.Format = tar.FormatPAX
	switch {
	case target != "":
		h.PAXRecords = apkSum([]byte(target))
	case !info.IsDir():
		h.PAXRecords = apkSum(content)
	}
	if err := w.WriteHeader(h); err != nil {
		return 0, err
	}
	_, err = w.Write(content)
	// A package of links only has a size, too: of one without apk installs nothing.
	return int64(len(content) + len(target)), err
}

func apkSum(content []byte) map[string]string {
	sum := sha1.Sum(content)
	return map[string]string{"APK-TOOLS.checksum.SHA1": hex.EncodeToString(sum[:])}
}

// compressed is what is written, as a gzip file.
func compressed(t testing.TB, fill func(*tar.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := fill(tar.NewWriter(z)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
