package main

import (
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// reflector makes schemas of Go types.
type reflector struct{ jsonschema.Reflector }

func newReflector(source string) (*reflector, error) {
	r := &reflector{jsonschema.Reflector{
		Anonymous: true,
		// Fields may be added, so a reader must accept those it does not know.
		AllowAdditionalProperties: true,
	}}
	return r, r.AddGoComments("github.com/patchsensor/patchsensor/sensor", source)
}

func (r *reflector) reflect(value any) *jsonschema.Schema {
	s := r.Reflect(value)
	nullable(s, reflect.TypeOf(value).Elem(), map[reflect.Type]bool{})
	return s
}

// null lists the fields that are null when they are not known although no pointer
// shows it.
var null = map[string]bool{"Package.cves": true}

// nullable lets be null what is null when it is not known: a pointer that is
// always in the document.
func nullable(s *jsonschema.Schema, t reflect.Type, done map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	def := s.Definitions[t.Name()]
	if t.Kind() != reflect.Struct || done[t] || def == nil {
		return
	}
	done[t] = true
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		nullable(s, f.Type, done)
		always := f.Type.Kind() == reflect.Pointer && options != "omitempty"
		if was, ok := def.Properties.Get(name); ok && (always || null[t.Name()+"."+name]) {
			description := was.Description
			was.Description = ""
			def.Properties.Set(name, &jsonschema.Schema{Description: description, OneOf: []*jsonschema.Schema{was, {Type: "null"}}})
		}
	}
}
