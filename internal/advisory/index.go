package advisory

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite"
)

// maxConns bounds the connections to one index; each caches up to 2 MiB.
const maxConns = 4

// Index is an index that [Import] made. Its methods may be called concurrently. It
// stays good when the file is replaced by a newer index, and goes on to answer from
// the old one.
type Index struct {
	db       *sql.DB
	lookup   *sql.Stmt
	contents *sql.Stmt
	detail   *sql.Stmt
	scopes   map[string]int64
}

// Open opens an index. It only reads, also from where it could not write, and
// takes no locks.
//
// Errors: fs.ErrNotExist, [ErrCorrupt] for a file that is something else or cut off,
// [ErrSchema].
func Open(path string) (*Index, error) {
	if err := checkSize(path); err != nil {
		return nil, fmt.Errorf("index of advisories: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// Immutable: the file is never written to again once it has its name. The rest is
	// because it may not be ours (sqlite.org/security.html).
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_dqs": {"0"}, "_defensive": {"1"},
		"_pragma": {"trusted_schema(OFF)", "cell_size_check(ON)", "query_only(ON)", "temp_store(MEMORY)", "cache_size(-2000)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("index of advisories: %w", err)
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	x := &Index{db: db}
	if err := x.prepare(context.Background()); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

func (x *Index) prepare(ctx context.Context) error {
	if err := checkHeader(ctx, x.db); err != nil {
		return err
	}
	if _, err := x.importedAt(ctx); err != nil {
		return err
	}
	for _, s := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&x.lookup, lookupQuery},
		{&x.contents, `SELECT instr(body, ?), instr(body, ?) FROM lists WHERE id = ?`},
		{&x.detail, `SELECT score, vector, rating, exploited FROM cves WHERE name = ?`},
	} {
		var err error
		if *s.to, err = x.db.PrepareContext(ctx, s.query); err != nil {
			return wrap(ctx, "read the index of advisories", err)
		}
	}
	return x.readScopes(ctx)
}

// maxCoverage bounds the ecosystems with their releases. All of OSV has about 1,000.
const maxCoverage = 10_000

func (x *Index) readScopes(ctx context.Context) error {
	rows, err := x.db.QueryContext(ctx, `SELECT id, name FROM scopes LIMIT ?`, maxCoverage)
	if err != nil {
		return wrap(ctx, "read the index of advisories", err)
	}
	defer rows.Close()
	x.scopes = make(map[string]int64)
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return wrap(ctx, "read the index of advisories", err)
		}
		x.scopes[name] = id
	}
	return wrap(ctx, "read the index of advisories", rows.Err())
}

// checkSize finds what is no database or has lost its end, by the header
// (sqlite.org/fileformat2.html, 1.3).
func checkSize(path string) error {
	f, info, err := openPlain(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := make([]byte, 100)
	if _, err := f.ReadAt(header, 0); err != nil || string(header[:16]) != "SQLite format 3\x00" {
		return fmt.Errorf("%w: %s is no database", ErrCorrupt, path)
	}
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 {
		page = 65536
	}
	if want := page * int64(binary.BigEndian.Uint32(header[28:])); want != info.Size() {
		return fmt.Errorf("%w: %s has %d bytes of %d", ErrCorrupt, path, info.Size(), want)
	}
	return nil
}

// Close ends the index.
func (x *Index) Close() error { return x.db.Close() }

func (x *Index) importedAt(ctx context.Context) (time.Time, error) {
	var at int64
	err := x.db.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'imported'`).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("%w: it was not completed", ErrCorrupt)
	}
	return time.UnixMilli(at).UTC(), wrap(ctx, "read the index of advisories", err)
}

// stats returns what the import told, and the number of all files.
func (x *Index) stats(ctx context.Context) (stats Stats, files int, err error) {
	stats.Unchanged = true
	err = x.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(kinds <> ''), 0), coalesce(sum(ignored), 0),
		coalesce(sum(entries), 0), coalesce(sum(withdrawn), 0), coalesce(sum(malformed), 0) FROM sources`).
		Scan(&files, &stats.Files, &stats.Ignored, &stats.Entries, &stats.Withdrawn, &stats.Malformed)
	if err != nil {
		return stats, 0, wrap(ctx, "read the index of advisories", err)
	}
	rows, err := x.db.QueryContext(ctx, `SELECT file, problem FROM sources WHERE malformed > 0 ORDER BY file LIMIT ?`, maxProblems)
	if err != nil {
		return stats, 0, wrap(ctx, "read the index of advisories", err)
	}
	defer rows.Close()
	for rows.Next() {
		p := &Problem{Offset: -1}
		var text string
		if err := rows.Scan(&p.File, &text); err != nil {
			return stats, 0, wrap(ctx, "read the index of advisories", err)
		}
		// The file's name leads the text already.
		p.Err = errors.New(strings.TrimPrefix(text, p.File+": "))
		stats.Problems = append(stats.Problems, p)
	}
	return stats, files, wrap(ctx, "read the index of advisories", rows.Err())
}

// Status tells what the index holds.
func (x *Index) Status(ctx context.Context) (Status, error) {
	at, err := x.importedAt(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{ImportedAt: at}
	var newest int64
	err = x.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(entries), 0), coalesce(sum(malformed), 0),
		coalesce(max(newest), 0) FROM sources WHERE NOT ignored`).Scan(&s.Files, &s.Entries, &s.Malformed, &newest)
	if err != nil {
		return Status{}, wrap(ctx, "read the index of advisories", err)
	}
	s.Newest = timeOf(newest)
	rows, err := x.db.QueryContext(ctx, `SELECT file, kinds, entries, malformed, problem, complete, newest FROM sources
		WHERE NOT ignored ORDER BY entries DESC, file LIMIT 1000`)
	if err != nil {
		return Status{}, wrap(ctx, "read the index of advisories", err)
	}
	defer rows.Close()
	for rows.Next() {
		var f Source
		var newest int64
		if err := rows.Scan(&f.File, &f.Kind, &f.Entries, &f.Malformed, &f.Problem, &f.Complete, &newest); err != nil {
			return Status{}, wrap(ctx, "read the index of advisories", err)
		}
		f.Newest = timeOf(newest)
		s.Sources = append(s.Sources, f)
	}
	if err := rows.Err(); err != nil {
		return Status{}, wrap(ctx, "read the index of advisories", err)
	}
	s.Ecosystems, err = x.coverage(ctx)
	return s, err
}

func (x *Index) coverage(ctx context.Context) ([]Coverage, error) {
	rows, err := x.db.QueryContext(ctx, `SELECT s.name, count(*) FROM scopes s JOIN packages p ON p.scope = s.id
		GROUP BY s.id ORDER BY s.name LIMIT ?`, maxCoverage)
	if err != nil {
		return nil, wrap(ctx, "read the index of advisories", err)
	}
	defer rows.Close()
	var list []Coverage
	for rows.Next() {
		var c Coverage
		if err := rows.Scan(&c.Ecosystem, &c.Packages); err != nil {
			return nil, wrap(ctx, "read the index of advisories", err)
		}
		list = append(list, c)
	}
	return list, wrap(ctx, "read the index of advisories", rows.Err())
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
