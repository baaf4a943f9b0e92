package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// description is what the tests need of the OpenAPI document.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string
		Summary     string
		Parameters  []struct {
			Name, In string
		}
		Responses map[string]struct {
			Ref         string `json:"$ref"`
			Description string
			Content     map[string]json.RawMessage
		}
	}
	Components struct {
		Responses map[string]struct {
			Content map[string]json.RawMessage
		}
	}
}

func describe(t testing.TB) (d description) {
	t.Helper()
	if err := json.Unmarshal(openapi, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPI holds that the description and the routes are the same.
func TestOpenAPI(t *testing.T) {
	committed, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, openapi) {
		t.Error("docs/openapi.json is not what is served; run make generate")
	}
	d := describe(t)
	operations := make(map[string]bool)
	for _, r := range routes() {
		item := d.Paths[r.path]
		if len(item) != 1 || item["get"].OperationID == "" || item["get"].Summary == "" {
			t.Errorf("%s is not described, or not as GET alone", r.path)
		}
		if operations[item["get"].OperationID] {
			t.Errorf("%s is a name of two operations", item["get"].OperationID)
		}
		operations[item["get"].OperationID] = true
		var params []string
		for _, p := range item["get"].Parameters {
			if p.In != "query" {
				t.Errorf("%s: the parameter %s is in %s", r.path, p.Name, p.In)
			}
			params = append(params, p.Name)
		}
		if !slices.Equal(slices.Sorted(slices.Values(params)), slices.Sorted(slices.Values(r.params))) {
			t.Errorf("%s takes %q, described are %q", r.path, r.params, params)
		}
		delete(d.Paths, r.path)
	}
	if len(d.Paths) > 0 {
		t.Errorf("described but not served: %v", slices.Collect(maps.Keys(d.Paths)))
	}
	if r := get(t, serve(t, &sinktest.Live{}, nil), "/v1/openapi.json"); !bytes.Equal(r.body, openapi) {
		t.Error("another document is served")
	}
}

// TestReferences holds that every reference in the description leads somewhere.
func TestReferences(t *testing.T) {
	var root any
	if err := json.Unmarshal(openapi, &root); err != nil {
		t.Fatal(err)
	}
	compiler := newCompiler(t)
	found := 0
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if ref, ok := node["$ref"].(string); ok {
				found++
				if _, err := compiler.Compile(document + ref); err != nil {
					t.Errorf("%s: %v", ref, err)
				}
			}
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(root)
	if found == 0 {
		t.Error("there are none")
	}
}

// document is the name by which schemas inside the description are found.
const document = "openapi.json"

func newCompiler(t testing.TB) *jsonschema.Compiler {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(document, doc); err != nil {
		t.Fatal(err)
	}
	return c
}

// filled sets everything in a value to something that is not empty.
func filled(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			filled(v.Index(i))
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(0.5)
	}
}

func full[T any]() *T {
	v := new(T)
	filled(reflect.ValueOf(v).Elem())
	return v
}

// unknown sets the pointers of a value, which are what may be not known, to nil.
func unknown(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.SetZero()
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			unknown(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			unknown(v.Index(i))
		}
	}
}

func sparse[T any]() *T {
	v := full[T]()
	unknown(reflect.ValueOf(v).Elem())
	return v
}

// TestAnswersMatchSchemas asks for everything of a sensor that says all it can,
// of one that knows little, and of one that knows nothing.
func TestAnswersMatchSchemas(t *testing.T) {
	rich := &sinktest.Live{
		Report: full[sensor.Report](), Diagnosis: full[sensor.Diagnosis](), Condition: full[sensor.Status](),
		Explanation: func(string) *sensor.Explanation { return full[sensor.Explanation]() },
	}
	poor := &sinktest.Live{
		Report: sparse[sensor.Report](), Diagnosis: sparse[sensor.Diagnosis](), Condition: sparse[sensor.Status](),
		Explanation: func(string) *sensor.Explanation { return sparse[sensor.Explanation]() },
	}
	for _, l := range []*sinktest.Live{rich, poor} {
		l.SetReady(true)
	}
	rich.Emit(*full[sensor.Event]())
	poor.Emit(*sparse[sensor.Event]())
	poor.Forget(poor.Emit(*sparse[sensor.Event]()))
	for name, l := range map[string]*sinktest.Live{"rich": rich, "poor": poor, "empty": {}} {
		s := serve(t, l, func(s *Server) {
			s.opts.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/plain") })
		})
		for path, query := range map[string]string{
			"/": "", "/v1/stale": "?seen=true", "/v1/explain": "?target=1", "/v1/status": "", "/v1/events": "?after=0&follow=false",
			"/v1/doctor": "", "/v1/openapi.json": "", "/healthz": "", "/readyz": "", "/metrics": "",
		} {
			t.Run(name+path, func(t *testing.T) { conforms(t, path, get(t, s, path+query)) })
		}
		t.Run(name+" errors", func(t *testing.T) {
			conforms(t, "/v1/stale", get(t, s, "/v1/stale?seen=1"))
			conforms(t, "/v1/events", get(t, s, "/v1/events?after=x"))
		})
	}
}

// conforms holds that an answer is one that the description tells of.
func conforms(t testing.TB, path string, r response) {
	t.Helper()
	d := describe(t)
	described, ok := d.Paths[path]["get"].Responses[strconv.Itoa(r.code)]
	if !ok {
		t.Fatalf("%s: %d is not described (%.100s)", path, r.code, r.body)
	}
	at := document + "#/paths/" + escapePointer(path) + "/get/responses/" + strconv.Itoa(r.code)
	content := described.Content
	if name, ok := bytes.CutPrefix([]byte(described.Ref), []byte("#/components/responses/")); ok {
		at = document + described.Ref
		content = d.Components.Responses[string(name)].Content
	}
	kind := r.header.Get("Content-Type")
	if _, ok := content[kind]; !ok {
		t.Fatalf("%s: %d comes as %q, described is %v", path, r.code, kind, slices.Collect(maps.Keys(content)))
	}
	if kind == "text/plain" {
		return
	}
	schema, err := newCompiler(t).Compile(at + "/content/" + escapePointer(kind) + "/schema")
	if err != nil {
		t.Fatal(err)
	}
	lines := [][]byte{r.body}
	if kind == typeLines {
		lines = bytes.SplitAfter(r.body, []byte("\n"))
		if last := len(lines) - 1; len(lines[last]) == 0 {
			lines = lines[:last]
		}
	}
	for _, line := range lines {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %.200q: %v", path, line, err)
		}
	}
}

// escapePointer encodes one step of a JSON pointer in a URL fragment (RFC 6901).
func escapePointer(s string) string {
	return string(bytes.ReplaceAll(bytes.ReplaceAll([]byte(s), []byte("~"), []byte("~0")), []byte("/"), []byte("~1")))
}
