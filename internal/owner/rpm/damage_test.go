package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// someHeaders are of packages large enough for several pages each.
func someHeaders(n int) [][]byte {
	var out [][]byte
	for i := range n {
		files := make(map[string]string)
		for j := range 20 * (i%4 + 1) {
			files[fmt.Sprintf("/usr/lib64/p%d/file%d", i, j)] = "x"
		}
		out = append(out, made{name: fmt.Sprintf("p%02d", i), arch: "x86_64", version: "1-1", installed: 1_700_000_000, files: files}.header())
	}
	return out
}

// writers write the same headers in every format.
var writers = map[string]func(t testing.TB, name string, headers [][]byte){
	"var/lib/rpm/rpmdb.sqlite": makeSQLite,
	"var/lib/rpm/Packages.db":  func(t testing.TB, name string, headers [][]byte) { write(t, "/", name, ndbOf(headers)) },
	"var/lib/rpm/Packages": func(t testing.TB, name string, headers [][]byte) {
		write(t, "/", name, bdbOf(binary.LittleEndian, headers))
	},
}

// checkTold holds that damage is an *owner.Error that names the file.
func checkTold(t *testing.T, errs []error, file string) {
	t.Helper()
	if len(errs) == 0 {
		t.Error("nothing is told of the damage")
	}
	for _, err := range errs {
		var oe *owner.Error
		if !errors.As(err, &oe) || oe.File != "/"+file || strings.Count(err.Error(), file) != 1 {
			t.Errorf("error %v does not name /%s once", err, file)
		}
	}
}

// TestTruncated cuts databases off at many places: what is told is one error or some, and
// packages that are whole are there.
func TestTruncated(t *testing.T) {
	for file, put := range writers {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, file)
			put(t, name, someHeaders(40))
			whole, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			best := 0
			for _, size := range []int{0, 1, 15, 31, 32, 99, 100, 511, 512, 4095, 4096, 4097, 5000, 8192, 8193, len(whole) / 4, len(whole) / 3,
				len(whole) / 2, len(whole) * 3 / 4, len(whole) - 4096, len(whole) - 1} {
				write(t, dir, file, whole[:size])
				d, err := Open(openRoot(t, dir))
				if err != nil {
					checkTold(t, []error{err}, file)
					continue
				}
				checkTold(t, d.Problems(), file)
				if n := len(d.Problems()); n > 2 {
					t.Errorf("%d problems of a file of %d bytes: %v", n, size, d.Problems())
				}
				for _, p := range d.Packages() {
					if !strings.HasPrefix(p.Name, "p") || p.Version != "1-1" {
						t.Errorf("package %+v of %d bytes", p, size)
					}
				}
				best = max(best, len(d.packages))
			}
			if best < 20 {
				t.Errorf("at best %d of 40 packages were read", best)
			}
		})
	}
}

// TestFlipped changes single bytes: nothing may panic or hang, and no name that was not
// there may appear but by a byte of itself.
func TestFlipped(t *testing.T) {
	for file, put := range writers {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, file)
			put(t, name, someHeaders(8))
			whole, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; at < len(whole); at += 1 + at/20 {
				damaged := bytes.Clone(whole)
				damaged[at] ^= 0xff
				write(t, dir, file, damaged)
				d, err := Open(openRoot(t, dir))
				if err != nil {
					checkTold(t, []error{err}, file)
					continue
				}
				for _, p := range d.Packages() {
					d.Checksum(owner.Owned{Package: p, Path: "/usr/lib64/p0/file1"})
					d.Changelog(p, "1-0")
				}
				d.Owners([]string{"/usr/lib64/p0/file1"})
			}
		})
	}
}

