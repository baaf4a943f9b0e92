package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// openAPI completes the description of the API in a file of YAML with the schemas
// of the documents, so that it stands alone.
func openAPI(r *reflector, name string) (map[string]any, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	api := make(map[string]any)
	if err := yaml.Unmarshal(b, &api); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	components, _ := api["components"].(map[string]any)
	schemas, _ := components["schemas"].(map[string]any)
	if schemas == nil {
		return nil, fmt.Errorf("%s: no components.schemas", name)
	}
	for _, d := range documents() {
		s := r.reflect(d.value)
		for name, definition := range s.Definitions {
			if schemas[name], err = moved(definition); err != nil {
				return nil, err
			}
		}
	}
	return api, nil
}

// moved turns a schema into plain values, with its references led to where an
// OpenAPI document keeps schemas.
func moved(schema any) (any, error) {
	b, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	var plain any
	if err := json.Unmarshal(b, &plain); err != nil {
		return nil, err
	}
	relocate(plain)
	return plain, nil
}

func relocate(node any) {
	switch node := node.(type) {
	case map[string]any:
		if ref, ok := node["$ref"].(string); ok {
			node["$ref"] = strings.Replace(ref, "#/$defs/", "#/components/schemas/", 1)
		}
		for _, child := range node {
			relocate(child)
		}
	case []any:
		for _, child := range node {
			relocate(child)
		}
	}
}
