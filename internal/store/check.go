package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// maxNumber is above every number that this package gives, far below where
// SQLite runs out of them.
const maxNumber = 1 << 53

// migrateChecked checks a database that holds something, and migrates it. Nothing
// is written to it before it is known to be sound.
func migrateChecked(ctx context.Context, db *sql.DB, first uint64) error {
	steps := migrations()
	v, err := version(ctx, db, len(steps))
	if err != nil {
		return err
	}
	if v > 0 {
		if err := sound(ctx, db); err != nil {
			return err
		}
	}
	return migrate(ctx, db, steps, first)
}

// sound lets SQLite check its structure, indexes included: a broken index gives
// wrong answers, and no error.
func sound(ctx context.Context, db *sql.DB) error {
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return wrap(ctx, "check the store", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %.200q", ErrCorrupt, verdict)
	}
	return nil
}

// rehearse runs every statement that writes, reads back, and takes all of it
// back. It finds what structure does not show: tables that are not those of the
// migrations, numbers at their end, a header that forbids writing. Nothing of it
// reaches the disk.
func rehearse(ctx context.Context, db *sql.DB, first uint64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return wrap(ctx, "rehearse", err)
	}
	defer tx.Rollback() // Always: this is not to be kept.
	if err := numbers(ctx, tx); err != nil {
		return err
	}
	at := time.Unix(1, 0).UTC()
	batch := &Batch{
		Patches: []Patch{{At: at, Package: "rehearsal"}},
		Learned: []Knowledge{{File: FileKey{Ino: 1<<64 - 1, Size: -1}, BuildID: "rehearsal", SeenAt: at}},
		Opened:  []Exposure{{Finding: "rehearsal", CVEs: []string{}, Opened: at, Closed: at}},
		Gaps:    []Gap{{From: at, To: at, Why: "rehearsal"}},
		Events:  []Event{{At: at, Type: "rehearsal"}},
		Beat:    at,
		Meta:    map[string]string{"rehearsal": "1"},
	}
	given, err := put(ctx, tx, batch, first)
	if err != nil {
		return rehearsed("write", err)
	}
	again := batch.Opened[0]
	again.ID = given.opened[0]
	change := &Batch{Learned: batch.Learned, Changed: []Exposure{again}, Closed: []Exposure{again}}
	if _, err := put(ctx, tx, change, first); err != nil {
		return rehearsed("change", err)
	}
	known, err := readKnown(ctx, tx, []FileKey{batch.Learned[0].File})
	if err != nil {
		return rehearsed("read", err)
	}
	events, _, err := readEvents(ctx, tx, given.seqs[0]-1, 1)
	if err != nil {
		return rehearsed("read", err)
	}
	want := batch.Events[0]
	want.Seq = given.seqs[0]
	if !reflect.DeepEqual(known[batch.Learned[0].File], batch.Learned[0]) || !reflect.DeepEqual(events, []Event{want}) {
		return rehearsed("read", fmt.Errorf("%w: what was written does not read back", ErrCorrupt))
	}
	return nil
}

// rehearsed takes what is not SQLite's, such as a row that is not found again, for
// corruption; the caller tells the end of the context.
func rehearsed(what string, err error) error {
	if primary(err) == -1 && !errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("rehearse to %s: %w", what, err)
}

// numbers checks those from which the next ones are counted.
func numbers(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT coalesce((SELECT value FROM marks WHERE name = 'seq'), -1),
		coalesce((SELECT value FROM marks WHERE name = 'pruned'), -1), (SELECT count(*) FROM marks),
		coalesce((SELECT min(seq) FROM events), 1), coalesce((SELECT max(seq) FROM events), 0),
		coalesce((SELECT max(seq) FROM sqlite_sequence), 0), coalesce((SELECT min(seq) FROM sqlite_sequence), 0),
		coalesce((SELECT max(id) FROM patches), 0), coalesce((SELECT max(id) FROM exposures), 0),
		coalesce((SELECT max(id) FROM knowledge), 0), coalesce((SELECT max(id) FROM gaps), 0)`)
	if err != nil {
		return wrap(ctx, "check the store's numbers", err)
	}
	defer rows.Close()
	var seq, pruned, marks, oldest, newest, maxGiven, minGiven, patch, exposure, knowledge, gap int64
	if !rows.Next() {
		return wrap(ctx, "check the store's numbers", rows.Err())
	}
	err = rows.Scan(&seq, &pruned, &marks, &oldest, &newest, &maxGiven, &minGiven, &patch, &exposure, &knowledge, &gap)
	if err != nil {
		return fmt.Errorf("%w: numbers: %w", ErrCorrupt, err)
	}
	inOrder := 0 <= pruned && pruned <= seq && newest <= seq && oldest > 0 && minGiven >= 0 && marks == 3
	if !inOrder || max(seq, maxGiven, patch, exposure, knowledge, gap) >= maxNumber {
		return fmt.Errorf("%w: its numbers cannot be continued", ErrCorrupt)
	}
	return wrap(ctx, "check the store's numbers", rows.Err())
}
