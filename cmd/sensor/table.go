package main

// table lays out text in columns that fit a terminal: a column first takes its
// short form, then loses width, then goes. text/tabwriter can do neither that
// nor count columns of wide characters or of coloured text.
type table struct {
	columns []column
	rows    []row
}

// column describes one column. What gives way first stands furthest right.
type column struct {
	head string
	// min is the width below which the text is not cut; 0 means never cut.
	min int
	// drop says that the column may go when nothing else helps.
	drop bool
}

// row is one line of cells and what stands under it.
type row struct {
	cells []cell
	below func(*printer)
}

// cell is text in a style; short replaces it where room is scarce.
type cell struct {
	text, short string
	style       style
}

// add appends a row; cells that are not given are empty.
func (t *table) add(cells ...cell) {
	t.rows = append(t.rows, row{cells: append(cells, make([]cell, len(t.columns)-len(cells))...)})
}

// gap is the number of spaces between columns.
const gap = 2

// write prints the table; limit is the terminal's width, 0 for no limit.
func (t *table) write(p *printer, limit int) {
	texts, widths := t.fit(limit)
	for i, line := range texts {
		for j, text := range line {
			if widths[j] < 0 {
				continue
			}
			text = cut(text, widths[j])
			s := bold
			if i > 0 {
				s = t.rows[i-1].cells[j].style
			}
			p.w.WriteString(p.paint(s, text))
			if rest := after(widths, line, j); rest {
				p.w.WriteString(pad(widths[j] + gap - columns(text)))
			}
		}
		p.w.WriteByte('\n')
		if i > 0 && t.rows[i-1].below != nil {
			t.rows[i-1].below(p)
		}
	}
}

// after reports whether anything is printed right of column j.
func after(widths []int, line []string, j int) bool {
	for k := j + 1; k < len(line); k++ {
		if widths[k] >= 0 && line[k] != "" {
			return true
		}
	}
	return false
}

// fit returns the safe texts, heads first, and the width of each column, -1
// for one that is not shown.
func (t *table) fit(limit int) (texts [][]string, widths []int) {
	short := make([]bool, len(t.columns))
	gone := make([]bool, len(t.columns))
	texts, widths = t.measure(short, gone)
	if limit <= 0 {
		return texts, widths
	}
	for j := len(t.columns) - 1; j >= 0 && total(widths) > limit; j-- {
		short[j] = true
		texts, widths = t.measure(short, gone)
	}
	for drop := len(t.columns) - 1; ; drop-- {
		t.shrink(widths, limit)
		if total(widths) <= limit {
			return texts, widths
		}
		for drop >= 0 && !t.columns[drop].drop {
			drop--
		}
		if drop < 0 {
			return texts, widths
		}
		gone[drop] = true
		texts, widths = t.measure(short, gone)
	}
}

func (t *table) measure(short, gone []bool) (texts [][]string, widths []int) {
	texts = make([][]string, 0, len(t.rows)+1)
	widths = make([]int, len(t.columns))
	heads := make([]string, len(t.columns))
	for j, c := range t.columns {
		heads[j], widths[j] = c.head, columns(c.head)
	}
	texts = append(texts, heads)
	for _, r := range t.rows {
		line := make([]string, len(t.columns))
		for j, c := range r.cells {
			line[j] = escape(c.text)
			if short[j] && c.short != "" {
				line[j] = escape(c.short)
			}
			widths[j] = max(widths[j], columns(line[j]))
		}
		texts = append(texts, line)
	}
	for j := range widths {
		if gone[j] {
			widths[j] = -1
		}
	}
	return texts, widths
}

// shrink takes width from the widest column that can give, until all fits or
// none can.
func (t *table) shrink(widths []int, limit int) {
	for total(widths) > limit {
		widest := -1
		for j, w := range widths {
			if least := t.columns[j].min; least > 0 && w > least && (widest < 0 || w > widths[widest]) {
				widest = j
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

func total(widths []int) int {
	sum := -gap
	for _, w := range widths {
		if w >= 0 {
			sum += w + gap
		}
	}
	return sum
}
