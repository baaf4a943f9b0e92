package main

import (
	"fmt"
	"strings"
)

// shellCommand writes an argument vector as a line that a POSIX shell reads as
// exactly that vector, and that is safe to show.
func shellCommand(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = shellQuote(arg)
	}
	return strings.Join(words, " ")
}

// shellQuote quotes one word. A word that cannot be shown as it is takes the
// form $'…' of POSIX.1-2024 (XCU 2.2.4), with an octal escape for each byte
// of what cannot be shown.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, plainWord) == "" {
		return s
	}
	if escape(s) == s {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' || c == '\'':
			b.WriteByte('\\')
			b.WriteByte(c)
		case ' ' <= c && c <= '~':
			b.WriteByte(c)
		default:
			// Octal, of three digits always: what follows a hexadecimal
			// escape could be taken for more of its digits.
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// plainWord are the characters that no shell treats specially inside a word.
const plainWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+:,./-"
