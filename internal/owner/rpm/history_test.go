package rpm

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

// short is a change as a few words.
func short(changes []owner.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, strings.TrimSpace(c.Name+"."+c.Arch+" "+c.From+" > "+c.To))
	}
	return out
}

func checkHistory(t *testing.T, d *Database, want ...string) []owner.Change {
	t.Helper()
	got, err := d.History()
	if err != nil || !slices.Equal(short(got), want) {
		t.Errorf("history\n%s, %v, want\n%s", strings.Join(short(got), "\n"), err, strings.Join(want, "\n"))
	}
	for _, c := range got {
		if c.Begin.IsZero() || !c.End.IsZero() && !c.End.After(c.Begin) {
			t.Errorf("bounds of %+v", c)
		}
	}
	return got
}

// TestDNF reads what dnf and dnf 5 wrote.
func TestDNF(t *testing.T) {
	for _, name := range []string{"bookworm-dnf4", "sid-dnf5"} {
		t.Run(name, func(t *testing.T) { testDNF(t, open(t, unpack(t, name))) })
	}
}

func testDNF(t *testing.T, d *Database) {
	changes := checkHistory(t, d,
		"alpha.x86_64  > 1:1.0-1",
		"kernel-core.x86_64  > 6.1.1-1.fc40",
		"alpha.x86_64 1:1.0-1 > 1:2.0-1",
		"beta.noarch  > 2:4.0~rc1-1.el9",
		"alpha.x86_64 1:2.0-1 > 1:2.0-1",
		"alpha.x86_64 1:2.0-1 > 1:1.0-1",
		"alpha.x86_64 1:1.0-1 > 1:2.0-1",
		"beta.noarch 2:4.0~rc1-1.el9 >")
	owners, err := d.Owners([]string{"/usr/bin/alpha"})
	if o := owners["/usr/bin/alpha"]; err != nil || o.Package.Version != "1:2.0-1" {
		t.Errorf("owner %+v, %v", o, err)
	} else if _, ok, err := d.Checksum(o); !ok || err != nil {
		t.Errorf("checksum %v, %v", ok, err)
	}
	noProblems(t, d)
	// A process that started between the first two transactions.
	between := changes[0].End.Add(time.Second / 2)
	if v, ok := owner.LoadedVersion(changes, "alpha", "x86_64", "1:2.0-1", between, time.Time{}); v != "1:1.0-1" || !ok {
		t.Errorf("version %q, %v", v, ok)
	}
}

// fill makes a history. Rows are "TABLE|value|value…".
func fill(t *testing.T, dir, name, schema string, rows ...string) {
	t.Helper()
	execSQL(t, filepath.Join(dir, name), func(exec func(string, ...any)) {
		for s := range strings.SplitSeq(schema, ";") {
			exec(s)
		}
		for _, r := range rows {
			f := strings.Split(r, "|")
			args := make([]any, len(f)-1)
			for i, v := range f[1:] {
				args[i] = v
			}
			exec(`INSERT INTO `+f[0]+` VALUES (`+strings.Repeat("?,", len(args)-1)+`?)`, args...)
		}
	})
}

// The tables of dnf 5, without the columns that nobody asks for
// (libdnf5/transaction/db/sql/create.sql).
const dnf5Schema = `CREATE TABLE "trans" ("id" INTEGER, "dt_begin" INTEGER NOT NULL, "dt_end" INTEGER, "state_id" INTEGER, PRIMARY KEY("id" AUTOINCREMENT));
CREATE TABLE "pkg_name" ("id" INTEGER, "name" TEXT NOT NULL UNIQUE, PRIMARY KEY("id"));
CREATE TABLE "arch" ("id" INTEGER, "name" TEXT NOT NULL UNIQUE, PRIMARY KEY("id"));
CREATE TABLE "trans_item_action" ("id" INTEGER, "name" TEXT, PRIMARY KEY("id"));
INSERT INTO "trans_item_action" VALUES (1, 'Install'), (2, 'Upgrade'), (3, 'Downgrade'), (4, 'Reinstall'), (5, 'Remove'), (6, 'Replaced'), (7, 'Reason Change');
CREATE TABLE "trans_item" ("id" INTEGER, "trans_id" INTEGER, "item_id" INTEGER, "action_id" INTEGER NOT NULL, "state_id" INTEGER NOT NULL, PRIMARY KEY("id" AUTOINCREMENT));
CREATE TABLE "rpm" ("item_id" INTEGER NOT NULL UNIQUE, "name_id" INTEGER NOT NULL, "epoch" INTEGER NOT NULL, "version" TEXT NOT NULL, "release" TEXT NOT NULL, "arch_id" INTEGER NOT NULL)`

