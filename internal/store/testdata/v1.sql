-- A database of schema 1: the statements that made it, and a row of each kind.
-- Written once, never changed: schema_test.go opens it with the current program.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
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

PRAGMA application_id = 1397050963;
PRAGMA user_version = 1;

UPDATE marks SET value = 1700000000000002 WHERE name = 'seq';
UPDATE marks SET value = 1700000000000000 WHERE name = 'pruned';
UPDATE marks SET value = 1700000000123456789 WHERE name = 'beat';
INSERT INTO meta VALUES ('boot', 'b1');
INSERT INTO patches VALUES (7, 1700000000000000001, 'host', '/', 'dpkg', 'libssl3', 'openssl', 'amd64', '3.0.11-1', '3.0.13-1');
INSERT INTO knowledge VALUES (3, 2049, -1, 5, 6, 7, '/', '/usr/lib/libssl.so.3', 'abcd', 'dpkg', 'libssl3', 'amd64', '3.0.11-1',
	'openssl', '3.0.11-1', 1700000000000000002);
INSERT INTO exposures VALUES (4, 'f1', 'host', 'unit', 'ssh.service', 'dpkg', 'libssl3', 'amd64', '3.0.11-1', 'observed', '3.0.13-1',
	'CVE-2024-0001' || char(10) || 'CVE-2024-0002', 1700000000000000003, 1, 0);
INSERT INTO exposures VALUES (5, 'f2', 'host', 'unit', 'cron.service', 'dpkg', 'libssl3', 'amd64', '3.0.11-1', 'matched', '3.0.13-1',
	NULL, 1700000000000000004, 0, 1700000000000000005);
INSERT INTO gaps VALUES (1, 1700000000000000006, 1700000000000000007, 'not running');
INSERT INTO events VALUES (1700000000000001, 1700000000000000008, 'stale', x'7b7d');
INSERT INTO events VALUES (1700000000000002, 1700000000000000009, 'resolved', x'');
