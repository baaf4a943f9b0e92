package filter

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxPattern is the longest pattern accepted, in bytes: PATH_MAX of Linux.
const maxPattern = 4096

// Glob is a pattern over names. "*" stands for any characters but "/", "**"
// for any at all, "?" for one but "/", "[a-z]" and "[!a-z]" for one of a set,
// and "\" takes the next character as it is. A trailing "/" stands for
// everything below. The whole name must match.
type Glob struct {
	text string
	re   *regexp.Regexp
}

// ParseGlob compiles a pattern. A match costs time linear in the name, whatever
// the pattern, because names come from strangers.
func ParseGlob(pattern string) (Glob, error) {
	switch {
	case pattern == "":
		return Glob{}, fmt.Errorf("empty pattern")
	case len(pattern) > maxPattern:
		return Glob{}, fmt.Errorf("pattern is longer than %d bytes", maxPattern)
	case !utf8.ValidString(pattern):
		return Glob{}, fmt.Errorf("pattern %q is not UTF-8", pattern)
	}
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for i := 0; i < len(pattern); {
		switch c := pattern[i]; c {
		case '*':
			if strings.HasPrefix(pattern[i:], "**") {
				b.WriteString(`.*`)
				i += 2
				continue
			}
			b.WriteString(`[^/]*`)
			i++
		case '?':
			b.WriteString(`[^/]`)
			i++
		case '[':
			n, err := writeSet(&b, pattern[i:])
			if err != nil {
				return Glob{}, fmt.Errorf("pattern %q: %w", pattern, err)
			}
			i += n
		default:
			if c == '\\' {
				if i++; i == len(pattern) {
					return Glob{}, fmt.Errorf(`pattern %q ends in "\"`, pattern)
				}
			}
			_, n := utf8.DecodeRuneInString(pattern[i:])
			b.WriteString(regexp.QuoteMeta(pattern[i : i+n]))
			i += n
		}
	}
	if strings.HasSuffix(pattern, "/") {
		b.WriteString(`.*`)
	}
	b.WriteString(`)\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return Glob{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return Glob{pattern, re}, nil
}

// writeSet translates the bracket expression at the start of s and returns its
// length in bytes.
func writeSet(b *strings.Builder, s string) (int, error) {
	i := 1
	not := strings.HasPrefix(s[i:], "!") || strings.HasPrefix(s[i:], "^")
	if not {
		i++
	}
	end := strings.IndexByte(s[min(i+1, len(s)):], ']')
	if end < 0 {
		return 0, fmt.Errorf(`"[" without "]"`)
	}
	end += i + 1
	b.WriteByte('[')
	if not {
		b.WriteString(`^/`)
	}
	for _, r := range s[i:end] {
		if r == '-' {
			b.WriteByte('-')
			continue
		}
		b.WriteString(regexp.QuoteMeta(string(r)))
	}
	b.WriteByte(']')
	return end + 1, nil
}

// Match reports whether the pattern covers the whole name.
func (g Glob) Match(name string) bool { return g.re.MatchString(name) }

func (g Glob) String() string { return g.text }
