package kernels

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// expectation is a row of the table in docs/kernels.md.
type expectation struct {
	has map[string]bool // by column
	// Tier and source that are taken where nothing is asked for, and where the sensor
	// has only the capabilities that it keeps.
	taken, confined string
}

// readExpectations reads the table, so that what people read is what is tested.
func readExpectations(t *testing.T) map[string]expectation {
	t.Helper()
	content, err := os.ReadFile("../../docs/kernels.md")
	must(t, err)
	rows, err := expectationsOf(string(content))
	if err != nil {
		t.Fatalf("docs/kernels.md: %v", err)
	}
	return rows
}

// expectationsOf reads the first table whose first column is called kernel.
func expectationsOf(markdown string) (map[string]expectation, error) {
	header := slices.Concat([]string{"kernel"}, columns, []string{"taken", "confined"})
	rows := make(map[string]expectation)
	inTable := false
	for line := range strings.Lines(markdown) {
		cells := cellsOf(line)
		switch {
		case len(cells) == 0 && inTable:
			return rows, nil
		case len(cells) == 0 || strings.HasPrefix(cells[0], "---"):
		case cells[0] == "kernel":
			if !slices.Equal(cells, header) {
				return nil, fmt.Errorf("the table has the columns %q, not %q", cells, header)
			}
			inTable = true
		case inTable:
			e, err := expectationOf(cells, header)
			if err != nil {
				return nil, err
			}
			if _, twice := rows[cells[0]]; twice {
				return nil, fmt.Errorf("%s has two rows", cells[0])
			}
			rows[cells[0]] = e
		}
	}
	if !inTable {
		return nil, fmt.Errorf("no table has the columns %q", header)
	}
	return rows, nil
}

func expectationOf(cells, header []string) (expectation, error) {
	if len(cells) != len(header) {
		return expectation{}, fmt.Errorf("%s has %d cells, not %d", cells[0], len(cells), len(header))
	}
	n := len(columns)
	e := expectation{has: make(map[string]bool), taken: cells[n+1], confined: cells[n+2]}
	for i, column := range columns {
		switch cells[i+1] {
		case "yes":
			e.has[column] = true
		case "no":
			e.has[column] = false
		default:
			return e, fmt.Errorf("%s, %s: %q is neither yes nor no", cells[0], column, cells[i+1])
		}
	}
	return e, nil
}

// cellsOf are the cells of a line of a table; none of another line.
func cellsOf(line string) []string {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") || len(line) < 2 {
		return nil
	}
	var cells []string
	for cell := range strings.SplitSeq(line[1:len(line)-1], "|") {
		cells = append(cells, strings.TrimSpace(cell))
	}
	return cells
}