// TestNothingLeft holds that reading and failing leaves no goroutines and descriptors
// behind, and nothing beside the database.
func TestNothingLeft(t *testing.T) {
	for file, put := range writers {
		dir := t.TempDir()
		put(t, filepath.Join(dir, file), someHeaders(8))
		root := openRoot(t, dir)
		look := func() {
			d, err := Open(root)
			if err != nil {
				t.Fatal(err)
			}
			owners, _ := d.Owners([]string{"/usr/lib64/p0/file1"})
			if _, ok, err := d.Checksum(owners["/usr/lib64/p0/file1"]); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		look()
		goroutines, fds := runtime.NumGoroutine(), descriptors(t)
		for range 20 {
			look()
		}
		// Those of database/sql end soon after it was closed.
		for range 100 {
			if runtime.NumGoroutine() <= goroutines {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%s: %d goroutines, were %d", file, n, goroutines)
		}
		if n := descriptors(t); n > fds {
			t.Errorf("%s: %d descriptors, were %d", file, n, fds)
		}
		if names, err := os.ReadDir(filepath.Join(dir, "var/lib/rpm")); err != nil || len(names) != 1 {
			t.Errorf("beside the database: %v, %v", names, err)
		}
	}
}

func descriptors(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestLocked holds a lock as rpm does while it changes the database.
func TestLocked(t *testing.T) {
	for file, put := range writers {
		dir := t.TempDir()
		put(t, filepath.Join(dir, file), someHeaders(3))
		lock := "var/lib/rpm/" + lockFile
		write(t, dir, lock, nil)
		root := openRoot(t, dir)
		if busy, err := Busy(root); busy || err != nil {
			t.Errorf("nobody holds the lock: %v, %v", busy, err)
		}
		f, err := os.OpenFile(filepath.Join(dir, lock), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		hold := func(kind int16) {
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind}); err != nil {
				t.Fatal(err)
			}
		}
		hold(unix.F_RDLCK)
		if busy, err := Busy(root); busy || err != nil {
			t.Errorf("somebody reads: %v, %v", busy, err)
		}
		noProblems(t, open(t, dir))
		hold(unix.F_WRLCK)
		if busy, err := Busy(root); !busy || err != nil {
			t.Errorf("somebody writes: %v, %v", busy, err)
		}
		d := open(t, dir)
		checkTold(t, d.Problems(), lock)
		if len(d.Packages()) != 3 {
			t.Errorf("packages %v", d.Packages())
		}
		f.Close()
	}
}

func TestBusyOddLock(t *testing.T) {
	dir := t.TempDir()
	if busy, err := Busy(openRoot(t, dir)); busy || err != nil {
		t.Errorf("no database: %v, %v", busy, err)
	}
	write(t, dir, "var/lib/rpm/x", nil)
	if err := unix.Mkfifo(filepath.Join(dir, "var/lib/rpm", lockFile), 0o600); err != nil {
		t.Fatal(err)
	}
	busy, err := Busy(openRoot(t, dir))
	if busy {
		t.Error("a FIFO is taken for a lock")
	}
	checkTold(t, []error{err}, "var/lib/rpm/"+lockFile)
}

// TestSchemas: what is not a plain table is not read, whatever it would yield.
func TestSchemas(t *testing.T) {
	tests := map[string]string{
		"view":      `CREATE VIEW Packages AS SELECT 1 AS hnum, x'00' AS blob`,
		"generated": `CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob AS (zeroblob(100000000)))`,
		"stored":    `CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, a, blob AS (a || 'x') STORED)`,
		"virtual":   `CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)`,
		"none":      `CREATE TABLE Names (hnum INTEGER PRIMARY KEY, blob)`,
		"recursive": `CREATE VIEW Packages AS WITH RECURSIVE n(hnum, blob) AS (SELECT 1, x'' UNION ALL SELECT hnum + 1, blob FROM n) SELECT * FROM n`,
		"other":     `CREATE TABLE Packages (a, b)`,
	}
	for kind, schema := range tests {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			const file = "var/lib/rpm/rpmdb.sqlite"
			execSQL(t, filepath.Join(dir, file), func(exec func(string, ...any)) { exec(schema) })
			if _, err := Open(openRoot(t, dir)); err == nil {
				t.Error("it is taken for a database")
			} else {
				checkTold(t, []error{err}, file)
			}
		})
	}
}

