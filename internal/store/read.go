package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Bounds of one answer; a limit of zero or below, or above, means them.
const (
	maxRows = 10_000
	// maxBodies is in bytes: a list of events ends when it is reached.
	maxBodies = 16 << 20
	// maxSameBuildID is ample: the same file in that many images.
	maxSameBuildID = 64
)

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// wrap is the package's wrap for a Store, which may have been closed.
func (s *Store) wrap(ctx context.Context, what string, err error) error {
	if err != nil && ctx.Err() == nil && s.closed.Load() {
		return ErrClosed
	}
	return wrap(ctx, "store: "+what, err)
}

// Patches returns the newest first.
func (s *Store) Patches(ctx context.Context, limit int) ([]Patch, error) {
	list, err := collect(ctx, s.db, func(r *sql.Rows) (p Patch, err error) {
		var at int64
		err = r.Scan(&p.ID, &at, &p.Domain, &p.Root, &p.Manager, &p.Package, &p.Source, &p.Arch, &p.From, &p.To)
		p.At = fromNanos(at)
		return p, err
	}, `SELECT id, at, domain, root, manager, package, source, arch, from_version, to_version FROM patches
		ORDER BY at DESC, id DESC LIMIT ?`, bound(limit))
	return list, s.wrap(ctx, "read patches", err)
}

// Known returns what is known of the files; others are not in the map.
func (s *Store) Known(ctx context.Context, files []FileKey) (map[FileKey]Knowledge, error) {
	var known map[FileKey]Knowledge
	err := s.inTx(ctx, "read knowledge", func(tx *sql.Tx) (err error) {
		known, err = readKnown(ctx, tx, files)
		return err
	})
	return known, err
}

const knowledgeColumns = `root, path, build_id, manager, name, arch, version, source, source_version, seen_at`

func scanKnowledge(k *Knowledge, scan func(...any) error, more ...any) error {
	var seen int64
	err := scan(append([]any{&k.Root, &k.Path, &k.BuildID, &k.Manager, &k.Name, &k.Arch, &k.Version, &k.Source,
		&k.SourceVersion, &seen}, more...)...)
	k.SeenAt = fromNanos(seen)
	return err
}

func readKnown(ctx context.Context, tx *sql.Tx, files []FileKey) (map[FileKey]Knowledge, error) {
	known := make(map[FileKey]Knowledge)
	if len(files) == 0 {
		return known, nil
	}
	stmt, err := tx.PrepareContext(ctx, `SELECT `+knowledgeColumns+` FROM knowledge
		WHERE ino = ? AND dev = ? AND birth = ? AND mtime = ? AND size = ?`)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	quiet := context.WithoutCancel(ctx) // As in writer.each.
	for _, f := range files {
		k := Knowledge{File: f}
		row := stmt.QueryRowContext(quiet, int64(f.Ino), int64(f.Dev), f.Birth, f.Mtime, f.Size)
		switch err := scanKnowledge(&k, row.Scan); {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return nil, err
		default:
			known[f] = k
		}
	}
	return known, nil
}

// KnownBuildID returns what is known of files with a build ID (hexadecimal), the
// last seen first, at most 64.
func (s *Store) KnownBuildID(ctx context.Context, buildID string) ([]Knowledge, error) {
	list, err := collect(ctx, s.db, func(r *sql.Rows) (k Knowledge, err error) {
		var dev, ino int64
		err = scanKnowledge(&k, r.Scan, &dev, &ino, &k.File.Birth, &k.File.Mtime, &k.File.Size)
		k.File.Dev, k.File.Ino = uint64(dev), uint64(ino)
		return k, err
	}, `SELECT `+knowledgeColumns+`, dev, ino, birth, mtime, size FROM knowledge
		WHERE build_id = ? AND build_id <> '' ORDER BY seen_at DESC, id LIMIT ?`, buildID, maxSameBuildID)
	return list, s.wrap(ctx, "read knowledge", err)
}

const exposureRow = `SELECT id, finding, domain, kind, workload, manager, package, arch, loaded, evidence, installed, cves,
	opened, at_least, closed FROM exposures `

func scanExposure(r *sql.Rows) (e Exposure, err error) {
	var cves sql.NullString
	var opened, closed, atLeast int64
	err = r.Scan(&e.ID, &e.Finding, &e.Domain, &e.Kind, &e.Workload, &e.Manager, &e.Package, &e.Arch, &e.Loaded,
		&e.Evidence, &e.Installed, &cves, &opened, &atLeast, &closed)
	if cves.Valid {
		e.CVEs = splitCVEs(cves.String)
	}
	e.Opened, e.AtLeast, e.Closed = fromNanos(opened), atLeast != 0, fromNanos(closed)
	return e, err
}

