package store

import (
	"context"
	"database/sql"
	"math"
	"strconv"
	"time"
)

// Bounds of one transaction, so that a Write that waits for the connection does
// not wait long and the log stays small.
const (
	pruneRows   = 1000
	vacuumPages = 1000
	// shrinkRows is smaller: a row may be a MiB, and no more should go than must.
	shrinkRows = 100
)

// Prune drops what is older than MaxAge at the time now, what exceeds MaxEvents,
// and the oldest of the rest while the database is larger than MaxBytes; then it
// gives the space back to the file system. Events go in the order of their
// numbers, so that what is kept has no holes. After an error some of it was done;
// the next call does the rest. On a full disk it may itself lack the space
// ([ErrFull]).
func (s *Store) Prune(ctx context.Context, now time.Time) error {
	oldest, err := nanos(now.Add(-s.options.MaxAge))
	if err != nil {
		return err
	}
	for _, drop := range []string{
		`DELETE FROM patches WHERE id IN (SELECT id FROM patches WHERE at < ? ORDER BY at LIMIT ?)`,
		`DELETE FROM exposures WHERE id IN (SELECT id FROM exposures WHERE closed < ? AND closed <> 0 ORDER BY closed LIMIT ?)`,
		`DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE to_at < ? ORDER BY to_at LIMIT ?)`,
		`DELETE FROM knowledge WHERE id IN (SELECT id FROM knowledge WHERE seen_at < ? ORDER BY seen_at LIMIT ?)`,
	} {
		if err := s.drain(ctx, func(tx *sql.Tx) (int64, error) { return affected(tx.ExecContext(ctx, drop, oldest, pruneRows)) }); err != nil {
			return err
		}
	}
	err = s.drain(ctx, func(tx *sql.Tx) (int64, error) {
		return dropEvents(ctx, tx, `(SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?)`, pruneRows, s.options.MaxEvents)
	})
	if err != nil {
		return err
	}
	err = s.drain(ctx, func(tx *sql.Tx) (int64, error) {
		// All before the first that is young enough.
		return dropEvents(ctx, tx, `coalesce((SELECT seq - 1 FROM events WHERE at >= ? ORDER BY seq LIMIT 1),
			(SELECT max(seq) FROM events))`, pruneRows, oldest)
	})
	if err != nil {
		return err
	}
	if err := s.shrinkTo(ctx, s.options.MaxBytes); err != nil {
		return err
	}
	return s.giveBack(ctx)
}

// drain repeats a bounded step until it finds less than a full step to do.
func (s *Store) drain(ctx context.Context, step func(*sql.Tx) (int64, error)) error {
	for {
		var n int64
		err := s.inTx(ctx, "prune", func(tx *sql.Tx) (err error) {
			n, err = step(tx)
			return err
		})
		if err != nil || n < pruneRows {
			return err
		}
	}
}

// dropEvents drops events up to a number that an SQL expression gives, no more
// than limit, and notes up to which.
func dropEvents(ctx context.Context, tx *sql.Tx, upTo string, limit int, args ...any) (int64, error) {
	var last sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT max(seq) FROM (SELECT seq FROM events WHERE seq <= `+upTo+` ORDER BY seq LIMIT ?)`,
		append(args, limit)...).Scan(&last)
	if err != nil || !last.Valid {
		return 0, err
	}
	n, err := affected(tx.ExecContext(ctx, `DELETE FROM events WHERE seq <= ?`, last.Int64))
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE marks SET value = ? WHERE name = 'pruned'`, last.Int64)
	return n, err
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// makeRoom keeps a burst between two prunings from growing the store without
// bound. It drops no more than the excess and leaves the free pages to be used
// again, so that each Write pays for about what the one before it added.
func (s *Store) makeRoom(ctx context.Context) error {
	return s.shrinkTo(ctx, s.options.MaxBytes+s.options.MaxBytes/4)
}

// pages returns the bytes in use and those that are free inside the database.
func (s *Store) pages(ctx context.Context) (used, free int64, err error) {
	var count, unused, size int64
	err = s.db.QueryRowContext(ctx, `SELECT page_count, freelist_count, page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&count, &unused, &size)
	return (count - unused) * size, unused * size, s.wrap(ctx, "measure", err)
}

// giveBack returns free pages to the file system and empties the log.
func (s *Store) giveBack(ctx context.Context) error {
	for before := int64(math.MaxInt64); ; {
		_, free, err := s.pages(ctx)
		if err != nil {
			return err
		}
		if free == 0 || free >= before {
			break
		}
		before = free
		if err := s.run(ctx, `PRAGMA incremental_vacuum(`+strconv.Itoa(vacuumPages)+`)`); err != nil {
			return err
		}
	}
	return s.run(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
}

// run steps through all rows of a pragma, which do its work one by one.
func (s *Store) run(ctx context.Context, pragma string) error {
	_, err := collect(ctx, s.db, func(*sql.Rows) (struct{}, error) { return struct{}{}, nil }, pragma)
	return s.wrap(ctx, "give space back", err)
}

// shrinkTo drops the oldest rows until what is in use is no larger than limit
// bytes: events and knowledge first, by age, then history. Open exposures stay.
func (s *Store) shrinkTo(ctx context.Context, limit int64) error {
	for {
		used, _, err := s.pages(ctx)
		if err != nil || used <= limit {
			return err
		}
		var n int64
		err = s.inTx(ctx, "prune", func(tx *sql.Tx) (err error) {
			n, err = dropOldest(ctx, tx)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// dropOldest drops a step of whichever kind begins earliest. Age is compared, and
// not size, because knowledge is refreshed when it is seen: what is old there is
// of files that are gone.
func dropOldest(ctx context.Context, tx *sql.Tx) (int64, error) {
	var event, knowledge sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT (SELECT at FROM events ORDER BY seq LIMIT 1), (SELECT min(seen_at) FROM knowledge)`).
		Scan(&event, &knowledge)
	switch {
	case err != nil:
		return 0, err
	case event.Valid && (!knowledge.Valid || event.Int64 <= knowledge.Int64):
		return dropEvents(ctx, tx, `(SELECT max(seq) FROM events)`, shrinkRows)
	case knowledge.Valid:
		return affected(tx.ExecContext(ctx, `DELETE FROM knowledge WHERE id IN (SELECT id FROM knowledge ORDER BY seen_at LIMIT ?)`, shrinkRows))
	}
	for _, drop := range []string{
		`DELETE FROM exposures WHERE id IN (SELECT id FROM exposures WHERE closed <> 0 ORDER BY closed LIMIT ?)`,
		`DELETE FROM patches WHERE id IN (SELECT id FROM patches ORDER BY at LIMIT ?)`,
		`DELETE FROM gaps WHERE id IN (SELECT id FROM gaps ORDER BY to_at LIMIT ?)`,
	} {
		if n, err := affected(tx.ExecContext(ctx, drop, shrinkRows)); err != nil || n > 0 {
			return n, err
		}
	}
	return 0, nil
}
