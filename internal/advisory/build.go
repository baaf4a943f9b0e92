package advisory

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// builder writes an index. It remembers IDs that it gave, within bounds, to spare
// most of the queries for them.
type builder struct {
	db         *sql.DB
	tx         *sql.Tx
	statements map[string]*sql.Stmt
	packages   map[packageKey]int64
	scopes     map[string]int64
	tracked    map[string]int64
	lists      map[[sha256.Size]byte]int64
	nextID     int64
	replaced   bool
}

type packageKey struct{ scope, name string }

// maxRemembered bounds each of the maps.
const maxRemembered = 50_000

// newBuilder makes an index in an empty file. Nothing is synchronised and nothing
// can be rolled back until it is finished: a file that is not is thrown away.
func newBuilder(path string) (*builder, error) {
	q := url.Values{"_pragma": {"journal_mode(OFF)", "synchronous(OFF)", "locking_mode(EXCLUSIVE)", "cache_size(-24000)",
		"temp_store(MEMORY)"}, "_dqs": {"0"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	b := &builder{db: db, statements: make(map[string]*sql.Stmt), packages: make(map[packageKey]int64),
		scopes: make(map[string]int64), tracked: make(map[string]int64), lists: make(map[[sha256.Size]byte]int64)}
	if _, err := db.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; %s",
		applicationID, schemaVersion, schema)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if b.tx, err = db.Begin(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return b, nil
}

// finish completes the index and closes it.
func (b *builder) finish(ctx context.Context, at time.Time) error {
	if b.replaced {
		// What stands in the place of an older copy of itself left that one's rows.
		if err := b.exec(`DELETE FROM affected WHERE advisory NOT IN (SELECT id FROM advisories)`); err != nil {
			return errors.Join(err, b.close())
		}
	}
	err := ctx.Err()
	if err == nil {
		err = b.exec(`INSERT INTO meta VALUES ('imported', ?)`, at.UnixMilli())
	}
	if err == nil {
		err = b.tx.Commit()
	}
	return errors.Join(err, b.close())
}

func (b *builder) close() error {
	for _, s := range b.statements {
		s.Close()
	}
	_ = b.tx.Rollback() // Does nothing after a commit.
	return b.db.Close()
}

func (b *builder) statement(query string) (*sql.Stmt, error) {
	if s, ok := b.statements[query]; ok {
		return s, nil
	}
	s, err := b.tx.Prepare(query)
	if err == nil {
		b.statements[query] = s
	}
	return s, err
}

func (b *builder) exec(query string, args ...any) error {
	s, err := b.statement(query)
	if err == nil {
		_, err = s.Exec(args...)
	}
	if err != nil {
		return &fatalError{fmt.Errorf("write the index of advisories: %w", err)}
	}
	return nil
}

// number returns the number that a query finds, 0 for none.
func (b *builder) number(query string, args ...any) (int64, error) {
	s, err := b.statement(query)
	var n int64
	if err == nil {
		err = s.QueryRow(args...).Scan(&n)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, &fatalError{fmt.Errorf("write the index of advisories: %w", err)}
	}
	return n, nil
}

func remember[K comparable](m map[K]int64, key K, id int64) {
	if len(m) >= maxRemembered {
		clear(m)
	}
	m[key] = id
}

func (b *builder) scope(name string) (int64, error) {
	if id, ok := b.scopes[name]; ok {
		return id, nil
	}
	id, err := b.number(`SELECT id FROM scopes WHERE name = ?`, name)
	if err == nil && id == 0 {
		id, err = b.number(`INSERT INTO scopes (name) VALUES (?) RETURNING id`, name)
	}
	if err == nil {
		remember(b.scopes, name, id)
	}
	return id, err
}

func (b *builder) pkg(ecosystem, name string) (int64, error) {
	key := packageKey{scope(ecosystem), name}
	if id, ok := b.packages[key]; ok {
		return id, nil
	}
	in, err := b.scope(key.scope)
	if err != nil {
		return 0, err
	}
	id, err := b.number(`SELECT id FROM packages WHERE name = ? AND scope = ?`, name, in)
	if err == nil && id == 0 {
		id, err = b.number(`INSERT INTO packages (name, scope) VALUES (?, ?) RETURNING id`, name, in)
	}
	if err == nil {
		remember(b.packages, key, id)
	}
	return id, err
}

// list stores the versions once for all that list the same.
func (b *builder) list(ecosystem string, versions []string) (int64, error) {
	if len(versions) == 0 {
		return 0, nil
	}
	var body strings.Builder
	body.WriteByte('\n')
	for _, v := range versions {
		body.WriteString(plain(ecosystem, v))
		body.WriteByte('\n')
	}
	sum := sha256.Sum256([]byte(body.String()))
	if id, ok := b.lists[sum]; ok {
		return id, nil
	}
	id, err := b.number(`SELECT id FROM lists WHERE sum = ?`, sum[:])
	if err == nil && id == 0 {
		id, err = b.number(`INSERT INTO lists (sum, body) VALUES (?, ?) RETURNING id`, sum[:], body.String())
	}
	if err == nil {
		remember(b.lists, sum, id)
	}
	return id, err
}

// advisory returns the ID under which the packages of a record go, 0 if a newer copy
// of the record is there already.
func (b *builder) advisory(r *record) (int64, error) {
	// Go's records have the year 1 before they are published; 0 is that there is none.
	at := max(1, r.modified.UnixMilli())
	tracker := 0
	if r.rank == rankTracker {
		tracker = 1
		if id, ok := b.tracked[r.id]; ok {
			return id, nil
		}
		id, err := b.number(`SELECT id FROM advisories WHERE name = ? AND tracker = 1`, r.id)
		if err != nil || id != 0 {
			return id, err
		}
	} else {
		modified, err := b.number(`SELECT modified FROM advisories WHERE name = ? AND tracker = 0`, r.id)
		if err != nil || modified > at {
			return 0, err
		}
		if modified != 0 {
			b.replaced = true
			if err := b.exec(`DELETE FROM advisories WHERE name = ? AND tracker = 0`, r.id); err != nil {
				return 0, err
			}
		}
	}
	b.nextID++
	id := b.nextID
	err := b.exec(`INSERT INTO advisories VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, id, r.id, tracker, r.rank,
		at, strings.Join(r.cves, " "), strings.Join(r.aliases, " "),
		r.severity.Score, r.severity.Vector, r.severity.Rating)
	if err == nil && tracker == 1 {
		remember(b.tracked, r.id, id)
	}
	return id, err
}

// add stores a record. Of two with one ID the one that was modified later stays;
// one that was withdrawn stays without packages.
func (b *builder) add(r *record) error {
	id, err := b.advisory(r)
	if err != nil || id == 0 {
		return err
	}
	for part := range r.packages {
		p := &r.packages[part]
		name, err := b.pkg(p.ecosystem, p.name)
		if err != nil {
			return err
		}
		list, err := b.list(p.ecosystem, p.versions)
		if err != nil {
			return err
		}
		err = b.exec(`INSERT OR REPLACE INTO affected VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, name, id, part,
			encodeSpans(p.spans), list, p.undetermined, p.severity.Score, p.severity.Vector, p.severity.Rating)
		if err != nil {
			return err
		}
	}
	if len(r.cves) != 1 || r.withdrawn || r.severity == (Severity{}) {
		return nil
	}
	// A score counts before words, then how near the record's name is to the CVE's.
	quality := 2
	if r.rank == rankSingle {
		quality = 1
	}
	if r.id == r.cves[0] {
		quality = 0
	}
	if r.severity.Score == 0 {
		quality += 3
	}
	return b.exec(`INSERT INTO cves VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET quality = excluded.quality,
		score = excluded.score, vector = excluded.vector, rating = excluded.rating
		WHERE excluded.quality < quality`, r.cves[0], quality, r.severity.Score, r.severity.Vector, r.severity.Rating)
}

// exploit marks a CVE as exploited.
func (b *builder) exploit(cve string) error {
	return b.exec(`INSERT INTO cves VALUES (?, 9, 0, '', '', 1) ON CONFLICT DO UPDATE SET exploited = 1`, cve)
}
