package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes a string from a process, a package or a file safe to show: what
// could drive a terminal, reorder or hide text, or break a line is spelled out.
// ASCII control characters and bytes that are not UTF-8 become \xNN; other
// control, format (bidirectional overrides, zero-width), separator and
// unassigned characters become \uNNNN or \UNNNNNNNN. Anything else stays,
// backslashes too, because unit names hold them (\x2d, systemd.unit(5)): where
// it matters which of the two was meant, JSON tells.
func escape(s string) string {
	i := 0
	for i < len(s) && ' ' <= s[i] && s[i] <= '~' {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteString(s[i : i+n])
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// escapingWriter escapes each line written to it. A logger that writes one
// entry a call cannot be made to write a second line or to colour the first.
type escapingWriter struct{ w io.Writer }

func (e escapingWriter) Write(p []byte) (int, error) {
	line, _ := strings.CutSuffix(string(p), "\n")
	// Tabs come from the logger's own columns.
	parts := strings.Split(line, "\t")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	if _, err := io.WriteString(e.w, strings.Join(parts, "\t")+"\n"); err != nil {
		return 0, err
	}
	return len(p), nil
}
