package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrLocked says that another process, or another Store, has the database open.
	ErrLocked = errors.New("the store is in use")
	// ErrCorrupt says that the file is not, or no longer, a database of this package.
	ErrCorrupt = errors.New("the store is corrupt")
	// ErrNewer says that the database was written by a newer version of the program.
	ErrNewer = errors.New("the store has a newer schema")
	// ErrFull says that the disk (or a quota) is full. Nothing was changed.
	ErrFull = errors.New("no space for the store")
	// ErrUnsafe says that the path, or its directory, could be tampered with.
	ErrUnsafe = errors.New("not a safe place for the store")
	// ErrInvalid says that a row is out of bounds. Nothing was changed.
	ErrInvalid = errors.New("invalid row")
	// ErrNoExposure says that Changed or Closed names an exposure that is not there.
	ErrNoExposure = errors.New("no such exposure")
	// ErrClosed says that the Store was closed.
	ErrClosed = errors.New("the store is closed")
)

// primary returns SQLite's primary result code (sqlite.org/rescode.html), -1 if
// the error is not SQLite's.
func primary(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return -1
	}
	if e.Code() == sqlite3.SQLITE_IOERR_CORRUPTFS {
		return sqlite3.SQLITE_CORRUPT
	}
	return e.Code() & 0xff
}

// wrap says what failed and adds the sentinel that callers branch on.
func wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	var sentinel error
	switch primary(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		sentinel = ErrCorrupt
	case sqlite3.SQLITE_FULL:
		sentinel = ErrFull
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		sentinel = ErrLocked
	case sqlite3.SQLITE_INTERRUPT:
		sentinel = ctx.Err()
	}
	if primary(err) == -1 && ctx.Err() != nil {
		// What database/sql says then is a consequence: a transaction that is done, a
		// statement that is closed.
		sentinel = ctx.Err()
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		sentinel = ErrFull
	}
	if sentinel == nil || errors.Is(err, sentinel) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, sentinel, err)
}

// unusable tells errors that lie in what the file holds from those that lie in
// the machine, which starting anew would not cure.
func unusable(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) {
		return true
	}
	switch primary(err) {
	case -1, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return false
	}
	// SQLITE_READONLY is here on purpose: the file was opened for writing before,
	// so it can only be the format version in its header.
	return true
}
