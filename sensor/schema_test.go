package sensor

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// validate checks a report against the committed schema.
func validate(t *testing.T, r *Report) error {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestReportMatchesSchema(t *testing.T) {
	r, err := New(Options{}).Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, r); err != nil {
		t.Errorf("this machine's report: %v", err)
	}
	since := time.Now()
	r.Findings = []Finding{{
		State: Stale, Reason: Replaced, Domain: DomainHost, Since: &since,
		Remedy:    Remedy{Action: Restart, Command: []string{"true"}},
		Packages:  []Package{{CVEs: nil}, {CVEs: []string{"CVE-2026-1"}}},
		Processes: []Process{{Files: []File{{State: Stale}}}},
	}}
	if err := validate(t, r); err != nil {
		t.Errorf("a finding: %v", err)
	}
	r.Findings[0].Remedy.Command = nil
	if validate(t, r) == nil {
		t.Error("a null command passes, so the schema does not say what the report promises")
	}
}
