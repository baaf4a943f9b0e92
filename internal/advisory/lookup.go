package advisory

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxRows bounds the records of one package. A kernel has some 20,000. It is a text:
// SQLite would prepare a statement anew for each value of a parameter of LIMIT.
const maxRows = "500000"

// lookupQuery finds what the records say of one package, and for those about one
// CVE what is known of that. CROSS JOIN keeps SQLite to this order of the tables.
const lookupQuery = `SELECT v.name, v.rank, v.cves, v.aliases, v.score, v.vector, v.rating,
	a.ranges, a.list, a.undetermined, a.score, a.vector, a.rating,
	coalesce(c.score, 0), coalesce(c.vector, ''), coalesce(c.rating, ''), coalesce(c.exploited, 0)
	FROM packages p CROSS JOIN affected a ON a.package = p.id CROSS JOIN advisories v ON v.id = a.advisory
	LEFT JOIN cves c ON c.name = v.cves
	WHERE p.name = ? AND p.scope = ? LIMIT ` + maxRows

// Between returns what affects the loaded version and no longer the installed one,
// sorted by ID. Beside an error that is [ErrVersion] it may return what could be
// told; more may be missing. [ErrNotCovered] says that nothing is known.
func (x *Index) Between(ctx context.Context, q Query) ([]Vulnerability, error) {
	if q.Installed == "" {
		return nil, fmt.Errorf("%s %s: %w: none is installed", q.Ecosystem, q.Package, ErrVersion)
	}
	return x.find(ctx, q.Ecosystem, q.Package, q.Loaded, q.Installed)
}

// Affecting returns what affects a version, sorted by ID, with errors as of
// [Index.Between]. What has the mark Undetermined may affect it.
func (x *Index) Affecting(ctx context.Context, ecosystem, name, version string) ([]Vulnerability, error) {
	return x.find(ctx, ecosystem, name, version, "")
}

// claim is what one record says of one package and the versions that are asked for.
type claim struct {
	id           string
	rank         int
	cves         string
	aliases      string
	severity     Severity
	ranges       string
	list         int64
	undetermined bool

	loaded, installed bool
	fix               string
	err               error
}

