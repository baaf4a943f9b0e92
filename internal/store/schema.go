package store

import (
	"context"
	"database/sql"
	"fmt"
)

// applicationID marks the file as ours: "SENS", at offset 68 of the header
// (sqlite.org/fileformat2.html#application_id).
const applicationID = 0x53454e53

// migrations returns the statements that lead from version i to i+1 of the
// schema; the version is PRAGMA user_version. One that was released never
// changes: a new one is added, with a fixture in testdata that the statements
// before it made.
func migrations() []string {
	return []string{`
-- Single numbers: seq is the last Event.Seq given, pruned the highest that may be
-- gone, beat the last heartbeat.
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO marks VALUES ('seq', 0), ('pruned', 0), ('beat', 0);

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE patches (
	id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, domain TEXT NOT NULL, root TEXT NOT NULL,
	manager TEXT NOT NULL, package TEXT NOT NULL, source TEXT NOT NULL, arch TEXT NOT NULL,
	from_version TEXT NOT NULL, to_version TEXT NOT NULL) STRICT;
CREATE INDEX patches_at ON patches (at);

CREATE TABLE knowledge (
	id INTEGER PRIMARY KEY, dev INTEGER NOT NULL, ino INTEGER NOT NULL, birth INTEGER NOT NULL, mtime INTEGER NOT NULL,
	size INTEGER NOT NULL, root TEXT NOT NULL, path TEXT NOT NULL, build_id TEXT NOT NULL, manager TEXT NOT NULL,
	name TEXT NOT NULL, arch TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL, source_version TEXT NOT NULL,
	seen_at INTEGER NOT NULL, UNIQUE (ino, dev, birth, mtime, size)) STRICT;
CREATE INDEX knowledge_build_id ON knowledge (build_id, seen_at) WHERE build_id <> '';
CREATE INDEX knowledge_seen_at ON knowledge (seen_at);

-- closed is 0 while the window is open; cves are lines, NULL if not known.
CREATE TABLE exposures (
	id INTEGER PRIMARY KEY AUTOINCREMENT, finding TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL,
	workload TEXT NOT NULL, manager TEXT NOT NULL, package TEXT NOT NULL, arch TEXT NOT NULL, loaded TEXT NOT NULL,
	evidence TEXT NOT NULL, installed TEXT NOT NULL, cves TEXT, opened INTEGER NOT NULL, at_least INTEGER NOT NULL,
	closed INTEGER NOT NULL) STRICT;
CREATE INDEX exposures_opened ON exposures (opened);
CREATE INDEX exposures_closed ON exposures (closed);

CREATE TABLE gaps (id INTEGER PRIMARY KEY, from_at INTEGER NOT NULL, to_at INTEGER NOT NULL, why TEXT NOT NULL) STRICT;
CREATE INDEX gaps_to_at ON gaps (to_at);

CREATE TABLE events (
	seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL) STRICT;
`}
}

// migrate brings the schema up to date, all steps in one transaction. It returns
// [ErrNewer] for a database that is ahead of the steps and [ErrCorrupt] for one
// that is not ours. A new database gives its first event a number above first.
func migrate(ctx context.Context, db *sql.DB, steps []string, first uint64) error {
	version, err := version(ctx, db, len(steps))
	if err != nil || version == len(steps) {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return wrap(ctx, "migrate", err)
	}
	defer tx.Rollback() // Does nothing after a commit.
	for i := version; i < len(steps); i++ {
		if _, err := tx.ExecContext(ctx, steps[i]); err != nil {
			return wrap(ctx, fmt.Sprintf("migrate to schema %d", i+1), err)
		}
	}
	if version == 0 {
		if _, err := tx.ExecContext(ctx, `UPDATE marks SET value = ? WHERE name IN ('seq', 'pruned')`, int64(first)); err != nil {
			return wrap(ctx, "migrate", err)
		}
	}
	// PRAGMA takes no parameters; both are part of the transaction.
	set := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(steps))
	if _, err := tx.ExecContext(ctx, set); err != nil {
		return wrap(ctx, "migrate", err)
	}
	if err := tx.Commit(); err != nil {
		return wrap(ctx, "migrate", err)
	}
	// Into the database itself, so that a log that gets lost does not take the
	// schema along, silently.
	_, err = db.ExecContext(ctx, `PRAGMA wal_checkpoint(FULL)`)
	return wrap(ctx, "migrate", err)
}

// version returns the version of the schema, 0 for a database that holds nothing.
func version(ctx context.Context, db *sql.DB, latest int) (int, error) {
	var id, version, objects int
	err := db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).Scan(&id, &version, &objects)
	switch {
	case err != nil:
		return 0, wrap(ctx, "read the schema's version", err)
	case id == 0 && version == 0 && objects == 0:
		return 0, nil
	case id != applicationID:
		return 0, fmt.Errorf("%w: a database of another program (application ID %#x)", ErrCorrupt, uint32(id))
	case version > latest:
		return 0, fmt.Errorf("%w: %d, this program knows up to %d", ErrNewer, version, latest)
	case version <= 0:
		return 0, fmt.Errorf("%w: schema version %d", ErrCorrupt, version)
	}
	return version, nil
}
