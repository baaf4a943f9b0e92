package rpm

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
	"modernc.org/sqlite/vfs"

	"github.com/patchsensor/patchsensor/internal/owner"
)

// patience is how long one database, or all histories, may take to be read: a tree of pages that is made
// for it keeps SQLite busy without end.
const patience = 20 * time.Second

// rowCost is what a row counts for beside its content, in bytes, so that a tree whose
// branches all lead to the same page comes to its end.
const rowCost = 4096

var (
	errTable = errors.New("table is not a plain table")
	errPanic = errors.New("reading the database went wrong")
)

// sqlFile is an open SQLite database that was made by somebody else. SQLite sees no more
// of the machine than the image. Only plain tables are read, without their indexes:
// views, virtual tables and generated columns would run what the file says.
type sqlFile struct {
	name   string
	db     *sql.DB
	conn   *sql.Conn
	fs     *vfs.FS
	closes []io.Closer
	// damage is what was wrong with the file and could be got round.
	damage []error
}

// openSQL opens a database with its write-ahead log. maxValue bounds the values that it
// may hold, in bytes. The error is an *owner.Error.
func openSQL(ctx context.Context, root Root, name string, maxValue int) (_ *sqlFile, err error) {
	s := &sqlFile{name: name}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	f, size, err := openSized(root, name)
	if err != nil {
		return nil, err
	}
	s.closes = append(s.closes, f)
	m, err := openImage(f, size, func(pageSize int64) (*wal, error) { return s.log(root, pageSize) })
	if m == nil {
		return nil, owner.Defect(name, 0, err)
	}
	if told := (*owner.Error)(nil); errors.As(err, &told) {
		s.damage = append(s.damage, told) // of the log
	} else if err != nil {
		s.damage = append(s.damage, owner.Defect(name, -1, err))
	}
	s.journal(root)
	if err := s.open(ctx, imageFS{m}, maxValue); err != nil {
		return nil, owner.Defect(name, -1, err)
	}
	return s, nil
}

// log reads the write-ahead log of the database.
func (s *sqlFile) log(root Root, pageSize int64) (*wal, error) {
	name := s.name + "-wal"
	f, err := root.Open(name)
	if absent(err) {
		return nil, nil
	}
	if err == nil {
		s.closes = append(s.closes, f)
		fi, err := f.Stat()
		if err != nil {
			return nil, owner.Defect(name, -1, err)
		}
		w, err := readWAL(f, fi.Size(), pageSize)
		if err != nil {
			err = owner.Defect(name, -1, err)
		}
		return w, err
	}
	return nil, owner.Defect(name, -1, err)
}

// journal looks whether there is a rollback journal: then the file is in the midst of a
// transaction, or one was not finished (https://www.sqlite.org/lockingv3.html#hot_journals).
func (s *sqlFile) journal(root Root) {
	name := s.name + "-journal"
	f, err := root.Open(name)
	if absent(err) {
		return
	}
	var first [1]byte
	if err == nil {
		defer f.Close()
		if _, err = f.ReadAt(first[:], 0); err == io.EOF || err == nil && first[0] == 0 {
			return // a journal that was done with
		}
	}
	if err == nil {
		err = errHot
	}
	s.damage = append(s.damage, owner.Defect(name, -1, err))
}

func (s *sqlFile) open(ctx context.Context, files imageFS, maxValue int) (err error) {
	defer caught(&err)
	name, fsys, err := vfs.New(files)
	if err != nil {
		return err
	}
	s.fs = fsys
	s.db, err = sql.Open("sqlite", "file:"+imageName+"?vfs="+name+"&mode=ro&immutable=1&_defensive=1&_query_only=1"+
		"&_pragma=trusted_schema(0)&_pragma=temp_store(2)&_pragma=cell_size_check(1)&_pragma=cache_size(-4096)")
	if err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return err
	}
	for id, limit := range map[int]int{
		sqlite3.SQLITE_LIMIT_LENGTH: maxValue, sqlite3.SQLITE_LIMIT_SQL_LENGTH: 64 << 10, sqlite3.SQLITE_LIMIT_COLUMN: 100,
		sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 20, sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000, sqlite3.SQLITE_LIMIT_ATTACHED: 0,
	} {
		if _, err := sqlite.Limit(s.conn, id, limit); err != nil {
			return err
		}
	}
	return nil
}