// TestCircles: chains and trees of pages that lead back to themselves end.
func TestCircles(t *testing.T) {
	t.Run("bdb", func(t *testing.T) {
		dir := t.TempDir()
		const file = "var/lib/rpm/Packages"
		content := bdbOf(binary.LittleEndian, [][]byte{append(made{name: "a", arch: "b", version: "1-1"}.header(), make([]byte, 20000)...)})
		for n := 2; (n+1)*4096 <= len(content); n++ {
			binary.LittleEndian.PutUint32(content[n*4096+bdbNextAt:], 2)
			binary.LittleEndian.PutUint16(content[n*4096+bdbOffsetAt:], 1)
		}
		write(t, dir, file, content)
		_, err := Open(openRoot(t, dir))
		checkTold(t, []error{err}, file)
	})
	t.Run("sqlite", func(t *testing.T) {
		// Six levels of pages, each with 300 ways to the next, down to one row.
		dir := t.TempDir()
		const file, size, ways = "var/lib/rpm/rpmdb.sqlite", 4096, 300
		name := filepath.Join(dir, file)
		makeSQLite(t, name, nil)
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		inner := func(child int) []byte {
			p := make([]byte, size)
			p[0] = 5 // interior page of a table
			binary.BigEndian.PutUint16(p[3:], ways)
			binary.BigEndian.PutUint16(p[5:], size-5*ways)
			binary.BigEndian.PutUint32(p[8:], uint32(child))
			for i := range ways {
				cell := size - 5*(i+1)
				binary.BigEndian.PutUint32(p[cell:], uint32(child))
				p[cell+4] = 1
				binary.BigEndian.PutUint16(p[12+2*i:], uint16(cell))
			}
			return p
		}
		next := len(content)/size + 1
		copy(content[size:], inner(next)) // page 2 is the root of the table
		for range 5 {
			next++
			content = append(content, inner(next)...)
		}
		leaf := make([]byte, size)
		leaf[0] = 13
		row := []byte{5, 1, 3, 0, 0x10, 0, 0} // length, number, header: NULL and a blob of 2 bytes
		binary.BigEndian.PutUint16(leaf[3:], 1)
		binary.BigEndian.PutUint16(leaf[5:], uint16(size-len(row)))
		binary.BigEndian.PutUint16(leaf[8:], uint16(size-len(row)))
		copy(leaf[size-len(row):], row)
		content = append(content, leaf...)
		binary.BigEndian.PutUint32(content[sqlPagesAt:], uint32(len(content)/size))
		write(t, dir, file, content)
		_, err = Open(openRoot(t, dir))
		checkTold(t, []error{err}, file)
		if !errors.Is(err, errTooMuch) {
			t.Errorf("%v, want that it is too much", err)
		}
	})
}

// TestGone: a header that is another package's by now is not taken for the one that was
// asked about.
func TestGone(t *testing.T) {
	for file, put := range writers {
		dir := t.TempDir()
		name := filepath.Join(dir, file)
		put(t, name, someHeaders(8))
		d := open(t, dir)
		owners, _ := d.Owners([]string{"/usr/lib64/p1/file1"})
		o := owners["/usr/lib64/p1/file1"]
		os.Remove(name)
		other := someHeaders(8)
		other[1] = made{name: "p01", arch: "x86_64", version: "1-2", installed: 1_700_000_001, files: map[string]string{"/usr/lib64/p1/file1": "y"}}.header()
		put(t, name, other)
		if sum, ok, err := d.Checksum(o); ok || err == nil {
			t.Errorf("%s: checksum %+v of another version", file, sum)
		}
		if _, err := d.Changelog(o.Package, "1-0"); !errors.Is(err, owner.ErrNoChangelog) {
			t.Errorf("%s: changelog: %v", file, err)
		}
	}
}
