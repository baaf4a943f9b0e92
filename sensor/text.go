package sensor

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// text makes a string from a target fit for JSON, which knows only valid UTF-8:
// each byte that is not part of it becomes \xNN, so that nothing is lost.
// Control characters stay; outputs for people escape them.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}
