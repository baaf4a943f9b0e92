package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// objects returns the schema as SQLite holds it.
func objects(t *testing.T, db *sql.DB) []string {
	t.Helper()
	list, err := collect(context.Background(), db, func(r *sql.Rows) (string, error) {
		var kind, name, table, statement string
		err := r.Scan(&kind, &name, &table, &statement)
		return kind + " " + name + " on " + table + ": " + statement, err
	}, `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name`)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// fixture makes a database by the statements of an older version.
func fixture(t *testing.T, version int) (path string) {
	t.Helper()
	statements, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d.sql", version)))
	if err != nil {
		t.Fatalf("each version has a fixture: %v", err)
	}
	path = newPath(t)
	raw(t, path, string(statements))
	return path
}

// TestOlder: a database of every version there was opens, has the schema of a new
// one afterwards, and all its rows.
func TestOlder(t *testing.T) {
	ctx := context.Background()
	fresh := objects(t, open(t, newPath(t), Options{}).db)
	for v := 1; v <= len(migrations()); v++ {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			path := fixture(t, v)
			s := open(t, path, Options{})
			if got := objects(t, s.db); !reflect.DeepEqual(got, fresh) {
				t.Errorf("schema\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(fresh, "\n"))
			}
			patches, err1 := s.Patches(ctx, 0)
			key := FileKey{Dev: 2049, Ino: 1<<64 - 1, Birth: 5, Mtime: 6, Size: 7}
			known, err2 := s.Known(ctx, []FileKey{key})
			exposures, err3 := s.Exposures(ctx, time.Time{}, 0)
			gaps, err4 := s.Gaps(ctx, time.Time{}, 0)
			events, oldest, err5 := s.Events(ctx, 0, 0)
			beat, err6 := s.LastBeat(ctx)
			boot, _, err7 := s.Meta(ctx, "boot")
			if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
				t.Fatal(err)
			}
			ns := func(n int64) time.Time { return time.Unix(1_700_000_000, n).UTC() }
			for _, c := range []struct{ got, want any }{
				{patches, []Patch{{7, ns(1), "host", "/", "dpkg", "libssl3", "openssl", "amd64", "3.0.11-1", "3.0.13-1"}}},
				{known, map[FileKey]Knowledge{key: {key, "/", "/usr/lib/libssl.so.3", "abcd", "dpkg", "libssl3", "amd64", "3.0.11-1",
					"openssl", "3.0.11-1", ns(2)}}},
				{exposures, []Exposure{
					{5, "f2", "host", "unit", "cron.service", "dpkg", "libssl3", "amd64", "3.0.11-1", "matched", "3.0.13-1", nil, ns(4), false, ns(5)},
					{4, "f1", "host", "unit", "ssh.service", "dpkg", "libssl3", "amd64", "3.0.11-1", "observed", "3.0.13-1",
						[]string{"CVE-2024-0001", "CVE-2024-0002"}, ns(3), true, time.Time{}},
				}},
				{gaps, []Gap{{ns(6), ns(7), "not running"}}},
				{events, []Event{{1_700_000_000_000_001, ns(8), "stale", []byte("{}")}, {1_700_000_000_000_002, ns(9), "resolved", nil}}},
				{oldest, uint64(1_700_000_000_000_001)}, {beat, ns(123_456_789)}, {boot, "b1"},
			} {
				if !reflect.DeepEqual(c.got, c.want) {
					t.Errorf("got %+v\nwant %+v", c.got, c.want)
				}
			}
			s.Close()
			if usable(t, path) != nil {
				t.Error("moved aside")
			}
		})
	}
}

// connect opens a database as Open does, without its checks.
func connect(t *testing.T, path string) *sql.DB {
	t.Helper()
	c, err := newConnector(path)
	f, err2 := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err := errors.Join(err, err2, f.Close()); err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

// TestMigrate: steps are applied from any version, in one transaction, and once;
// when one fails the database is what it was.
func TestMigrate(t *testing.T) {
	ctx := context.Background()
	good := append(migrations(),
		`ALTER TABLE gaps ADD COLUMN cause TEXT NOT NULL DEFAULT 'old'`,
		`CREATE TABLE hosts (name TEXT NOT NULL) STRICT; INSERT INTO hosts SELECT cause FROM gaps`)
	bad := append(good[:len(good):len(good)], `CREATE TABLE more (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)`)
	latest := len(good)
	for from := 0; from <= latest; from++ {
		t.Run(fmt.Sprint(from), func(t *testing.T) {
			path := newPath(t)
			db := connect(t, path)
			if from > 0 {
				if err := migrate(ctx, db, good[:from], 5); err != nil {
					t.Fatal(err)
				}
				if _, err := db.Exec(`INSERT INTO gaps (from_at, to_at, why) VALUES (1, 2, 'w')`); err != nil {
					t.Fatal(err)
				}
			}
			before := objects(t, db)
			if err := migrate(ctx, db, bad, 6); err == nil {
				t.Fatal("a bad step did not fail")
			}
			if got := objects(t, db); !reflect.DeepEqual(got, before) {
				t.Errorf("half migrated: %v", got)
			}
			if v, err := version(ctx, db, latest); err != nil || v != from {
				t.Errorf("version %d, %v, want %d", v, err, from)
			}
			for range 2 {
				if err := migrate(ctx, db, good, 7); err != nil {
					t.Fatal(err)
				}
			}
			if v, err := version(ctx, db, latest); err != nil || v != latest {
				t.Errorf("version %d, %v, want %d", v, err, latest)
			}
			seq, err := readMark(ctx, db, "seq")
			if want := map[bool]int64{true: 7, false: 5}[from == 0]; err != nil || seq != want {
				t.Errorf("seq %d, %v, want %d", seq, err, want)
			}
			var rows int
			if err := db.QueryRow(`SELECT count(*) FROM hosts`).Scan(&rows); err != nil || rows > 1 || from == 0 && rows != 0 {
				t.Errorf("%d rows, %v", rows, err)
			}
			if err := migrate(ctx, db, good[:latest-1], 8); !errors.Is(err, ErrNewer) {
				t.Errorf("by an older program: %v", err)
			}
			db.Close()
			// The released program meets a newer database.
			recovery := usable(t, path)
			if recovery == nil || !errors.Is(recovery.Cause, ErrNewer) {
				t.Fatalf("recovery %+v", recovery)
			}
			again := connect(t, recovery.MovedTo)
			if v, err := version(ctx, again, latest); err != nil || v != latest {
				t.Errorf("what was moved aside is no longer what it was: %d, %v", v, err)
			}
		})
	}
}