// plain makes sure that a table is an ordinary one.
func (s *sqlFile) plain(ctx context.Context, table string) (err error) {
	defer caught(&err)
	var text string
	row := s.conn.QueryRowContext(ctx, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE AND rootpage > 1", table)
	if err := row.Scan(&text); err != nil {
		return fmt.Errorf("table %s: %w", table, err)
	}
	if !strings.HasPrefix(text, "CREATE TABLE ") {
		return fmt.Errorf("%w: %s", errTable, table)
	}
	rows, err := s.conn.QueryContext(ctx, `PRAGMA table_xinfo("`+table+`")`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var hidden int
		var skip sql.RawBytes
		if err := rows.Scan(&skip, &skip, &skip, &skip, &skip, &skip, &hidden); err != nil {
			return err
		}
		if hidden != 0 {
			return fmt.Errorf("%w: %s", errTable, table)
		}
	}
	return rows.Err()
}

// Close releases the database.
func (s *sqlFile) Close() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.fs != nil {
		errs = append(errs, s.fs.Close())
	}
	for _, c := range s.closes {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// caught turns a panic into an error: SQLite is C that was made Go, and what it reads is
// hostile.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errPanic, p)
	}
}

// sqlStore reads the headers of an rpmdb.sqlite. Where one lies is the number of its
// row.
type sqlStore struct{ *sqlFile }

func openSQLite(root Root, name string) (store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := openSQL(ctx, root, name, maxHeader)
	if err != nil {
		return nil, err
	}
	return sqlStore{s}, nil
}

func (s sqlStore) each(visit func(at uint64, header []byte, err error) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, err := range s.damage {
		if !visit(0, nil, err) {
			return nil
		}
	}
	err := s.pass(ctx, visit)
	switch {
	case err == nil:
		return nil
	case len(s.damage) > 0:
		return s.damage[0] // which is why
	}
	return owner.Defect(s.name, -1, err)
}

// pass reads the table once, in the order of rows. If there is damage on the way it goes
// on from the other end until there.
func (s sqlStore) pass(ctx context.Context, visit func(at uint64, header []byte, err error) bool) error {
	if err := s.plain(ctx, "Packages"); err != nil {
		return err
	}
	left, last, more := int64(maxRead), int64(-1), true
	row := func(n int64, blob []byte) error {
		// A row costs something even if there is nothing in it.
		if left -= int64(len(blob)) + rowCost; left < 0 {
			return errTooMuch
		}
		more = visit(uint64(n), blob, nil)
		return nil
	}
	err := s.rows(ctx, "SELECT hnum, blob FROM Packages NOT INDEXED ORDER BY hnum", func(n int64, blob []byte) (bool, error) {
		last = n
		err := row(n, blob)
		return more, err
	})
	if err == nil || left < 0 || !more {
		return err
	}
	back := s.rows(ctx, "SELECT hnum, blob FROM Packages NOT INDEXED ORDER BY hnum DESC", func(n int64, blob []byte) (bool, error) {
		if n <= last {
			return false, nil
		}
		err := row(n, blob)
		return more, err
	})
	if left < 0 {
		return back
	}
	return err
}

// rows runs a query that returns a number and bytes.
func (s sqlStore) rows(ctx context.Context, query string, visit func(n int64, blob []byte) (bool, error), args ...any) (err error) {
	defer caught(&err)
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			n    int64
			blob sql.RawBytes
		)
		if err := rows.Scan(&n, &blob); err != nil {
			return err
		}
		if more, err := visit(n, blob); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

func (s sqlStore) read(at uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out []byte
	err := s.plain(ctx, "Packages")
	if err == nil {
		err = s.rows(ctx, "SELECT hnum, blob FROM Packages NOT INDEXED WHERE hnum = ?", func(_ int64, blob []byte) (bool, error) {
			out = append([]byte{}, blob...)
			return false, nil
		}, int64(at))
	}
	if err == nil && out == nil {
		err = errGone
	}
	if err != nil {
		return nil, owner.Defect(s.name, -1, err)
	}
	return out, nil
}
