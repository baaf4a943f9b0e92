package lab

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
)

// Build is what an image is built of.
type Build struct {
	Tag string
	// Dockerfile is its text, a slice of lines.
	Dockerfile []string
	// Files maps names in the build's context to the files that are put there.
	Files map[string]string
}

// Build builds an image by Docker's classic builder, without a network, and returns
// its ID.
func (d *Docker) Build(t testing.TB, b Build) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), []byte(strings.Join(b.Dockerfile, "\n")+"\n"))
	for name, from := range b.Files {
		copyTo(t, from, filepath.Join(dir, name))
	}
	return d.Do(t, "build", "--quiet", "--force-rm", "--network", "none", "--tag", b.Tag, dir)
}

// ImageID is the ID of the image that a reference names now.
func (d *Docker) ImageID(t testing.TB, reference string) string {
	t.Helper()
	return d.Do(t, "image", "inspect", "--format", "{{.Id}}", reference)
}

// InImage finds a file in the layers of an image, topmost first: where it is kept on
// this machine, and which layer that is. The name must not lead through symbolic
// links. What the daemon keeps on disk is read, not what it answers.
func (d *Docker) InImage(t testing.TB, image, name string) (file string, layer sensor.Layer) {
	t.Helper()
	var inspected []struct {
		ID          string `json:"Id"`
		GraphDriver struct {
			Data struct{ UpperDir, LowerDir string }
		}
	}
	if err := json.Unmarshal([]byte(d.Do(t, "image", "inspect", image)), &inspected); err != nil {
		t.Fatal(err)
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		} `json:"history"`
	}
	digest := strings.TrimPrefix(inspected[0].ID, "sha256:")
	text, err := os.ReadFile(filepath.Join(d.dir, "data/image/overlay2/imagedb/content/sha256", digest))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	var createdBy []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			createdBy = append(createdBy, h.CreatedBy)
		}
	}
	dirs := []string{inspected[0].GraphDriver.Data.UpperDir}
	if lower := inspected[0].GraphDriver.Data.LowerDir; lower != "" {
		dirs = append(dirs, strings.Split(lower, ":")...)
	}
	if n := len(config.RootFS.DiffIDs); len(dirs) != n || len(createdBy) != n {
		t.Fatalf("%s has %d layers, %d directories and a history of %d", image, n, len(dirs), len(createdBy))
	}
	for i, dir := range dirs {
		file := filepath.Join(dir, name)
		if _, err := os.Lstat(file); err == nil {
			index := len(dirs) - 1 - i
			return file, sensor.Layer{Digest: config.RootFS.DiffIDs[index], Index: index, CreatedBy: createdBy[index]}
		}
	}
	t.Fatalf("%s has no file %s", image, name)
	return "", sensor.Layer{}
}

// copyTo copies a file with its mode.
func copyTo(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	stat, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, stat.Mode().Perm())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