func packagesRoot(t *testing.T, packages ...made) string {
	t.Helper()
	dir := t.TempDir()
	var headers [][]byte
	for _, p := range packages {
		headers = append(headers, p.header())
	}
	write(t, dir, "var/lib/rpm/Packages.db", ndbOf(headers))
	return dir
}

// TestDNF5 holds what the fixture does not have.
func TestDNF5(t *testing.T) {
	dir := packagesRoot(t, made{name: "a", arch: "x86_64", version: "1:3-1", installed: 1_700_000_201})
	fill(t, dir, dnf5History, dnf5Schema,
		"pkg_name|1|a", "pkg_name|2|b", "pkg_name|3|c", "pkg_name|4|kernel-core", "arch|1|x86_64", "arch|2|noarch",
		"rpm|1|1|1|1|1|1", "rpm|2|1|1|2|1|1", "rpm|3|1|1|3|1|1", "rpm|4|2|0|1|1|2", "rpm|5|2|0|2|1|1", "rpm|6|3|0|1|1|1",
		"rpm|7|4|0|6.1|1|1", "rpm|8|4|0|6.2|1|1", "pkg_name|5|d", "pkg_name|6|e", "rpm|9|5|0|1|1|1", "rpm|10|6|0|1|1|1",
		"trans|1|1700000000|1700000010|2", "trans|2|1700000100|1700000110|2", "trans|3|1700000200|1700000210|2", "trans|4|1700000300||1",
		// a and b and a kernel come
		"trans_item|1|1|1|1|2", "trans_item|2|1|4|1|2", "trans_item|3|1|7|1|2", "trans_item|4|1|6|1|2",
		// a is upgraded, b changes its architecture, a second kernel comes and the first goes, c is obsoleted
		"trans_item|5|2|2|2|2", "trans_item|6|2|1|6|2", "trans_item|7|2|5|2|2", "trans_item|8|2|4|6|2",
		"trans_item|9|2|8|1|2", "trans_item|10|2|7|5|2", "trans_item|11|2|6|6|2",
		// a again, and an error with b
		"trans_item|12|3|3|2|2", "trans_item|13|3|2|6|2", "trans_item|14|3|5|5|3",
		// Started is done where the transaction is, and not known to be where it is not
		"trans_item|15|1|9|1|1", "trans_item|16|1|10|1|1", "trans_item|17|4|10|5|1")
	d := open(t, dir)
	checkHistory(t, d,
		"a.x86_64  > 1:1-1", "b.noarch  > 1-1", "c.x86_64  > 1-1", "d.x86_64  > 1-1",
		"a.x86_64 1:1-1 > 1:2-1", "b.x86_64 1-1 > 2-1", "b.noarch 1-1 >", "c.x86_64 1-1 >",
		"a.x86_64 1:2-1 > 1:3-1")
	noProblems(t, d)
}

// The tables of yum 3, without the columns that nobody asks for (yum/history.py).
const yumSchema = `CREATE TABLE trans_beg (tid INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, rpmdb_version TEXT NOT NULL, loginuid INTEGER);
CREATE TABLE trans_end (tid INTEGER PRIMARY KEY REFERENCES trans_beg, timestamp INTEGER NOT NULL, rpmdb_version TEXT NOT NULL, return_code INTEGER NOT NULL);
CREATE TABLE pkgtups (pkgtupid INTEGER PRIMARY KEY, name TEXT NOT NULL, arch TEXT NOT NULL, epoch TEXT NOT NULL, version TEXT NOT NULL, release TEXT NOT NULL, checksum TEXT);
CREATE TABLE trans_data_pkgs (tid INTEGER NOT NULL REFERENCES trans_beg, pkgtupid INTEGER NOT NULL REFERENCES pkgtups, done BOOL NOT NULL DEFAULT FALSE, state TEXT NOT NULL)`

