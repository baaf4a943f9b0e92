package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
)

func TestReportHead(t *testing.T) {
	const summary = `{"processes":9,"stale":2,"new":[{}]}`
	for _, c := range []struct {
		raw  string
		good bool
	}{
		{`{"schema":"sensor.report/v1","complete":true,"summary":` + summary + `,"findings":[]}`, true},
		// The order may be any, and what stands between is skipped.
		{`{"findings":[{"summary":{"stale":7}}],"summary":` + summary + `,"x":"}","complete":true,"schema":"sensor.report/v1"}`, true},
		// Nothing after the last of the wanted members is read.
		{`{"schema":"sensor.report/v1","complete":true,"summary":` + summary + `,"find`, true},
		{`{"schema":"sensor.report/v2","complete":true,"summary":` + summary + `}`, false},
		{`{"complete":true,"summary":` + summary + `}`, false},
		{`{"schema":"sensor.report/v1","complete":true}`, false},
		{`{"schema":"sensor.report/v1","complete":1,"summary":{}}`, false},
		{`{"schema":"sensor.report/v1","complete":true,"summary":{"stale":-`, false},
		{`[]`, false}, {`["schema","sensor.report/v1"]`, false}, {`null`, false}, {`7`, false}, {``, false}, {`{`, false}, {`}`, false},
	} {
		r, err := reportHead([]byte(c.raw))
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.raw, err)
		}
		if c.good && err == nil && (!r.Complete || r.Summary.Processes != 9 || r.Summary.Stale != 2) {
			t.Errorf("%s: %+v", c.raw, r)
		}
	}
}

// Of a whole report, the head gives the same exit code as all of it.
func FuzzReportHead(f *testing.F) {
	for _, name := range []string{"mixed", "fine", "later", "unknown", "nothing"} {
		text, err := os.ReadFile("testdata/answers/" + name + ".report.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		head, err := reportHead(raw)
		if err != nil {
			return
		}
		// encoding/json takes names in any case, and of several the last.
		var names map[string]json.RawMessage
		var whole sensor.Report
		if json.Unmarshal(raw, &names) != nil || json.Unmarshal(raw, &whole) != nil {
			return
		}
		for name := range names {
			lower := strings.ToLower(name)
			if lower != name || strings.Count(strings.ToLower(string(raw)), `"`+lower+`"`) > 1 {
				return
			}
		}
		if outcome(head) != outcome(&whole) {
			t.Errorf("exit code %d, of the whole %d", outcome(head), outcome(&whole))
		}
	})
}

// On a terminal the daemon's report is laid out for people.
func TestPassOnTerminal(t *testing.T) {
	const text = `{"schema":"x","complete":true,"findings":[{"id":"a"}]}`
	for width, want := range map[int]string{
		0:  text,
		80: "{\n  \"schema\": \"x\",\n  \"complete\": true,\n  \"findings\": [\n    {\n      \"id\": \"a\"\n    }\n  ]\n}",
	} {
		var b strings.Builder
		err := passOn(found{&sensor.Report{Complete: true, Summary: sensor.Summary{Processes: 1}}, []byte(text)}, &screen{newPrinter(&b, false), width})
		if err != nil || b.String() != want {
			t.Errorf("width %d: %q, %v", width, b.String(), err)
		}
	}
	if err := passOn(found{&sensor.Report{}, []byte("{")}, &screen{newPrinter(&strings.Builder{}, false), 80}); err == nil {
		t.Error("half a document was printed")
	}
}
