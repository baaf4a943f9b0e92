package containerd

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestParseDocument(t *testing.T) {
	for doc, want := range map[string]string{
		`{"manifests":[{"digest":"` + zeros + `"}]}`:  "index",
		`{"manifests":[]}`:                            "index",
		`{"config":{"digest":"` + zeros + `"}}`:       "manifest",
		`{"config":{},"layers":[{}],"mediaType":"x"}`: "manifest",
		`{"config":{},"manifests":[]}`:                "",
		`{"layers":[{}],"manifests":[]}`:              "",
		`{}`:                                          "",
		``:                                            "",
		`null`:                                        "",
		`[]`:                                          "",
		`{"manifests":[]} {}`:                         "",
		`{"schemaVersion":1,"fsLayers":[]}`:           "",
		`{"manifests":[{}` + strings.Repeat(`,{}`, 200) + `]}`: "",
	} {
		d, err := parseDocument([]byte(doc))
		got := ""
		switch {
		case err != nil:
			if !errors.Is(err, errMalformed) {
				t.Errorf("%.80s: %v", doc, err)
			}
		case d.Config != nil:
			got = "manifest"
		default:
			got = "index"
		}
		if got != want {
			t.Errorf("%.80s: %q, want %q", doc, got, want)
		}
	}
}

func TestParseConfig(t *testing.T) {
	one := digest.FromString("1").String()
	c, err := parseConfig([]byte(`{"created":"2026-01-02T03:04:05Z","os":"linux","architecture":"arm64","variant":"v8",
		"rootfs":{"diff_ids":["` + zeros + `","` + one + `"]},
		"history":[{"created_by":"ADD"},{"created_by":"ENV","empty_layer":true},{"created_by":"` + strings.Repeat("x", 2*maxCreatedBy) + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	layers := c.layers()
	if c.OS != "linux" || c.Architecture != "arm64" || c.created().Year() != 2026 || len(layers) != 2 ||
		layers[0].Digest != zeros || layers[0].CreatedBy != "ADD" || layers[1].Digest != one || len(layers[1].CreatedBy) != maxCreatedBy {
		t.Errorf("%+v", layers)
	}
	if want := digest.FromString(zeros + " " + one).String(); c.chain() != want {
		t.Errorf("chain %s, want %s", c.chain(), want)
	}
	// A history of another length does not say which layer is whose.
	c, err = parseConfig([]byte(`{"rootfs":{"diff_ids":["` + zeros + `"]},"history":[{"created_by":"a"},{"created_by":"b"}]}`))
	if err != nil || c.layers()[0].CreatedBy != "" || c.chain() != zeros || !c.created().IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
	// Artifacts of other kinds have no layers.
	if c, err = parseConfig([]byte(`{}`)); err != nil || len(c.layers()) != 0 || c.chain() != "" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{
		``, `[]`, `{"rootfs":{"diff_ids":["x"]}}`, `{"rootfs":{"diff_ids":["sha256:1"]}}`, `{"created":"yesterday"}`,
		`{"rootfs":{"diff_ids":["` + zeros + `"` + strings.Repeat(`,"`+zeros+`"`, maxLayers) + `]}}`,
	} {
		if _, err := parseConfig([]byte(bad)); !errors.Is(err, errMalformed) {
			t.Errorf("%.60s: %v", bad, err)
		}
	}
}

// FuzzManifest: what is read is bounded, each layer has a digest, and there is a
// chain exactly if there are layers.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"` + zeros + `","size":1,"platform":{"os":"unknown"}}]}`))
	f.Add([]byte(`{"config":{"digest":"` + zeros + `"},"layers":[{}]}`))
	f.Add([]byte(`{"rootfs":{"diff_ids":["` + zeros + `"]},"history":[{"created_by":"a"},{"empty_layer":true}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := parseDocument(data); err == nil && ((d.Config == nil) == (d.Manifests == nil) || len(d.Manifests) > maxPlatforms) {
			t.Errorf("%+v", d)
		}
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		layers := c.layers()
		if len(layers) > maxLayers || (c.chain() == "") != (len(layers) == 0) {
			t.Errorf("%d layers, chain %q", len(layers), c.chain())
		}
		for _, l := range layers {
			if digest.Digest(l.Digest).Validate() != nil || len(l.CreatedBy) > maxCreatedBy || l.Dir != "" {
				t.Errorf("%+v", l)
			}
		}
	})
}
