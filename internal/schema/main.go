// Command schema writes the JSON Schema of the report, made from the Go types and
// their comments. It is run by go generate, from the directory of package sensor.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/invopop/jsonschema"

	"github.com/patchsensor/patchsensor/sensor"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func write() error {
	r := jsonschema.Reflector{
		Anonymous: true,
		// Fields may be added, so a reader must accept those it does not know.
		AllowAdditionalProperties: true,
	}
	if err := r.AddGoComments("github.com/patchsensor/patchsensor/sensor", "."); err != nil {
		return err
	}
	s := r.Reflect(&sensor.Report{})
	s.Title = sensor.Schema
	nullable(s)
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile("../docs/report.schema.json", append(b, '\n'), 0o644)
}

// nullable lets the fields be null whose null means "not known".
func nullable(s *jsonschema.Schema) {
	for _, at := range [][2]string{{"Finding", "since"}, {"File", "loaded_at"}, {"Package", "cves"}} {
		def := s.Definitions[at[0]]
		was, ok := def.Properties.Get(at[1])
		if !ok {
			continue
		}
		description := was.Description
		was.Description = ""
		def.Properties.Set(at[1], &jsonschema.Schema{Description: description, OneOf: []*jsonschema.Schema{was, {Type: "null"}}})
	}
}