func TestYum(t *testing.T) {
	dir := packagesRoot(t, made{name: "a", arch: "x86_64", version: "2-1", installed: 1_400_000_101})
	fill(t, dir, yumHistory+"history-2014-01-01.sqlite", yumSchema,
		"pkgtups|1|a|x86_64|0|1|1|", "pkgtups|2|a|x86_64|0|2|1|", "pkgtups|3|b|x86_64|0|2|1|",
		"trans_beg|1|1400000000|x|0", "trans_end|1|1400000005|x|0", "trans_beg|2|1400000100|x|0", "trans_end|2|1400000105|x|0", "trans_beg|3|1400000200|x|0",
		"trans_data_pkgs|1|1|TRUE|True-Install", "trans_data_pkgs|1|3|TRUE|Dep-Install",
		"trans_data_pkgs|2|2|TRUE|Update", "trans_data_pkgs|2|1|TRUE|Updated",
		"trans_data_pkgs|3|3|TRUE|Erase", "pkgtups|4|c|x86_64|0|2|1|", "trans_data_pkgs|1|4|TRUE|Install", "trans_data_pkgs|3|4|FALSE|Erase")
	d := open(t, dir)
	got := checkHistory(t, d, "a.x86_64  > 1-1", "b.x86_64  > 2-1", "a.x86_64 1-1 > 2-1", "b.x86_64 2-1 >")
	noProblems(t, d)
	if len(got) == 4 && (!got[3].End.IsZero() || got[2].End != time.Unix(1_400_000_106, 0).UTC()) {
		t.Errorf("ends of %+v", got)
	}
}

// TestUnloggedChange: what rpm installed by itself is not in the history, which then says
// nothing of what ran before.
func TestUnloggedChange(t *testing.T) {
	for installed, want := range map[uint32][]string{
		1_400_000_101: {"a.x86_64  > 1-1", "a.x86_64 1-1 > 2-1"},
		1_400_009_000: nil,                                       // later than what is logged
		1_300_000_000: {"a.x86_64  > 1-1", "a.x86_64 1-1 > 2-1"}, // SOURCE_DATE_EPOCH
	} {
		dir := packagesRoot(t, made{name: "a", arch: "x86_64", version: "2-1", installed: installed})
		fill(t, dir, yumHistory+"history-2014-01-01.sqlite", yumSchema,
			"pkgtups|1|a|x86_64|0|1|1|", "pkgtups|2|a|x86_64|0|2|1|",
			"trans_beg|1|1400000000|x|0", "trans_end|1|1400000005|x|0", "trans_beg|2|1400000100|x|0", "trans_end|2|1400000105|x|0",
			"trans_data_pkgs|1|1|TRUE|Install", "trans_data_pkgs|2|2|TRUE|Update", "trans_data_pkgs|2|1|TRUE|Updated")
		checkHistory(t, open(t, dir), want...)
	}
}

func TestHistoryDamage(t *testing.T) {
	dir := packagesRoot(t, made{name: "a", arch: "x86_64", version: "2-1", installed: 1})
	write(t, dir, dnf4History, []byte("no database"))
	d := open(t, dir)
	if got, err := d.History(); len(got) > 0 || err == nil {
		t.Errorf("history %v, %v", got, err)
	}
	checkTold(t, d.Problems(), dnf4History)

	dir = packagesRoot(t, made{name: "a", arch: "x86_64", version: "2-1", installed: 1})
	fill(t, dir, yumHistory+"history-2014-01-01.sqlite", yumSchema,
		"pkgtups|1|a|x86_64|0|1|1|", "pkgtups|2|a b|x86_64|0|2|1|", "pkgtups|3|a|x86_64|x|2|1|",
		"trans_beg|1|1400000000|x|0", "trans_end|1|1400000005|x|0", "trans_beg|2|-5|x|0",
		"trans_data_pkgs|1|1|TRUE|Install", "trans_data_pkgs|1|2|TRUE|Install", "trans_data_pkgs|2|1|TRUE|Install", "trans_data_pkgs|7|1|TRUE|Install")
	d = open(t, dir)
	checkHistory(t, d, "a.x86_64  > 1-1")
	checkTold(t, d.Problems(), yumHistory+"history-2014-01-01.sqlite")
}

