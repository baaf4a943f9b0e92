package rpm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

const (
	dnf4History = "var/lib/dnf/history.sqlite"
	dnf5History = "usr/lib/sysimage/libdnf5/transaction_history.sqlite"
	yumHistory  = "var/lib/yum/history/" // history-DATE.sqlite
	zyppHistory = "var/log/zypp/history"
	// maxHistories bounds the yum histories that are read: it begins a new one when
	// it cannot read the old.
	maxHistories = 16
	// clockSlack is how far the time of installation that rpm records may lie behind
	// the end of the transaction that the front end records.
	clockSlack = time.Minute
)

// step is one Change as a front end logged it.
type step struct {
	owner.Change
	// fromKnown says that From is what was there before; else there may have been
	// any version.
	fromKnown bool
}

// History returns what the histories of dnf, dnf 5, yum and zypper tell of packages that
// changed, oldest first. None is returned for a root without them. The bounds of a change
// are those of the whole transaction, in whole seconds.
//
// What rpm did when it was called by itself is in no history, so all of a package is left
// out when its installed version was installed after the last change that was logged, and
// when a history does not say which version a change replaced: zypper's never does, so
// the first line of a package says nothing of what ran before it. The time of
// installation alone, which the database has for every package, does not say that either.
// Nor does a history tell which of several versions that are installed beside each other,
// as kernels are, a process ran.
//
// Damage is told by Problems and costs only what it hit; the error says that there are
// histories and not one could be read.
func (d *Database) History() ([]owner.Change, error) {
	d.historyOnce.Do(func() { d.changes, d.historyErr = d.readHistories() })
	return slices.Clone(d.changes), d.historyErr
}

func (d *Database) readHistories() ([]owner.Change, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var (
		steps []step
		read  int
		last  error
	)
	take := func(more []step, err error) {
		if absent(err) {
			return
		}
		if err != nil {
			last = err
			d.defects.Add(err)
		}
		if err == nil || len(more) > 0 {
			read++
		}
		steps = append(steps, more...)
	}
	take(d.readSQL(ctx, dnf4History, dnf4()))
	take(d.readSQL(ctx, dnf5History, dnf5()))
	names, err := d.yumHistories()
	if err != nil {
		take(nil, err)
	}
	for _, name := range names {
		take(d.readSQL(ctx, name, yum()))
	}
	take(d.readZypp(zyppHistory))
	if read == 0 && last != nil {
		return nil, fmt.Errorf("not one history could be read: %w", last)
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.Begin.Compare(b.Begin) })
	return d.sound(steps), nil
}

// yumHistories lists the histories of yum, oldest first, the newest of them.
func (d *Database) yumHistories() ([]string, error) {
	all, err := d.root.ReadDir(yumHistory, 1<<10)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, owner.Defect(yumHistory, -1, err)
	}
	var names []string
	for _, n := range all {
		if strings.HasPrefix(n, "history-") && strings.HasSuffix(n, ".sqlite") {
			names = append(names, yumHistory+n)
		}
	}
	slices.Sort(names)
	if len(names) > maxHistories {
		d.defects.Add(owner.Defect(yumHistory, -1, errTooMany))
		names = names[len(names)-maxHistories:]
	}
	return names, nil
}

type nameArch struct{ name, arch string }

// sound returns the changes of those packages of which the histories tell all that is
// needed to say what ran when.
func (d *Database) sound(steps []step) []owner.Change {
	doubtful := make(map[nameArch]bool)
	end := make(map[nameArch]time.Time) // of the last change; zero if it is not known
	there := make(map[nameArch]bool)    // as the steps so far left it
	for _, s := range steps {
		key := nameArch{s.Name, s.Arch}
		if !s.fromKnown || s.From == "" && there[key] {
			doubtful[key] = true
		}
		end[key], there[key] = s.End, s.To != ""
	}
	for i := range d.packages {
		r := &d.packages[i]
		key := nameArch{r.Name, r.Arch}
		if i > 0 && d.packages[i-1].Name == r.Name && d.packages[i-1].Arch == r.Arch {
			doubtful[key] = true
		}
		if e, ok := end[key]; ok && !e.IsZero() && r.installed.After(e.Add(clockSlack)) {
			doubtful[key] = true
		}
	}
	var out []owner.Change
	for _, s := range steps {
		if !doubtful[nameArch{s.Name, s.Arch}] {
			out = append(out, s.Change)
		}
	}
	return out
}

// readSQL reads one history in SQLite. The error wraps fs.ErrNotExist if there is none.
func (d *Database) readSQL(ctx context.Context, name string, l dialect) (steps []step, err error) {
	if _, err := d.root.Stat(name); err != nil {
		return nil, owner.Defect(name, -1, err)
	}
	s, err := openSQL(ctx, d.root, name, maxValue)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, damage := range s.damage {
		d.defects.Add(damage)
	}
	steps, err = l.read(ctx, s)
	if err != nil {
		return steps, owner.Defect(name, -1, err)
	}
	return steps, nil
}
