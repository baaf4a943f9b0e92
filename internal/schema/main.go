// Command schema writes the JSON Schemas of what sensor says, made from the Go
// types and their comments, and the description of the daemon's API, made from
// these and from openapi.yaml beside this file. It is run by go generate, from the
// directory of package sensor.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/patchsensor/patchsensor/sensor"
)

// document is one kind of document that sensor writes.
type document struct {
	name   string
	schema string
	value  any
}

func documents() []document {
	return []document{
		{"report", sensor.Schema, &sensor.Report{}},
		{"event", sensor.EventSchema, &sensor.Event{}},
		{"status", sensor.StatusSchema, &sensor.Status{}},
		{"explanation", sensor.ExplanationSchema, &sensor.Explanation{}},
		{"diagnosis", sensor.DiagnosisSchema, &sensor.Diagnosis{}},
		{"packages", sensor.PackageListSchema, &sensor.PackageList{}},
		{"host", sensor.HostSchema, &sensor.HostReport{}},
	}
}

func main() {
	if err := write(".", "../docs", "../internal/schema/openapi.yaml", "../internal/api/openapi.json"); err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

// write reads the types' comments from the directory source and the API's paths
// from a file. The API's description goes to docs, and to a second place from
// which it can be embedded.
func write(source, docs, paths, embedded string) error {
	r, err := newReflector(source)
	if err != nil {
		return err
	}
	for _, d := range documents() {
		s := r.reflect(d.value)
		s.Title = d.schema
		if err := writeJSON(fmt.Sprintf("%s/%s.schema.json", docs, d.name), s); err != nil {
			return err
		}
	}
	api, err := openAPI(r, paths)
	if err != nil {
		return err
	}
	for _, name := range []string{docs + "/openapi.json", embedded} {
		if err := writeJSON(name, api); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(name string, document any) error {
	b, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
