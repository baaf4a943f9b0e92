package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// style is an SGR parameter string (ECMA-48, 8.3.117).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// styled is text with a style, for printer.
type styled struct {
	style style
	text  string
}

// printer writes text for people. Every argument is escaped, so that only the
// format strings of this program decide where a line ends and what is coloured.
// The first write error is kept.
type printer struct {
	w     *bufio.Writer
	color bool
}

func newPrinter(w io.Writer, color bool) *printer {
	return &printer{w: bufio.NewWriter(w), color: color}
}

// printf formats like fmt.Printf, with arguments that are safe to show.
func (p *printer) printf(format string, args ...any) {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case int, int64, float64:
			safe[i] = v
		case styled:
			safe[i] = p.paint(v.style, escape(v.text))
		default:
			safe[i] = escape(fmt.Sprint(v))
		}
	}
	fmt.Fprintf(p.w, format, safe...)
}

// paint colours text that is already safe.
func (p *printer) paint(s style, text string) string {
	if !p.color || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (p *printer) flush() error { return p.w.Flush() }

// columns is how many terminal columns safe text takes (UAX #11: wide and
// fullwidth characters two, combining marks none).
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if ' ' <= r && r <= '~' {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens safe text to at most n columns, n ≥ 1.
func cut(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	used := 0
	for i, r := range s {
		w := runeColumns(r)
		if used+w > n-1 {
			return s[:i] + "…"
		}
		used += w
	}
	return s
}

func pad(n int) string { return strings.Repeat(" ", max(n, 0)) }
