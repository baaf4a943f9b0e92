package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"nginx.service":           "nginx.service",
		`dev-disk\x2dlabel.swap`:  `dev-disk\x2dlabel.swap`,
		"école 日本語 🐧":             "école 日本語 🐧",
		"\ufffd":                  "\ufffd",
		"a\nb\tc\r":               `a\x0ab\x09c\x0d`,
		"\x1b[31mred\x1b[0m":      `\x1b[31mred\x1b[0m`,
		"\x7f":                    `\x7f`,
		"\u009b31m":               `\u009b31m`,
		"\x9b31m":                 `\x9b31m`,
		"\xff\xfe":                `\xff\xfe`,
		"\xe2\x80":                `\xe2\x80`,
		"\xed\xa0\x80":            `\xed\xa0\x80`,
		"gnp.\u202eexe":           `gnp.\u202eexe`,
		"\u2066\u2069\u200e":      `\u2066\u2069\u200e`,
		"zero\u200bwidth\ufeff":   `zero\u200bwidth\ufeff`,
		"line\u2028sep\u2029":     `line\u2028sep\u2029`,
		"no\u00a0break\u3000":     `no\u00a0break\u3000`,
		"\U000e0041tag":           `\U000e0041tag`,
		"\U0010ffff":              `\U0010ffff`,
		"/lib/x.so (deleted)\x00": `/lib/x.so (deleted)\x00`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

// hidden finds what must never reach a terminal. It is defined apart from
// escape: by category, not by what is printable.
func hidden(s string) (rune, bool) {
	if !utf8.ValidString(s) {
		return utf8.RuneError, true
	}
	for _, r := range s {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return r, true
		}
	}
	return 0, false
}

var hostile = []string{
	"", "nginx.service", "\x1b[2J", "\u009b2J", "\xc2", "\xc2\x9b", "a\u202eb", "\u2028", "'", `\`, `\'`, "$(reboot)", "`id`",
	"a b", "~", "~root", "-x", "a=b", "é", "日本", "\xff\x00", "\n", "!!", "*", "\x1b1", "\u200f7", "#", "{a,b}", "=1+1", "@SUM", "\t",
}

func FuzzEscape(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := escape(s)
		if r, bad := hidden(out); bad {
			t.Fatalf("escape(%q) = %q holds %U", s, out, r)
		}
		if again := escape(out); again != out {
			t.Fatalf("escape is not idempotent: %q, %q", out, again)
		}
		if _, bad := hidden(s); !bad && len(out) < len(s) {
			t.Fatalf("escape(%q) = %q lost something", s, out)
		}
		if cell := csvCell(s); cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			t.Fatalf("csvCell(%q) = %q is a formula", s, cell)
		}
	})
}

func FuzzShellQuote(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := shellQuote(s)
		if r, bad := hidden(out); bad {
			t.Fatalf("shellQuote(%q) = %q holds %U", s, out, r)
		}
		if escape(out) != out {
			t.Fatalf("shellQuote(%q) = %q would be changed by escape", s, out)
		}
		if back, rest := unquote(out); back != s || rest != "" {
			t.Fatalf("shellQuote(%q) = %q reads as %q and %q", s, out, back, rest)
		}
	})
}

// unquote reads one shell word as XCU 2.2 describes it, for what shellQuote
// may write.
func unquote(s string) (word, rest string) {
	var b strings.Builder
	for s != "" {
		switch {
		case strings.HasPrefix(s, "$'"):
			for s = s[2:]; s != "" && s[0] != '\''; {
				switch {
				case s[0] != '\\':
					b.WriteByte(s[0])
					s = s[1:]
				case len(s) > 1 && (s[1] == '\\' || s[1] == '\''):
					b.WriteByte(s[1])
					s = s[2:]
				case len(s) > 3:
					b.WriteByte((s[1]-'0')<<6 | (s[2]-'0')<<3 | (s[3] - '0'))
					s = s[4:]
				default:
					return b.String(), s
				}
			}
			s = s[min(1, len(s)):]
		case s[0] == '\'':
			text, after, ok := strings.Cut(s[1:], "'")
			if !ok {
				return b.String(), s
			}
			b.WriteString(text)
			s = after
		case s[0] == '\\' && len(s) > 1:
			b.WriteByte(s[1])
			s = s[2:]
		case strings.IndexByte(plainWord, s[0]) >= 0:
			b.WriteByte(s[0])
			s = s[1:]
		default:
			return b.String(), s
		}
	}
	return b.String(), ""
}

// A real shell must read each word as what it was made from.
func TestShellQuoteInShell(t *testing.T) {
	var words, want []string
	for _, s := range hostile {
		if !strings.Contains(s, "\x00") { // no argument can hold one
			words, want = append(words, s), append(want, s)
		}
	}
	out, err := exec.Command("bash", "-c", `printf '%s\0' `+shellCommand(words)).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(got) != len(want) {
		t.Fatalf("%d words, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q was read as %q", want[i], got[i])
		}
	}
}

func TestEscapingWriter(t *testing.T) {
	var b bytes.Buffer
	n, err := escapingWriter{&b}.Write([]byte("WARN\ta\nb\x1b\n"))
	if err != nil || n != 10 {
		t.Errorf("%d, %v", n, err)
	}
	if want := "WARN\ta\\x0ab\\x1b\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
