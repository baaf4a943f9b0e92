package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"e\u0301e\u0301x", 2, "e\u0301…"},
		{"abc", 1, "…"},
	} {
		got := cut(c.in, c.n)
		if got != c.want || columns(got) > c.n {
			t.Errorf("cut(%q, %d) = %q of %d columns, want %q", c.in, c.n, got, columns(got), c.want)
		}
	}
}

func testTable() *table {
	t := &table{columns: []column{
		{head: "STATE"},
		{head: "NAME", min: 6},
		{head: "SINCE", drop: true},
		{head: "REMEDY", min: 6, drop: true},
	}}
	t.add(cell{text: "stale", style: yellow}, cell{text: "日本語.service"}, cell{text: "9d (2026-11-12)", short: "9d"}, cell{text: "systemctl restart x", short: "restart"})
	t.add(cell{text: "stale"}, cell{text: "a"})
	return t
}

func TestTableFits(t *testing.T) {
	for _, c := range []struct {
		limit int
		want  string
	}{
		{0, `
STATE  NAME            SINCE            REMEDY
stale  日本語.service  9d (2026-11-12)  systemctl restart x
stale  a
`},
		{50, `
STATE  NAME            SINCE            REMEDY
stale  日本語.service  9d (2026-11-12)  restart
stale  a
`},
		{40, `
STATE  NAME            SINCE  REMEDY
stale  日本語.service  9d     restart
stale  a
`},
		{30, `
STATE  NAME     SINCE  REMEDY
stale  日本語…  9d     restart
stale  a
`},
		{20, `
STATE  NAME    SINCE
stale  日本…   9d
stale  a
`},
		{13, `
STATE  NAME
stale  日本…
stale  a
`},
	} {
		var b bytes.Buffer
		p := newPrinter(&b, false)
		testTable().write(p, c.limit)
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		if got, want := b.String(), c.want[1:]; got != want {
			t.Errorf("limit %d:\n%swant\n%s", c.limit, got, want)
		}
		for line := range strings.Lines(b.String()) {
			if n := columns(strings.TrimSuffix(line, "\n")); c.limit > 0 && n > c.limit {
				t.Errorf("limit %d: %q has %d columns", c.limit, line, n)
			}
		}
	}
}

// Colours take no room.
func TestTableColour(t *testing.T) {
	var plainText, coloured bytes.Buffer
	for out, color := range map[*bytes.Buffer]bool{&plainText: false, &coloured: true} {
		p := newPrinter(out, color)
		testTable().write(p, 30)
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(coloured.String(), "\x1b[33mstale\x1b[0m  日本語") {
		t.Errorf("no colour: %q", coloured.String())
	}
	stripped := strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[33m", "").Replace(coloured.String())
	if stripped != plainText.String() {
		t.Errorf("%q, want %q", stripped, plainText.String())
	}
}

func TestPrinterEscapes(t *testing.T) {
	var b bytes.Buffer
	p := newPrinter(&b, true)
	p.printf("%s %v %s %d\n", "a\nb", error(exitStatus(3)), styled{red, "\x1b"}, 7)
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	if want := "a\\x0ab exit status 3 \x1b[1;31m\\x1b\x1b[0m 7\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