// find answers Between, or Affecting if installed is empty.
func (x *Index) find(ctx context.Context, ecosystem, name, loaded, installed string) ([]Vulnerability, error) {
	parse := orderOf(ecosystem).remembering()
	if _, err := parse(loaded); err != nil {
		return nil, fmt.Errorf("%s %s: %w", ecosystem, name, err)
	}
	if installed != "" {
		if _, err := parse(installed); err != nil {
			return nil, fmt.Errorf("%s %s: %w", ecosystem, name, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The driver watches a context with a goroutine for each query. These are short.
	ctx, end := context.WithoutCancel(ctx), ctx
	var claims []*claim
	known := make(map[string]detail)
	covered := false
	for i, scope := range scopes(ecosystem, loaded, installed) {
		id, ok := x.scopes[scope]
		if !ok {
			continue
		}
		// A record for all releases of a distribution covers none of them.
		covered = covered || i == 0 || strings.Contains(scope, ":")
		more, err := x.claims(ctx, id, name, known)
		if err != nil {
			return nil, err
		}
		claims = append(claims, more...)
	}
	if !covered {
		return nil, fmt.Errorf("%w: %s", ErrNotCovered, ecosystem)
	}
	lists := make(map[int64][2]bool)
	for i, c := range claims {
		if i%256 == 0 && end.Err() != nil {
			return nil, end.Err()
		}
		if err := x.judge(ctx, c, ecosystem, parse, loaded, installed, lists); err != nil {
			return nil, err
		}
	}
	found, unsure := decide(claims, installed != "", parse)
	for i := range found {
		if err := x.describe(ctx, &found[i], known); err != nil {
			return nil, err
		}
	}
	list := make([]Vulnerability, len(found))
	for i, f := range found {
		list[i] = f.Vulnerability
	}
	if unsure != nil {
		return list, fmt.Errorf("%s %s: %w", ecosystem, name, unsure)
	}
	return list, nil
}

// detail is what is known of a CVE in itself.
type detail struct {
	severity  Severity
	exploited bool
}

// claims returns what the records of one scope say of a package, and adds to known
// what it learns beside.
func (x *Index) claims(ctx context.Context, scope int64, name string, known map[string]detail) ([]*claim, error) {
	rows, err := x.lookup.QueryContext(ctx, name, scope)
	if err != nil {
		return nil, wrap(ctx, "look up advisories", err)
	}
	defer rows.Close()
	var claims []*claim
	for rows.Next() {
		c := &claim{}
		var own Severity
		var d detail
		if err := rows.Scan(&c.id, &c.rank, &c.cves, &c.aliases, &c.severity.Score, &c.severity.Vector, &c.severity.Rating,
			&c.ranges, &c.list, &c.undetermined, &own.Score, &own.Vector, &own.Rating,
			&d.severity.Score, &d.severity.Vector, &d.severity.Rating, &d.exploited); err != nil {
			return nil, fmt.Errorf("look up advisories: %w: %w", ErrCorrupt, err)
		}
		if own != (Severity{}) {
			c.severity = own
		}
		if !strings.Contains(c.cves, " ") {
			known[c.cves] = d
		}
		claims = append(claims, c)
	}
	if strconv.Itoa(len(claims)) == maxRows {
		return nil, fmt.Errorf("look up advisories: there are %s for %.100q, or more", maxRows, name)
	}
	return claims, wrap(ctx, "look up advisories", rows.Err())
}

// judge evaluates a claim for both versions: its ranges, then its list of versions
// where those do not hold one. Its error is one of the index.
func (x *Index) judge(ctx context.Context, c *claim, ecosystem string, parse order, loaded, installed string,
	lists map[int64][2]bool) error {
	spans, err := decodeSpans(c.ranges)
	if err != nil {
		return err
	}
	var loadedErr, installedErr error
	c.loaded, c.fix, loadedErr = affected(spans, loaded, parse)
	if installed != "" {
		c.installed, _, installedErr = affected(spans, installed, parse)
	}
	if c.list != 0 && (!c.loaded || installed != "" && !c.installed) {
		listed, known := lists[c.list]
		if !known {
			var first, second int
			err := x.contents.QueryRowContext(ctx, "\n"+plain(ecosystem, loaded)+"\n",
				"\n"+plain(ecosystem, installed)+"\n", c.list).Scan(&first, &second)
			if err != nil {
				return fmt.Errorf("look up advisories: %w: %w", ErrCorrupt, err)
			}
			listed = [2]bool{first > 0, second > 0 && installed != ""}
			lists[c.list] = listed
		}
		if listed[0] {
			c.loaded, loadedErr = true, nil
		}
		if listed[1] {
			c.installed, installedErr = true, nil
		}
	}
	if err := errors.Join(loadedErr, installedErr); err != nil {
		c.err = fmt.Errorf("%s: %w", c.id, err)
	}
	return nil
}

// finding is a vulnerability with what is still to be chosen from.
type finding struct {
	Vulnerability
	own    Severity // of a record about this one alone
	shared Severity // of a record about several
}

// group is what records of the deciding rank say of one CVE.
type group struct {
	rank   int
	claims []*claim
}

// rankUndetermined comes after all that say something.
const rankUndetermined = 3

// decide puts the claims together by CVE. unsure is not nil if a claim that counts
// could not be evaluated.
func decide(claims []*claim, between bool, parse order) (found []finding, unsure error) {
	groups := make(map[string]*group)
	for _, c := range claims {
		if c.rank == rankBundle && c.err == nil && (!c.loaded || between && c.installed) {
			continue // It says nothing of what is asked, and outranks nothing.
		}
		rank := c.rank
		if c.undetermined {
			rank = rankUndetermined
		}
		for id := range strings.SplitSeq(c.cves, " ") {
			g := groups[id]
			if g == nil {
				g = &group{rank: rank}
				groups[id] = g
			}
			switch {
			case rank < g.rank:
				g.rank, g.claims = rank, []*claim{c}
			case rank == g.rank:
				g.claims = append(g.claims, c)
			}
		}
	}
	doubts := 0
	for id, g := range groups {
		f, in, err := g.decide(id, between, parse)
		if in {
			found = append(found, f)
		} else if err != nil {
			// Which of them is told first does not depend on the order of a map.
			if doubts++; unsure == nil || err.Error() < unsure.Error() {
				unsure = err
			}
		}
	}
	if doubts > 1 {
		unsure = fmt.Errorf("%w; and %d more", unsure, doubts-1)
	}
	slices.SortFunc(found, func(a, b finding) int { return compareIDs(a.ID, b.ID) })
	return found, unsure
}

func (g *group) decide(id string, between bool, parse order) (f finding, in bool, err error) {
	f.ID = id
	f.Undetermined = g.rank == rankUndetermined
	still := false
	for _, c := range g.claims {
		if c.err != nil {
			err = c.err
			continue
		}
		if g.rank != rankBundle {
			still = still || c.installed
		}
		if !c.loaded || between && c.installed {
			continue
		}
		in = true
		f.add(c, parse)
	}
	if between && (still || f.Undetermined) {
		// Undetermined stays so whatever the version.
		return f, false, nil
	}
	if between && in && err != nil && g.rank != rankBundle {
		// The claim that cannot be told could say that it still is affected.
		return f, false, err
	}
	return f, in, err
}

func (f *finding) add(c *claim, parse order) {
	if c.id != f.ID && !slices.Contains(f.Advisories, c.id) {
		f.Advisories = append(f.Advisories, c.id)
		slices.Sort(f.Advisories)
	}
	for alias := range strings.FieldsSeq(c.aliases) {
		if alias != f.ID && !slices.Contains(f.Aliases, alias) {
			f.Aliases = append(f.Aliases, alias)
			slices.Sort(f.Aliases)
		}
	}
	if c.fix != "" && (f.Fixed == "" || older(c.fix, f.Fixed, parse)) {
		f.Fixed = c.fix
	}
	if strings.Contains(c.cves, " ") {
		f.shared = better(f.shared, c.severity)
	} else {
		f.own = better(f.own, c.severity)
	}
}

// older tells whether a is known to be older than b.
func older(a, b string, parse order) bool {
	v, err := parse(a)
	w, err2 := parse(b)
	if err != nil || err2 != nil {
		return false
	}
	n, err := v.compare(w)
	return err == nil && n < 0
}

// better prefers a score, then a rating, then a vector; of two the worse.
func better(a, b Severity) Severity {
	worth := func(s Severity) int {
		return slices.Index([]string{"", "low", "medium", "high", "critical"}, s.Rating)
	}
	if n := cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(worth(b), worth(a)), cmp.Compare(b.Vector, a.Vector)); n > 0 {
		return b
	}
	return a
}

// describe chooses the severity and tells whether it is exploited: what a record
// says of this one, what is known of the CVE in itself, what an advisory says of
// all that it is about. A score counts before words.
func (x *Index) describe(ctx context.Context, f *finding, known map[string]detail) error {
	d, ok := known[f.ID]
	if !ok {
		err := x.detail.QueryRowContext(ctx, f.ID).Scan(&d.severity.Score, &d.severity.Vector, &d.severity.Rating, &d.exploited)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return wrap(ctx, "look up advisories", err)
		}
	}
	f.Exploited = d.exploited
	candidates := []Severity{f.own, d.severity, f.shared}
	for _, fits := range []func(Severity) bool{
		func(s Severity) bool { return s.Score > 0 },
		func(s Severity) bool { return s.Rating != "" },
		func(s Severity) bool { return s != Severity{} },
	} {
		if i := slices.IndexFunc(candidates, fits); i >= 0 {
			f.Severity = candidates[i]
			return nil
		}
	}
	return nil
}

// compareIDs sorts the numbers within IDs as numbers.
func compareIDs(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		m, n := digits(x), digits(y)
		if m > 0 && n > 0 {
			p, q := strings.TrimLeft(x[:m], "0"), strings.TrimLeft(y[:n], "0")
			if c := cmp.Or(cmp.Compare(len(p), len(q)), cmp.Compare(p, q)); c != 0 {
				return c
			}
			x, y = x[m:], y[n:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}
