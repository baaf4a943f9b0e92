package rpm

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	// maxRows bounds the rows of one table of a history, and maxTexts what is in them,
	// in bytes.
	maxRows  = 1 << 20
	maxTexts = 64 << 20
	// maxValue bounds a value in a history, in bytes: texts of scripts are in other
	// tables.
	maxValue = 1 << 20
)

// deed is what a transaction did with one package.
type deed int

const (
	nothing   deed = iota
	installed      // there was no other version that it replaced
	replacing      // it took the place of another version of itself, or of the same
	replaced       // it was replaced by another version of itself, or by the same
	removed
)

// dialect is how one front end writes its history.
type dialect struct {
	tables []string
	// transactions yields id, begin and end in seconds since 1970; items yields
	// transaction, package, action and whether it was done for certain of everything
	// that may have been done; packages yields id, name, epoch, version, release and
	// architecture. Each ends where LIMIT goes.
	transactions, items, packages string
	deeds                         map[string]deed // by action
}

// dnf4 is the history of dnf 4 (libdnf's libdnf/transaction/sql/create.sql, Types.hpp:
// TransactionItemAction; of TransactionItemState 1 is done and 2 an error, and 0 is what
// a transaction leaves that did not finish).
func dnf4() dialect {
	return dialect{
		tables:       []string{"trans", "trans_item", "rpm"},
		transactions: `SELECT id, dt_begin, dt_end FROM trans NOT INDEXED`,
		items:        `SELECT trans_id, item_id, action, state = 1 FROM trans_item NOT INDEXED WHERE state <> 2`,
		packages:     `SELECT item_id, name, epoch, version, release, arch FROM rpm NOT INDEXED`,
		deeds: map[string]deed{"1": installed, "2": replacing, "3": replaced, "4": installed, "5": removed, "6": replacing,
			"7": replaced, "8": removed, "9": replacing, "10": replaced},
	}
}

// dnf5 is the history of dnf 5 (libdnf5/transaction/db/sql/create.sql; states are 1
// Started, 2 Ok and 3 Error). Version 5.4 leaves the items of a transaction at Started even
// when the transaction is Ok.
func dnf5() dialect {
	return dialect{
		tables:       []string{"trans", "trans_item", "trans_item_action", "rpm", "pkg_name", "arch"},
		transactions: `SELECT id, dt_begin, dt_end FROM trans NOT INDEXED`,
		items: `SELECT trans_id, item_id, (SELECT a.name FROM trans_item_action a WHERE a.id = action_id),
			state_id = 2 OR (SELECT t.state_id FROM trans t WHERE t.id = trans_id) = 2
			FROM trans_item NOT INDEXED WHERE state_id <> 3`,
		packages: `SELECT item_id, (SELECT n.name FROM pkg_name n WHERE n.id = name_id), epoch, version, release,
			(SELECT a.name FROM arch a WHERE a.id = arch_id) FROM rpm NOT INDEXED`,
		// What was replaced may have been replaced by another package: then none
		// takes its place.
		deeds: map[string]deed{"Install": installed, "Upgrade": replacing, "Downgrade": replacing, "Reinstall": replacing,
			"Remove": removed, "Replaced": replaced},
	}
}

// yum is the history of yum 3 (yum/history.py, _create_db_file; the states are those of
// yum/rpmtrans.py and yum/constants.py).
func yum() dialect {
	return dialect{
		tables: []string{"trans_beg", "trans_end", "trans_data_pkgs", "pkgtups"},
		transactions: `SELECT tid, timestamp, (SELECT e.timestamp FROM trans_end e WHERE e.tid = trans_beg.tid)
			FROM trans_beg NOT INDEXED`,
		items:    `SELECT tid, pkgtupid, state, done IN ('TRUE', 1) FROM trans_data_pkgs NOT INDEXED`,
		packages: `SELECT pkgtupid, name, epoch, version, release, arch FROM pkgtups NOT INDEXED`,
		deeds: map[string]deed{"Install": installed, "True-Install": installed, "Dep-Install": installed, "Obsoleting": installed,
			"Update": replacing, "Downgrade": replacing, "Reinstall": replacing, "Updated": replaced, "Downgraded": replaced,
			"Erase": removed, "Obsoleted": removed},
	}
}

var (
	errRow  = errors.New("rows that make no sense are left out")
	errRows = errors.New("table has more rows than are looked at")
)

// transactionLog is one run of a package manager as it was logged.
type transactionLog struct {
	id         int64
	begin, end time.Time
	items      []item
}

// item is what a transaction did with one version of a package.
type item struct {
	name, arch, version string
	deed                deed
	unsure              bool // whether it was done
}

