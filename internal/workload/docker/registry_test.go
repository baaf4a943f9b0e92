package docker

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
)

const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar"
)

// registry is a registry of one image of one layer: as much of the distribution
// protocol as it takes to pull by digest, the only way to get a digest to refer by.
type registry struct {
	host, manifest string // the digest
}

func startRegistry(t *testing.T, marker string) registry {
	t.Helper()
	layer := rootTar(t, marker)
	config := mustJSON(t, map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/sleep", "1000"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer)}},
		"history": []map[string]any{
			{"created_by": "the only layer"},
			{"created_by": "CMD [\"/bin/sleep\"]", "empty_layer": true},
		},
	})
	descriptor := func(mediaType string, data []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "size": len(data), "digest": digestOf(data)}
	}
	manifest := mustJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": descriptor(configType, config),
		"layers": []any{descriptor(layerType, layer)},
	})
	blobs := map[string][]byte{digestOf(layer): layer, digestOf(config): config, digestOf(manifest): manifest}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		data, ok := blobs[path.Base(r.URL.Path)]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", manifestType)
		}
		w.Header().Set("Docker-Content-Digest", digestOf(data))
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	return registry{host: strings.TrimPrefix(server.URL, "http://"), manifest: digestOf(manifest)}
}

func digestOf(data []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