const zyppLog = `# 2026-01-01 09:00:00 something
2026-01-01 10:00:00|command|root@h|'zypper' 'up'|
2026-01-01 10:00:05|install|a|1:1.0-1.1|x86_64|root@h|repo|sum|
# 2026-01-01 10:00:06 output
# of a script
2026-01-01 10:00:07|install|b|1-1|noarch||repo|sum|
2026-02-01 10:00:00|remove |b|1-1|noarch|root@h|
2026-02-01 10:00:09|install|a|1:1.1-1.1|x86_64|root@h|repo|sum|
nonsense
2026-02-01 10:00:10|install|c
2026-03-01 10:00:00|install|b|2-1|noarch||repo|sum|
2026-03-01 10:00:00|install|being writ`

func TestZypp(t *testing.T) {
	steps, err := parseZypp("f", strings.NewReader(zyppLog), clock.Clock{Zone: time.UTC})
	at := func(s string) time.Time {
		moment, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	want := []step{
		{owner.Change{Name: "a", Arch: "x86_64", To: "1:1.0-1.1", Begin: at("2026-01-01 10:00:00"), End: at("2026-01-01 10:00:06")}, false},
		{owner.Change{Name: "b", Arch: "noarch", To: "1-1", Begin: at("2026-01-01 10:00:05"), End: at("2026-01-01 10:00:08")}, false},
		{owner.Change{Name: "b", Arch: "noarch", From: "1-1", Begin: at("2026-02-01 10:00:00"), End: at("2026-02-01 10:00:01")}, true},
		{owner.Change{Name: "a", Arch: "x86_64", From: "1:1.0-1.1", To: "1:1.1-1.1", Begin: at("2026-02-01 10:00:00"), End: at("2026-02-01 10:00:10")}, true},
		{owner.Change{Name: "b", Arch: "noarch", To: "2-1", Begin: at("2026-03-01 10:00:00"), End: at("2026-03-01 10:00:01")}, true},
	}
	if !reflect.DeepEqual(steps, want) {
		t.Errorf("steps\n%+v, want\n%+v", steps, want)
	}
	if err == nil || err.Error() != "/f: offset "+strconv.Itoa(strings.Index(zyppLog, "nonsense"))+": "+errZyppLine.Error() {
		t.Errorf("error %v", err)
	}

	// What zypper wrote.
	f, err := os.Open("testdata/bookworm-zypper.history")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	steps, err = parseZypp("f", f, clock.Clock{Zone: time.UTC})
	var changes []owner.Change
	for _, s := range steps {
		changes = append(changes, s.Change)
	}
	if got := short(changes); err != nil || !slices.Equal(got, []string{"alpha.x86_64  > 1:1.0-1", "alpha.x86_64 1:1.0-1 > 1:2.0-1",
		"beta.noarch  > 2:4.0~rc1-1.el9", "beta.noarch 2:4.0~rc1-1.el9 >"}) {
		t.Errorf("steps %q, %v", got, err)
	}

	// The first line of a package says nothing of what was there before, so only a
	// package whose first line is its removal is told of.
	dir := packagesRoot(t, made{name: "a", arch: "x86_64", version: "1:1.1-1.1", installed: 1})
	write(t, dir, zyppHistory, []byte("2026-02-01 10:00:00|remove |b|1-1|noarch|root@h|\n2026-02-01 10:00:09|install|a|1:1.1-1.1|x86_64||r|s|\n"+
		"2026-03-01 10:00:00|install|b|2-1|noarch||repo|sum|\n"))
	d := open(t, dir)
	checkHistory(t, d, "b.noarch 1-1 >", "b.noarch  > 2-1")
	noProblems(t, d)
}