// read returns what a history tells. The error may be one that hides only some of it.
func (l dialect) read(ctx context.Context, s *sqlFile) ([]step, error) {
	for _, t := range l.tables {
		if err := s.plain(ctx, t); err != nil {
			return nil, err
		}
	}
	bad := 0
	packages := make(map[int64]item)
	err := s.query(ctx, l.packages, 6, func(v []string) {
		id, err := strconv.ParseInt(v[0], 10, 64)
		epoch, errEpoch := strconv.ParseUint(v[2], 10, 32)
		if err != nil || errEpoch != nil || !validWord(v[1]) || !validWord(v[3]) || !validWord(v[4]) || !validWord(v[5]) {
			bad++
			return
		}
		packages[id] = item{name: v[1], arch: v[5], version: versionOf(epoch, v[3], v[4])}
	})
	if err != nil {
		return nil, err
	}
	logs := make(map[int64]*transactionLog)
	err = s.query(ctx, l.transactions, 3, func(v []string) {
		id, err := strconv.ParseInt(v[0], 10, 64)
		begin, ok := moment(v[1])
		if err != nil || !ok {
			bad++
			return
		}
		t := &transactionLog{id: id, begin: begin}
		if end, ok := moment(v[2]); ok {
			t.end = end.Add(time.Second) // whole seconds, rounded down
		}
		logs[id] = t
	})
	if err != nil {
		return nil, err
	}
	err = s.query(ctx, l.items, 4, func(v []string) {
		tid, _ := strconv.ParseInt(v[0], 10, 64)
		pid, _ := strconv.ParseInt(v[1], 10, 64)
		t, p := logs[tid], packages[pid]
		p.deed, p.unsure = l.deeds[v[2]], v[3] != "1"
		if t == nil {
			bad++
		} else if p.name != "" && p.deed != nothing { // a group or a reason else
			t.items = append(t.items, p)
		}
	})
	if err != nil {
		return nil, err
	}
	// Several may begin in the same second.
	inOrder := slices.SortedFunc(maps.Values(logs), func(a, b *transactionLog) int {
		return cmp.Or(a.begin.Compare(b.begin), cmp.Compare(a.id, b.id))
	})
	var steps []step
	for _, t := range inOrder {
		steps = append(steps, t.steps()...)
	}
	if bad > 0 {
		return steps, fmt.Errorf("%w: %d", errRow, bad)
	}
	return steps, nil
}

// moment parses seconds since 1970, from the time on when there was an rpm.
func moment(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 800_000_000 || n > 1<<34 {
		return time.Time{}, false
	}
	return time.Unix(n, 0).UTC(), true
}

// steps pairs what came in a transaction with what went.
func (t *transactionLog) steps() []step {
	var out []step
	gone := make(map[nameArch][]string)   // versions that were replaced
	byName := make(map[string][]nameArch) // of those
	seen := make(map[item]bool)
	items := slices.DeleteFunc(t.items, func(i item) bool {
		twice := seen[i]
		seen[i] = true
		return twice
	})
	for _, i := range items {
		if i.deed == replaced && !i.unsure {
			key := nameArch{i.name, i.arch}
			gone[key] = append(gone[key], i.version)
			byName[i.name] = append(byName[i.name], key)
		}
	}
	used := make(map[nameArch]bool)
	change := func(i item, from, to string, known bool) {
		out = append(out, step{owner.Change{Name: i.name, Arch: i.arch, From: from, To: to, Begin: t.begin, End: t.end}, known})
	}
	for _, i := range items {
		if i.unsure {
			change(i, "", i.version, false)
			continue
		}
		switch i.deed {
		case installed:
			change(i, "", i.version, true)
		case removed:
			change(i, i.version, "", true)
		case replacing:
			key := nameArch{i.name, i.arch}
			if len(gone[key]) == 0 && len(byName[i.name]) == 1 {
				key = byName[i.name][0] // the architecture changed
			}
			if old := gone[key]; len(old) == 1 && !used[key] {
				used[key] = true
				change(i, old[0], i.version, true)
				if key.arch != i.arch {
					change(item{name: key.name, arch: key.arch}, old[0], "", true)
				}
				continue
			}
			change(i, "", i.version, false)
		}
	}
	for _, i := range items {
		if key := (nameArch{i.name, i.arch}); i.deed == replaced && !i.unsure && !used[key] {
			change(i, i.version, "", true) // by another package
		}
	}
	return out
}

// query runs a query of so many columns and hands over each row as texts; NULL is empty.
func (s *sqlFile) query(ctx context.Context, query string, columns int, visit func([]string)) (err error) {
	defer caught(&err)
	rows, err := s.conn.QueryContext(ctx, query+" LIMIT "+strconv.Itoa(maxRows))
	if err != nil {
		return err
	}
	defer rows.Close()
	raw, into, texts := make([]sql.RawBytes, columns), make([]any, columns), make([]string, columns)
	for i := range raw {
		into[i] = &raw[i]
	}
	n, size := 0, 0
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, b := range raw {
			texts[i] = string(b[:min(len(b), maxWord+1)])
			size += len(texts[i])
		}
		if size > maxTexts {
			return errRows
		}
		visit(texts)
		n++
	}
	if n == maxRows {
		return errRows
	}
	return rows.Err()
}
