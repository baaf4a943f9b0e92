package kernels

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// results are what a guest told.
type results struct {
	tests []result
	exits map[string]string // exit status by suite
	words map[string]string // TAKEN and CONFINED
}

// result is one test, or one part of a test.
type result struct {
	name   string // SUITE/TEST/SUBTEST
	status string // PASS, FAIL or SKIP
	said   []string
}

var (
	endOfTest = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \([0-9.]+s\)$`)
	beginning = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S+)$`)
	word      = regexp.MustCompile(`^ +\w+_test\.go:\d+: (TAKEN|CONFINED) (\S+) (\S+)$`)
)

// parse reads what "go test -v" of several suites wrote, each between a line SUITE and
// one EXIT.
func parse(from io.Reader) (results, error) {
	r := results{exits: make(map[string]string), words: make(map[string]string)}
	said := make(map[string][]string)
	var suite, test string
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if name, ok := strings.CutPrefix(line, "SUITE "); ok {
			suite, test = name, ""
			continue
		}
		if rest, ok := strings.CutPrefix(line, "EXIT "); ok {
			name, status, _ := strings.Cut(rest, " ")
			r.exits[name] = status
			suite = ""
			continue
		}
		if m := beginning.FindStringSubmatch(line); m != nil {
			test = suite + "/" + m[1]
			continue
		}
		if m := endOfTest.FindStringSubmatch(line); m != nil {
			name := suite + "/" + m[2]
			r.tests = append(r.tests, result{name, m[1], said[name]})
			continue
		}
		if m := word.FindStringSubmatch(line); m != nil {
			r.words[m[1]] = m[2] + " " + m[3]
		}
		said[test] = append(said[test], line)
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("what the guest told: %w", err)
	}
	return r, nil
}

// status is what came of a test; empty when nothing was told.
func (r results) status(name string) string {
	for _, one := range r.tests {
		if one.name == name {
			return one.status
		}
	}
	return ""
}

func (r results) word(name string) string { return r.words[name] }

func (r results) summary() string {
	count := make(map[string]int)
	for _, one := range r.tests {
		count[one.status]++
	}
	return fmt.Sprintf("%d passed, %d skipped, %d failed", count["PASS"], count["SKIP"], count["FAIL"])
}

// columns are the tiers and sources of mappings that a kernel may have.
var columns = slices.Concat(tiers, []string{"bpf", "procmap", "maps"})

// judged are the tests that a kernel skips that does not have what the column says, and
// that it runs if it has. The first is what the table shows.
var judged = map[string][]string{
	"lsm":     {"inside/TestInsideTier/lsm", "probe/TestClose/lsm"},
	"fentry":  {"inside/TestInsideTier/fentry", "probe/TestClose/fentry"},
	"kprobe":  {"inside/TestInsideTier/kprobe", "probe/TestClose/kprobe"},
	"perf":    {"inside/TestInsideTier/perf", "probe/TestClose/perf"},
	"syscall": {"inside/TestInsideTier/syscall", "probe/TestClose/syscall"},
	"exec":    {"inside/TestInsideTier/exec", "probe/TestClose/exec"},
	"bpf": {
		"inside/TestInsideSource/bpf", "probe/TestSource/bpf", "probe/TestSourcesAgree/bpf", "probe/TestSourcesAgreeOnHost/bpf",
		"probe/TestWho", "probe/TestReadTwice", "probe/TestReadProcesses", "probe/TestReadNoProcesses",
	},
	"procmap": {"inside/TestInsideSource/procmap", "probe/TestSource/procmap", "probe/TestSourcesAgree/procmap", "probe/TestSourcesAgreeOnHost/procmap"},
	"maps":    {"inside/TestInsideSource/maps", "probe/TestSource/maps"},
}

// parts of tests that are there only where the file systems are.
var parts = []string{"probe/TestIdentity/overlay", "probe/TestIdentity/btrfs", "probe/TestIdentity/overlay_on_btrfs"}

// cell is what the printed table says of a column.
func (o outcome) cell(column string) string {
	switch status, want := o.results.status(judged[column][0]), o.want.has[column]; {
	case status == "PASS" && want:
		return "ok"
	case status == "SKIP" && !want:
		return "-"
	case status == "PASS":
		return "BETTER"
	case status == "SKIP":
		return "WORSE"
	case status == "":
		return "NOTHING"
	default:
		return status
	}
}

// faults hold the results against what is expected: every test has one, none failed,
// and those were skipped, and only those, that cannot be on this kernel.
func (o outcome) faults(tests []string) []string {
	var list []string
	fault := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	mayNot := make(map[string]string) // the column by the test to be skipped
	for _, column := range columns {
		for _, name := range judged[column] {
			if !o.row.runs(name) {
				continue
			}
			if status := o.results.status(name); o.want.has[column] && status != "PASS" {
				fault("docs/kernels.md says that there is %s, and of %s came %q", column, name, status)
			} else if !o.want.has[column] {
				mayNot[name] = column
			}
		}
	}
	for _, one := range o.results.tests {
		column, expected := mayNot[one.name]
		switch {
		case one.status == "FAIL":
			fault("%s failed:\n%s", one.name, strings.Join(one.said, "\n"))
		case one.status == "SKIP" && !expected:
			fault("%s was skipped, which no row of docs/kernels.md allows:\n%s", one.name, strings.Join(one.said, "\n"))
		case one.status == "PASS" && expected:
			fault("%s passed although docs/kernels.md says that there is no %s: the kernel got better", one.name, column)
		}
	}
	for _, name := range slices.Concat(tests, parts) {
		if o.row.runs(name) && o.results.status(name) == "" {
			fault("of %s came nothing", name)
		}
	}
	for _, s := range suites {
		if status := o.results.exits[s.name]; o.row.runs(s.name) && status != "0" {
			fault("the tests of %s ended with %q", s.name, status)
		}
	}
	for name, want := range map[string]string{"TAKEN": o.want.taken, "CONFINED": o.want.confined} {
		if got := o.results.word(name); got != want {
			fault("%s is %q, docs/kernels.md says %q", name, got, want)
		}
	}
	return list
}
