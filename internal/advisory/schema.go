package advisory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks the file as ours: "ADVS", at offset 68 of the header
// (sqlite.org/fileformat2.html#application_id).
const applicationID = 0x41445653

// schemaVersion is PRAGMA user_version. Any other is not read: importing again is
// cheaper than a migration. It also goes up when what is stored is worked out
// differently.
const schemaVersion = 1

const schema = `
-- imported: when, in milliseconds. It is written last, so a file without it is not whole.
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Every file that was looked at; kinds is empty if it holds nothing known. mtime is
-- in nanoseconds, newest in milliseconds, 0 if not known.
CREATE TABLE sources (
	file TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, sum BLOB NOT NULL, kinds TEXT NOT NULL,
	ignored INTEGER NOT NULL, entries INTEGER NOT NULL, withdrawn INTEGER NOT NULL, malformed INTEGER NOT NULL,
	problem TEXT NOT NULL, complete INTEGER NOT NULL, newest INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE scopes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE packages (
	id INTEGER PRIMARY KEY, name TEXT NOT NULL, scope INTEGER NOT NULL, UNIQUE (name, scope)) STRICT;

-- cves and aliases are words with blanks between; modified is in milliseconds. A
-- record of the tracker and one of OSV may have the same name.
CREATE TABLE advisories (
	id INTEGER PRIMARY KEY, name TEXT NOT NULL, tracker INTEGER NOT NULL, rank INTEGER NOT NULL,
	modified INTEGER NOT NULL, cves TEXT NOT NULL, aliases TEXT NOT NULL, score REAL NOT NULL, vector TEXT NOT NULL,
	rating TEXT NOT NULL, UNIQUE (name, tracker)) STRICT;

-- Lists of versions, each with a line feed before and behind it. Many are equal.
CREATE TABLE lists (id INTEGER PRIMARY KEY, sum BLOB NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;

-- ranges as encodeSpans writes them; list is 0 for none.
CREATE TABLE affected (
	package INTEGER NOT NULL, advisory INTEGER NOT NULL, part INTEGER NOT NULL, ranges TEXT NOT NULL,
	list INTEGER NOT NULL, undetermined INTEGER NOT NULL, score REAL NOT NULL, vector TEXT NOT NULL,
	rating TEXT NOT NULL, PRIMARY KEY (package, advisory, part)) STRICT, WITHOUT ROWID;

-- The best that is known of a CVE in itself: the lower quality counts.
CREATE TABLE cves (
	name TEXT PRIMARY KEY, quality INTEGER NOT NULL, score REAL NOT NULL, vector TEXT NOT NULL, rating TEXT NOT NULL,
	exploited INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

// wrap says what failed and adds the sentinel that callers branch on.
func wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR,
			sqlite3.SQLITE_MISMATCH:
			// Of a query that is known to be right, an error in the query is one in the file.
			return fmt.Errorf("%s: %w: %w", what, ErrCorrupt, err)
		case sqlite3.SQLITE_IOERR:
			if e.Code() == sqlite3.SQLITE_IOERR_CORRUPTFS || e.Code() == sqlite3.SQLITE_IOERR_SHORT_READ {
				return fmt.Errorf("%s: %w: %w", what, ErrCorrupt, err)
			}
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// checkHeader tells a file that is none of ours, or of another version.
func checkHeader(ctx context.Context, db *sql.DB) error {
	var id, version int64
	err := db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version)`).Scan(&id, &version)
	switch {
	case err != nil:
		return wrap(ctx, "read the index of advisories", err)
	case id != applicationID:
		return fmt.Errorf("%w: a database of another program (application ID %#x)", ErrCorrupt, uint32(id))
	case version != schemaVersion:
		return fmt.Errorf("%w: %d, this program knows %d", ErrSchema, version, schemaVersion)
	}
	return nil
}
