package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// given holds the numbers that a batch got.
type given struct {
	patches, opened []int64
	seqs            []uint64
}

// Write stores the batch, all of it or nothing, and fills in the numbers of its
// Patches, Opened and Events. After any error nothing was written and nothing
// filled in; the same batch may be written again.
//
// Errors: [ErrInvalid] (see Sift), [ErrNoExposure], [ErrFull], [ErrCorrupt],
// [ErrClosed], and those of the context.
func (s *Store) Write(ctx context.Context, b *Batch) error {
	if b.empty() {
		return ctx.Err()
	}
	if err := b.check(); err != nil {
		return err
	}
	if err := s.makeRoom(ctx); err != nil {
		return err
	}
	var g given
	err := s.inTx(ctx, "write", func(tx *sql.Tx) (err error) {
		g, err = put(ctx, tx, b, s.first)
		return err
	})
	if err != nil {
		return err
	}
	for i := range b.Patches {
		b.Patches[i].ID = g.patches[i]
	}
	for i := range b.Opened {
		b.Opened[i].ID = g.opened[i]
	}
	for i := range b.Events {
		b.Events[i].Seq = g.seqs[i]
	}
	return nil
}

// inTx runs f in a transaction. That of the database ends with the context.
func (s *Store) inTx(ctx context.Context, what string, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.wrap(ctx, what, err)
	}
	if err := f(tx); err != nil {
		// SQLite may have rolled back by itself; then this fails, and rightly.
		_ = tx.Rollback()
		return s.wrap(ctx, what, err)
	}
	return s.wrap(ctx, what, tx.Commit())
}

func put(ctx context.Context, tx *sql.Tx, b *Batch, first uint64) (g given, err error) {
	w := &writer{ctx: ctx, tx: tx}
	w.each(len(b.Patches), `INSERT INTO patches (at, domain, root, manager, package, source, arch, from_version, to_version)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, func(i int) []any {
		p := &b.Patches[i]
		return []any{stamp(p.At), p.Domain, p.Root, p.Manager, p.Package, p.Source, p.Arch, p.From, p.To}
	}, func(_ int, r sql.Result) error { return appendID(&g.patches, r) })
	w.each(len(b.Learned), `INSERT INTO knowledge (dev, ino, birth, mtime, size, root, path, build_id, manager, name, arch,
			version, source, source_version, seen_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (ino, dev, birth, mtime, size) DO UPDATE SET root = excluded.root, path = excluded.path,
			build_id = excluded.build_id, manager = excluded.manager, name = excluded.name, arch = excluded.arch,
			version = excluded.version, source = excluded.source, source_version = excluded.source_version,
			seen_at = excluded.seen_at WHERE excluded.seen_at >= seen_at`, func(i int) []any {
		k := &b.Learned[i]
		// SQLite's integers are signed: the bits are kept, not the order.
		return []any{int64(k.File.Dev), int64(k.File.Ino), k.File.Birth, k.File.Mtime, k.File.Size, k.Root, k.Path, k.BuildID,
			k.Manager, k.Name, k.Arch, k.Version, k.Source, k.SourceVersion, stamp(k.SeenAt)}
	}, nil)
	w.each(len(b.Opened), `INSERT INTO exposures (finding, domain, kind, workload, manager, package, arch, loaded, evidence,
			installed, cves, opened, at_least, closed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, func(i int) []any {
		return append(exposureColumns(&b.Opened[i]), stamp(b.Opened[i].Closed))
	}, func(_ int, r sql.Result) error { return appendID(&g.opened, r) })
	w.each(len(b.Changed), `UPDATE exposures SET finding = ?, domain = ?, kind = ?, workload = ?, manager = ?, package = ?,
		arch = ?, loaded = ?, evidence = ?, installed = ?, cves = ?, opened = ?, at_least = ? WHERE id = ?`, func(i int) []any {
		return append(exposureColumns(&b.Changed[i]), b.Changed[i].ID)
	}, func(i int, r sql.Result) error { return oneExposure("Changed", i, b.Changed[i].ID, r) })
	w.each(len(b.Closed), `UPDATE exposures SET closed = ? WHERE id = ?`, func(i int) []any {
		return []any{stamp(b.Closed[i].Closed), b.Closed[i].ID}
	}, func(i int, r sql.Result) error { return oneExposure("Closed", i, b.Closed[i].ID, r) })
	w.each(len(b.Gaps), `INSERT INTO gaps (from_at, to_at, why) VALUES (?, ?, ?)`, func(i int) []any {
		return []any{stamp(b.Gaps[i].From), stamp(b.Gaps[i].To), b.Gaps[i].Why}
	}, nil)
	w.events(b.Events, first, &g)
	if !b.Beat.IsZero() {
		w.mark("beat", stamp(b.Beat))
	}
	keys := make([]string, 0, len(b.Meta))
	for k := range b.Meta {
		keys = append(keys, k)
	}
	w.each(len(keys), `INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
		func(i int) []any { return []any{keys[i], b.Meta[keys[i]]} }, nil)
	return g, w.err
}

func exposureColumns(e *Exposure) []any {
	cves := sql.NullString{String: joinCVEs(e.CVEs), Valid: e.CVEs != nil}
	return []any{e.Finding, e.Domain, e.Kind, e.Workload, e.Manager, e.Package, e.Arch, e.Loaded, e.Evidence, e.Installed,
		cves, stamp(e.Opened), e.AtLeast}
}

func appendID(ids *[]int64, r sql.Result) error {
	id, err := r.LastInsertId()
	*ids = append(*ids, id)
	return err
}

func oneExposure(what string, i int, id int64, r sql.Result) error {
	n, err := r.RowsAffected()
	if err == nil && n != 1 {
		err = fmt.Errorf("%s[%d]: %w: ID %d", what, i, ErrNoExposure, id)
	}
	return err
}

// writer stops at the first error.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
	err error
}

// each runs one statement for n rows. The end of the context ends the transaction
// and with it the next row; given to the driver it would cost a goroutine a row.
func (w *writer) each(n int, query string, row func(int) []any, done func(int, sql.Result) error) {
	if w.err != nil || n == 0 {
		return
	}
	stmt, err := w.tx.PrepareContext(w.ctx, query)
	if err != nil {
		w.err = err
		return
	}
	defer func() { w.err = errors.Join(w.err, stmt.Close()) }()
	quiet := context.WithoutCancel(w.ctx)
	for i := range n {
		r, err := stmt.ExecContext(quiet, row(i)...)
		if err == nil && done != nil {
			err = done(i, r)
		}
		if w.err = err; err != nil {
			return
		}
	}
}

func (w *writer) mark(name string, value int64) {
	w.each(1, `UPDATE marks SET value = ? WHERE name = ?`, func(int) []any { return []any{value, name} }, nil)
}

// events counts from the mark and not from the table, which pruning empties.
func (w *writer) events(list []Event, first uint64, g *given) {
	if w.err != nil || len(list) == 0 {
		return
	}
	seq, err := readMark(w.ctx, w.tx, "seq")
	if err != nil {
		w.err = err
		return
	}
	last := uint64(seq)
	w.each(len(list), `INSERT INTO events (seq, at, type, body) VALUES (?, ?, ?, ?)`, func(i int) []any {
		if list[i].Seq > last {
			last = list[i].Seq
		} else {
			last = max(last, first) + 1
		}
		g.seqs = append(g.seqs, last)
		// Not nil, which would be NULL.
		return []any{int64(last), stamp(list[i].At), list[i].Type, append([]byte{}, list[i].Body...)}
	}, nil)
	w.mark("seq", int64(last))
}
