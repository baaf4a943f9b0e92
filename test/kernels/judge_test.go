package kernels

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

const toldByGuest = `SUITE probe
=== RUN   TestA
=== RUN   TestA/lsm
    a_test.go:7: it does not
--- FAIL: TestA (1.02s)
    --- FAIL: TestA/lsm (0.50s)
    --- SKIP: TestA/some_name (0.00s)
EXIT probe 1
SUITE inside
=== RUN   TestInsideTaken
    inside_test.go:99: TAKEN lsm bpf
--- PASS: TestInsideTaken (0.30s)
`

func TestParse(t *testing.T) {
	r, err := parse(strings.NewReader(strings.ReplaceAll(toldByGuest, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, one := range r.tests {
		got = append(got, one.name+" "+one.status)
	}
	want := []string{"probe/TestA FAIL", "probe/TestA/lsm FAIL", "probe/TestA/some_name SKIP", "inside/TestInsideTaken PASS"}
	if !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	if said := r.tests[1].said; !slices.Equal(said, []string{"    a_test.go:7: it does not"}) {
		t.Errorf("said %q", said)
	}
	if !maps.Equal(r.exits, map[string]string{"probe": "1"}) || r.word("TAKEN") != "lsm bpf" || r.word("CONFINED") != "" {
		t.Errorf("%v, %v", r.exits, r.words)
	}
	if got := r.summary(); got != "1 passed, 1 skipped, 2 failed" {
		t.Error(got)
	}
}

// asExpected is an outcome of which there is nothing to say.
func asExpected() outcome {
	o := outcome{
		want:    expectation{has: make(map[string]bool), taken: "lsm bpf", confined: "lsm bpf"},
		results: results{exits: make(map[string]string), words: map[string]string{"TAKEN": "lsm bpf", "CONFINED": "lsm bpf"}},
	}
	for _, s := range suites {
		o.results.exits[s.name] = "0"
	}
	for _, name := range parts {
		o.results.tests = append(o.results.tests, result{name: name, status: "PASS"})
	}
	for _, column := range columns {
		has := column != "procmap"
		o.want.has[column] = has
		for _, name := range judged[column] {
			status := "PASS"
			if !has {
				status = "SKIP"
			}
			o.results.tests = append(o.results.tests, result{name: name, status: status})
		}
	}
	return o
}

// set changes what came of a test, or adds one.
func (o *outcome) set(name, status string) {
	for i := range o.results.tests {
		if o.results.tests[i].name == name {
			o.results.tests[i].status = status
			return
		}
	}
	o.results.tests = append(o.results.tests, result{name: name, status: status})
}

func TestJudge(t *testing.T) {
	if faults := asExpected().faults(nil); len(faults) != 0 {
		t.Fatalf("as expected: %q", faults)
	}
	for _, test := range []struct {
		name   string
		change func(*outcome)
		tests  []string
		want   string
	}{
		{name: "a failure", change: func(o *outcome) { o.set("probe/TestX", "FAIL") }, want: "probe/TestX failed"},
		{name: "a skip that is not earned", change: func(o *outcome) { o.set("probe/TestX", "SKIP") }, want: "probe/TestX was skipped"},
		{name: "worse", change: func(o *outcome) { o.set("inside/TestInsideTier/lsm", "SKIP") }, want: "says that there is lsm"},
		{name: "better", change: func(o *outcome) { o.set("inside/TestInsideSource/procmap", "PASS") }, want: "got better"},
		{name: "another tier is taken", change: func(o *outcome) { o.results.words["TAKEN"] = "exec maps" }, want: `TAKEN is "exec maps"`},
		{name: "a suite that did not end", change: func(o *outcome) { delete(o.results.exits, "probe") }, want: "the tests of probe ended with"},
		{name: "a test that is missing", change: func(*outcome) {}, tests: []string{"probe/TestY"}, want: "of probe/TestY came nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := asExpected()
			test.change(&o)
			faults := o.faults(test.tests)
			if !slices.ContainsFunc(faults, func(fault string) bool { return strings.Contains(fault, test.want) }) {
				t.Errorf("%q; want %q", faults, test.want)
			}
		})
	}
}

func TestCells(t *testing.T) {
	o := asExpected()
	for column, want := range map[string]string{"lsm": "ok", "procmap": "-"} {
		if got := o.cell(column); got != want {
			t.Errorf("%s: %s; want %s", column, got, want)
		}
	}
	o.set("inside/TestInsideTier/lsm", "SKIP")
	o.set("inside/TestInsideTier/perf", "FAIL")
	o.set("inside/TestInsideSource/procmap", "PASS")
	for column, want := range map[string]string{"lsm": "WORSE", "perf": "FAIL", "procmap": "BETTER"} {
		if got := o.cell(column); got != want {
			t.Errorf("%s: %s; want %s", column, got, want)
		}
	}
}

func TestExpectations(t *testing.T) {
	header := "| kernel | " + strings.Join(columns, " | ") + " | taken | confined |\n"
	row := func(name, first string) string {
		return "| " + name + " | " + first + strings.Repeat(" | yes", len(columns)-1) + " | lsm bpf | perf maps |\n"
	}
	for _, test := range []struct {
		name, markdown, err string
	}{
		{"another table before", "| row | of |\n|---|---|\n| 5.10 | x |\n\n" + header + "|---|\n" + row("5.10", "no") + row("6.1", "yes") + "\n| after | it |\n", ""},
		{"no table", "nothing\n", "no table"},
		{"other columns", "| kernel | lsm |\n", "has the columns"},
		{"neither", header + row("5.10", "maybe"), "neither yes nor no"},
		{"twice", header + row("5.10", "no") + row("5.10", "no"), "two rows"},
		{"too few cells", header + "| 5.10 | no |\n", "cells"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := expectationsOf(test.markdown)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v; want %q", err, test.err)
				}
				return
			}
			if err != nil || len(got) != 2 || got["5.10"].has["lsm"] || !got["6.1"].has["lsm"] || got["6.1"].taken != "lsm bpf" || got["6.1"].confined != "perf maps" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
