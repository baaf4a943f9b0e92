package rpm

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWAL: what was committed counts, though it is not in the file yet; what was not, does
// not.
func TestWAL(t *testing.T) {
	headers := someHeaders(30)
	dir := t.TempDir()
	name := filepath.Join(dir, "live.sqlite")
	db, err := sql.Open("sqlite", "file:"+name+"?_pragma=journal_mode(WAL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)`)
	for _, h := range headers[:10] {
		exec(`INSERT INTO Packages(blob) VALUES (?)`, h)
	}
	exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	for _, h := range headers[10:20] {
		exec(`INSERT INTO Packages(blob) VALUES (?)`, h)
	}
	exec(`DELETE FROM Packages WHERE hnum = 1`)
	// A transaction that is not finished, and too large to stay in memory.
	exec(`PRAGMA cache_size = 1`)
	exec(`BEGIN`)
	for _, h := range headers[20:] {
		exec(`INSERT INTO Packages(blob) VALUES (?)`, h)
	}
	copied := func(suffix string) []byte {
		content, err := os.ReadFile(name + suffix)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	main, log := copied(""), copied("-wal")
	const file = "var/lib/rpm/rpmdb.sqlite"
	read := func(t *testing.T, log []byte) *Database {
		t.Helper()
		dir := t.TempDir()
		write(t, dir, file, main)
		if log != nil {
			write(t, dir, file+"-wal", log)
		}
		return open(t, dir)
	}
	t.Run("whole", func(t *testing.T) {
		d := read(t, log)
		noProblems(t, d)
		if p := d.Packages(); len(p) != 19 || p[0].Name != "p01" || p[18].Name != "p19" {
			t.Errorf("packages %v", p)
		}
		owners, err := d.Owners([]string{"/usr/lib64/p15/file3", "/usr/lib64/p25/file3"})
		if err != nil || len(owners) != 1 {
			t.Errorf("owners %v, %v", owners, err)
		}
		if _, ok, err := d.Checksum(owners["/usr/lib64/p15/file3"]); !ok || err != nil {
			t.Errorf("checksum %v, %v", ok, err)
		}
	})
	t.Run("none", func(t *testing.T) {
		for _, log := range [][]byte{nil, {}, make([]byte, 100), []byte(strings.Repeat("garbage", 100))} {
			if d := read(t, log); len(d.Packages()) != 10 {
				t.Errorf("packages %v", d.Packages())
			}
		}
	})
	t.Run("cut", func(t *testing.T) {
		// Only whole transactions count, so the packages are always the first ones.
		for size := 0; size < len(log); size += 1 + len(log)/50 {
			d := read(t, log[:size])
			noProblems(t, d)
			if p := d.Packages(); len(p) < 10 || len(p) > 20 {
				t.Errorf("%d packages with %d bytes of the log", len(p), size)
			}
		}
	})
	t.Run("damaged", func(t *testing.T) {
		damaged := bytes.Clone(log)
		damaged[len(log)/4] ^= 1
		d := read(t, damaged)
		if p := d.Packages(); len(p) < 10 || len(p) >= 19 {
			t.Errorf("packages %v", p)
		}
	})
	t.Run("another page size", func(t *testing.T) {
		head := bytes.Clone(log[:walHeaderLen])
		binary.BigEndian.PutUint32(head[8:], 8192)
		sum := walSum{order: binary.LittleEndian}
		if head[3]&1 != 0 {
			sum.order = binary.BigEndian
		}
		sum.add(head[:24])
		binary.BigEndian.PutUint32(head[24:], sum.a)
		binary.BigEndian.PutUint32(head[28:], sum.b)
		d := read(t, head)
		checkTold(t, d.Problems(), file+"-wal")
		if len(d.Packages()) != 10 {
			t.Errorf("packages %v", d.Packages())
		}
	})
}

// TestHotJournal: a transaction that is not finished in a database without a write-ahead
// log.
func TestHotJournal(t *testing.T) {
	dir := t.TempDir()
	const file = "var/lib/rpm/rpmdb.sqlite"
	makeSQLite(t, filepath.Join(dir, file), someHeaders(3))
	for content, told := range map[string]bool{"": false, "\x00\x00\x00": false, "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7": true} {
		write(t, dir, file+"-journal", []byte(content))
		d := open(t, dir)
		if told {
			checkTold(t, d.Problems(), file+"-journal")
		} else {
			noProblems(t, d)
		}
		if len(d.Packages()) != 3 {
			t.Errorf("packages %v", d.Packages())
		}
	}
}
