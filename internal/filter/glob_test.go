package filter

import (
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"ssh.service", "ssh.service", true},
		{"ssh.service", "sshxservice", false},
		{"ssh*", "ssh.service", true},
		{"ssh", "ssh.service", false},
		{"/opt/*", "/opt/a", true},
		{"/opt/*", "/opt/a/b", false},
		{"/opt/**", "/opt/a/b", true},
		{"/opt/", "/opt/a/b", true},
		{"/opt/", "/opt/", true},
		{"/opt/", "/opt", false},
		{"**/lib?.so", "/usr/lib/libz.so", true},
		{"**/lib?.so", "/usr/lib//.so", false},
		{"getty@tty[1-3].service", "getty@tty2.service", true},
		{"getty@tty[!1-3].service", "getty@tty2.service", false},
		{"[!a]x", "/x", false},
		{"[]]", "]", true},
		{"[a^]", "^", true},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{"a|b", "a", false},
		{"(?i)A", "a", false},
		{"é*", "école", true},
		{"x*", "x\n\xffy", true},
	} {
		g, err := ParseGlob(c.pattern)
		if err != nil {
			t.Errorf("ParseGlob(%q): %v", c.pattern, err)
			continue
		}
		if got := g.Match(c.name); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestGlobErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                               "empty",
		"[":                              `without "]"`,
		"[]":                             `without "]"`,
		"a[!":                            `without "]"`,
		`a\`:                             `ends in`,
		"\xff":                           "UTF-8",
		"[z-a]":                          "range",
		strings.Repeat("a", 5000):        "longer",
		"/opt/" + strings.Repeat("[", 9): `without "]"`,
	} {
		_, err := ParseGlob(pattern)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseGlob(%.20q): %v, want an error about %q", pattern, err, want)
		}
	}
}

// A pattern without special characters matches itself and nothing longer, and
// none makes the compiler fail in a way that is not an error.
func FuzzParseGlob(f *testing.F) {
	for _, s := range []string{"a", "/opt/**", "[a-z]", "[!]]", `\[`, "(", "$", "é?", "a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		g, err := ParseGlob(pattern)
		if err != nil {
			return
		}
		if g.String() != pattern {
			t.Fatalf("String: %q, want %q", g, pattern)
		}
		if !strings.ContainsAny(pattern, `*?[\`) && !strings.HasSuffix(pattern, "/") {
			if !g.Match(pattern) || g.Match(pattern+"x") {
				t.Fatalf("%q does not match exactly itself", pattern)
			}
		}
	})
}