// OpenExposures returns all windows that are open, the oldest first.
func (s *Store) OpenExposures(ctx context.Context) ([]Exposure, error) {
	list, err := collect(ctx, s.db, scanExposure, exposureRow+`WHERE closed = 0 ORDER BY opened, id`)
	return list, s.wrap(ctx, "read exposures", err)
}

// Exposures returns the windows that are open or were so since a time, those that
// opened last first. The zero time means all.
func (s *Store) Exposures(ctx context.Context, since time.Time, limit int) ([]Exposure, error) {
	list, err := collect(ctx, s.db, scanExposure,
		exposureRow+`WHERE closed = 0 OR closed >= ? ORDER BY opened DESC, id DESC LIMIT ?`, bottom(since), bound(limit))
	return list, s.wrap(ctx, "read exposures", err)
}

// Gaps returns those that ended at or after a time, the last first. The zero time
// means all.
func (s *Store) Gaps(ctx context.Context, since time.Time, limit int) ([]Gap, error) {
	list, err := collect(ctx, s.db, func(r *sql.Rows) (g Gap, err error) {
		var from, to int64
		err = r.Scan(&from, &to, &g.Why)
		g.From, g.To = fromNanos(from), fromNanos(to)
		return g, err
	}, `SELECT from_at, to_at, why FROM gaps WHERE to_at >= ? ORDER BY to_at DESC, id DESC LIMIT ?`, bottom(since), bound(limit))
	return list, s.wrap(ctx, "read gaps", err)
}

// Events returns those after a sequence number, in order. The list ends at the
// limit or at some MiB; only an empty one says that there are no more.
//
// Oldest is the number from which on nothing was dropped: a reader that has seen
// all up to after has missed events if after+1 < oldest. It is set also when no
// event is kept.
func (s *Store) Events(ctx context.Context, after uint64, limit int) (list []Event, oldest uint64, err error) {
	err = s.inTx(ctx, "read events", func(tx *sql.Tx) (err error) {
		list, oldest, err = readEvents(ctx, tx, after, limit)
		return err
	})
	return list, oldest, err
}

func readEvents(ctx context.Context, q queryer, after uint64, limit int) (list []Event, oldest uint64, err error) {
	pruned, err := readMark(ctx, q, "pruned")
	if err != nil {
		return nil, 0, err
	}
	rows, err := q.QueryContext(ctx, `SELECT seq, at, type, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?`,
		int64(min(after, maxNumber)), bound(limit))
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for size := 0; size < maxBodies && rows.Next(); {
		var e Event
		var seq, at int64
		if err := rows.Scan(&seq, &at, &e.Type, &e.Body); err != nil {
			return nil, 0, err
		}
		e.Seq, e.At = uint64(seq), fromNanos(at)
		if len(e.Body) == 0 {
			e.Body = nil
		}
		size += len(e.Body)
		list = append(list, e)
	}
	return list, uint64(pruned) + 1, rows.Err()
}

// LastSeq returns the number given last; the next one is above it.
func (s *Store) LastSeq(ctx context.Context) (uint64, error) {
	seq, err := readMark(ctx, s.db, "seq")
	return uint64(seq), s.wrap(ctx, "read the last event's number", err)
}

// LastBeat returns the last heartbeat, zero if there was none.
func (s *Store) LastBeat(ctx context.Context) (time.Time, error) {
	n, err := readMark(ctx, s.db, "beat")
	return fromNanos(n), s.wrap(ctx, "read the last heartbeat", err)
}

// Meta returns the value of a key and whether there is one.
func (s *Store) Meta(ctx context.Context, key string) (string, bool, error) {
	var value string
	err := s.db.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = ?`, key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return value, err == nil, s.wrap(ctx, "read meta", err)
}

func readMark(ctx context.Context, q queryer, name string) (n int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT value FROM marks WHERE name = ?`, name).Scan(&n)
	return n, err
}

func collect[T any](ctx context.Context, q queryer, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

func bound(limit int) int {
	if limit <= 0 || limit > maxRows {
		return maxRows
	}
	return limit
}

// bottom is stamp for a lower bound: times before the epoch are below the zero
// time, which is 0.
func bottom(t time.Time) int64 {
	if t.IsZero() {
		return -1 << 63
	}
	return stamp(t)
}
