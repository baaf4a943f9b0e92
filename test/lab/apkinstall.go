package lab

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// apkDB is a tree's database while it is changed, in the way of apk-tools 2.14: with
// the lock held, files under a temporary name beside their own and then renamed, and the
// list of what is installed written anew and renamed (src/database.c, src/fs_fsys.c).
type apkDB struct {
	APKTree
	lock     *os.File
	packages []apkRecord // in the order of installation
}

// apkRecord is one package as the database has it.
type apkRecord struct {
	name   string
	stanza string // without the empty line
	files  []string
}

const apkInstalled = "lib/apk/db/installed"

func (r APKTree) open(t testing.TB) *apkDB {
	t.Helper()
	lock, err := os.OpenFile(r.Path("lib/apk/db/lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	// A child of this process that has not yet called execve still has the lock of the
	// installation before, so it is waited for.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("lock: %v", err)
	}
	text, err := os.ReadFile(r.Path(apkInstalled))
	if err != nil {
		t.Fatal(err)
	}
	db := &apkDB{APKTree: r, lock: lock}
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		if stanza = strings.Trim(stanza, "\n"); stanza != "" {
			db.packages = append(db.packages, apkRecordOf(stanza))
		}
	}
	return db
}

func apkRecordOf(stanza string) apkRecord {
	p := apkRecord{stanza: stanza}
	dir := ""
	for line := range strings.Lines(stanza) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		switch key {
		case "P":
			p.name = value
		case "F":
			dir = value
		case "R":
			p.files = append(p.files, path.Join(dir, value))
		}
	}
	return p
}

func (db *apkDB) close(t testing.TB) {
	t.Helper()
	defer db.lock.Close()
	var b strings.Builder
	for _, p := range db.packages {
		b.WriteString(p.stanza + "\n\n")
	}
	name := db.Path(apkInstalled)
	if err := os.WriteFile(name+".new", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// install puts a package's files in their places and then removes those of the version
// before that the package has no more.
func (db *apkDB) install(t testing.TB, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stanza, err := db.unpack(content)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	p := apkRecordOf(stanza)
	if i := slices.IndexFunc(db.packages, func(o apkRecord) bool { return o.name == p.name }); i >= 0 {
		old := db.packages[i]
		db.packages[i] = p
		db.purge(t, slices.DeleteFunc(old.files, func(name string) bool { return slices.Contains(p.files, name) }))
		return
	}
	db.packages = append(db.packages, p)
}

func (db *apkDB) remove(t testing.TB, name string) {
	t.Helper()
	i := slices.IndexFunc(db.packages, func(p apkRecord) bool { return p.name == name })
	if i < 0 {
		t.Fatalf("%s is not installed", name)
	}
	db.purge(t, db.packages[i].files)
	db.packages = slices.Delete(db.packages, i, i+1)
}

func (db *apkDB) purge(t testing.TB, names []string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(db.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// unpack extracts a package and returns what the database says of it.
func (db *apkDB) unpack(content []byte) (stanza string, err error) {
	in := bufio.NewReader(bytes.NewReader(content))
	z, err := gzip.NewReader(in)
	if err != nil {
		return "", err
	}
	z.Multistream(false)
	control, err := io.ReadAll(z)
	if err != nil {
		return "", err
	}
	// What identifies a package is the checksum of its description, as compressed.
	sum := sha1.Sum(content[:len(content)-in.Buffered()])
	var b strings.Builder
	b.WriteString("C:Q1" + base64.StdEncoding.EncodeToString(sum[:]) + "\n")
	info := tar.NewReader(bytes.NewReader(control))
	if _, err := info.Next(); err != nil {
		return "", err
	}
	if err := describeAPK(&b, info); err != nil {
		return "", err
	}
	if err := z.Reset(in); err != nil {
		return "", err
	}
	err = db.unpackFiles(&b, tar.NewReader(z))
	return strings.TrimSuffix(b.String(), "\n"), err
}

// describeAPK writes a .PKGINFO as the database has it.
func describeAPK(b *strings.Builder, info io.Reader) error {
	values := make(map[string]string)
	lines := bufio.NewScanner(info)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), " = "); ok {
			values[key] = value
		}
	}
	for _, field := range []struct{ letter, key string }{
		{"P", "pkgname"}, {"V", "pkgver"}, {"A", "arch"}, {"I", "size"}, {"T", "pkgdesc"}, {"U", "url"}, {"L", "license"},
		{"o", "origin"}, {"m", "packager"}, {"t", "builddate"},
	} {
		fmt.Fprintf(b, "%s:%s\n", field.letter, values[field.key])
	}
	return lines.Err()
}

func (db *apkDB) unpackFiles(b *strings.Builder, data *tar.Reader) error {
	var renames [][2]string
	dir := ""
	for {
		h, err := data.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(db.Path(name), 0o755); err != nil {
				return err
			}
			continue
		}
		if d := path.Dir(name); d != dir {
			dir = d
			fmt.Fprintf(b, "F:%s\n", dir)
		}
		hash := h.PAXRecords["APK-TOOLS.checksum.SHA1"]
		sum, err := hex.DecodeString(hash)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "R:%s\na:0:0:%o\nZ:Q1%s\n", path.Base(name), h.Mode&0o7777, base64.StdEncoding.EncodeToString(sum))
		temporary := filepath.Join(filepath.Dir(db.Path(name)), ".apk."+hash[:24])
		if err := putAPK(temporary, h, data); err != nil {
			return err
		}
		renames = append(renames, [2]string{temporary, db.Path(name)})
	}
	for _, r := range renames {
		if err := os.Rename(r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// putAPK makes a file or a link of a package, under a temporary name.
func putAPK(name string, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeSymlink {
		return os.Symlink(h.Linkname, name)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&fs.ModePerm)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(name, h.ModTime, h.ModTime)
}
