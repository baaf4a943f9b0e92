package advisory

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// collected is what a text gave.
type collected struct {
	records   []*record
	exploited []string
	problems  int
	err       error
}

func collect(t *testing.T, text string) collected {
	t.Helper()
	var c collected
	c.err = readText(context.Background(), strings.NewReader(text), sinks{
		record:    func(r *record) error { c.records = append(c.records, r); return nil },
		exploited: func(cve string) error { c.exploited = append(c.exploited, cve); return nil },
		problem: func(_ string, offset int64, err error) {
			c.problems++
			if offset < -1 || offset > int64(len(text)) || err == nil || err.Error() == "" {
				t.Errorf("problem %v at %d of %d", err, offset, len(text))
			}
		},
	}, &reading{})
	if offset, err := place(c.err); c.err != nil && (offset < 0 || offset > int64(len(text)) || err == nil || err.Error() == "") {
		t.Errorf("%v at %d of %d", err, offset, len(text))
	}
	for _, r := range c.records {
		check(t, r)
	}
	return c
}

// check holds what every record must be, whatever it was read from.
func check(t *testing.T, r *record) {
	t.Helper()
	if !validID(r.id) || len(r.cves) == 0 || r.withdrawn && len(r.packages) > 0 {
		t.Errorf("%+v", r)
	}
	for _, id := range append(r.cves, r.aliases...) {
		if !validID(id) {
			t.Errorf("%q", id)
		}
	}
	for _, p := range r.packages {
		if p.name == "" || strings.ContainsAny(p.name+p.ecosystem, "\n\x00") {
			t.Errorf("%q of %q", p.name, p.ecosystem)
		}
		text := encodeSpans(p.spans)
		if again, err := decodeSpans(text); err != nil || encodeSpans(again) != text {
			t.Errorf("%q: %v", text, err)
		}
		for _, v := range p.versions {
			if strings.ContainsAny(v, "\n ") || v == "" {
				t.Errorf("version %q", v)
			}
		}
	}
}

// FuzzOSV: what comes before a sound record in a file does not change it, and what
// comes before a text that ends there is all read.
func FuzzOSV(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*-*.json")
	if err != nil || len(fixtures) == 0 {
		f.Fatal(fixtures, err)
	}
	for _, name := range fixtures {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(`{"id":"A","modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"a"},"ranges":[{"type":"SEMVER","events":[{"limit":"*"}]}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		c := collect(t, text)
		if c.err != nil || kindOf([]byte(text)[:min(len(text), 16<<10)]) != KindOSV {
			return
		}
		sentinel := collect(t, text+"\n"+simple(1))
		n := len(sentinel.records)
		if sentinel.err != nil || n != len(c.records)+1 || sentinel.problems != c.problems || sentinel.records[n-1].id != "CVE-2024-0001" {
			t.Errorf("%d records, then %d, %v", len(c.records), n, sentinel.err)
		}
	})
}

// FuzzTracker: whatever stands within one package, the package behind it is read.
func FuzzTracker(f *testing.F) {
	f.Add(`"CVE-2024-0001":{"releases":{"bookworm":{"status":"resolved","fixed_version":"1","urgency":"low**"}}}`)
	f.Add(`"TEMP-1":{"releases":{"bookworm":{"status":"undetermined"},"sid":{"status":"resolved","fixed_version":"0"}}},"x":[]`)
	f.Add(`},"b":7,"c":{`)
	f.Fuzz(func(t *testing.T, inner string) {
		text := `{"first":{"CVE-2024-0001":{}},"a":{` + inner + `},"sentinel":{"CVE-2024-0002":{"releases":{"bookworm":{"status":"open"}}}}}`
		c := collect(t, text)
		for _, r := range c.records {
			if r.rank != rankTracker || r.cves[0] != r.id {
				t.Errorf("%+v", r)
			}
		}
		if c.err != nil || !utf8.ValidString(inner) {
			return
		}
		last := c.records[len(c.records)-1]
		if last.id != "CVE-2024-0002" || len(last.packages) != 1 || last.packages[0].name != "sentinel" || last.packages[0].ecosystem != "Debian:12" {
			t.Errorf("%+v", last)
		}
	})
}

// FuzzKEV: only CVEs are taken, and those around what is not are.
func FuzzKEV(f *testing.F) {
	f.Add(`{"cveID":"CVE-2024-0001","notes":""}`)
	f.Add(`{"cveID":"cve-2024-0001"},7,[],null`)
	f.Fuzz(func(t *testing.T, inner string) {
		c := collect(t, `{"title":"x","vulnerabilities":[{"cveID":"CVE-2024-0002"},`+inner+`,{"cveID":"CVE-2024-0003"}]}`)
		for _, id := range c.exploited {
			if cve, ok := cveOf(id); !ok || cve != id {
				t.Errorf("%q", id)
			}
		}
		if len(c.exploited) == 0 || c.exploited[0] != "CVE-2024-0002" || c.err == nil && len(c.exploited) < 2 {
			t.Errorf("%q, %v", c.exploited, c.err)
		}
	})
}

// FuzzZip: an archive is read or refused; entries have the size and sum that it
// says, and their names are never anything but text.
func FuzzZip(f *testing.F) {
	f.Add([]byte(zipOf(f, "a", simple(1), "b", simple(2))))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, content []byte) {
		n := 0
		err := readFile(context.Background(), strings.NewReader(string(content)), int64(len(content)), sinks{
			record:    func(r *record) error { n++; check(t, r); return nil },
			exploited: func(string) error { return nil },
			problem: func(_ string, _ int64, err error) {
				if err == nil {
					t.Error("a problem that is none")
				}
			},
		}, &reading{})
		if errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
