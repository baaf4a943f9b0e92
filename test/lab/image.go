package lab

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// Build builds an image without a network, by BuildKit where containerd keeps the images
// and by Docker's classic builder where not, and returns its ID.
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

// InImage finds a file in the layers of an image, topmost first: where it can be read on
// this machine, and which layer that is. The name must not lead through symbolic
// links. What the daemon keeps on disk is read, not what it answers.
func (d *Docker) InImage(t testing.TB, image, name string) (file string, layer sensor.Layer) {
	t.Helper()
	for i, l := range slices.Backward(d.layers(t, image)) {
		file := filepath.Join(l.dir, name)
		if _, err := os.Lstat(file); err == nil {
			return file, sensor.Layer{Digest: l.digest, Index: i, CreatedBy: l.createdBy}
		}
	}
	t.Fatalf("%s has no file %s", image, name)
	return "", sensor.Layer{}
}

// layers are those of an image, lowest first. They are remembered by its ID, as Docker
// keeps an image that lost its name only if it is itself what keeps images.
func (d *Docker) layers(t testing.TB, image string) []stored {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if list, ok := d.images[image]; ok {
		return list
	}
	id := d.ImageID(t, image)
	if list, ok := d.images[id]; ok {
		return list
	}
	read := d.layersIn
	if d.contents() {
		read = d.layersOf
	}
	if d.images == nil {
		d.images = make(map[string][]stored)
	}
	d.images[id] = read(t, id)
	return d.images[id]
}

// HasImage reports whether the daemon still knows an image by its ID.
func (d *Docker) HasImage(id string) bool {
	_, err := d.Try("image", "inspect", "--format", "{{.Id}}", id)
	return err == nil
}

// stored is a layer of an image with the directory of its files.
type stored struct{ digest, createdBy, dir string }

// imageConfig is what matters here of an image's configuration (config.md of the OCI
// image specification).
type imageConfig struct {
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		CreatedBy  string `json:"created_by"`
		EmptyLayer bool   `json:"empty_layer"`
	} `json:"history"`
}

// layers are the image's, lowest first, given the directory of each.
func (c imageConfig) layers(t testing.TB, dirs []string) []stored {
	t.Helper()
	var createdBy []string
	for _, h := range c.History {
		if !h.EmptyLayer {
			createdBy = append(createdBy, h.CreatedBy)
		}
	}
	if n := len(c.RootFS.DiffIDs); len(dirs) != n || len(createdBy) != n {
		t.Fatalf("an image has %d layers, %d directories and a history of %d", n, len(dirs), len(createdBy))
	}
	list := make([]stored, len(dirs))
	for i := range list {
		list[i] = stored{c.RootFS.DiffIDs[i], createdBy[i], dirs[i]}
	}
	return list
}

// layersIn are the layers of an image in Docker's own store.
func (d *Docker) layersIn(t testing.TB, id string) []stored {
	t.Helper()
	var inspected []struct {
		GraphDriver struct {
			Data struct{ UpperDir, LowerDir string }
		}
	}
	if err := json.Unmarshal([]byte(d.Do(t, "image", "inspect", id)), &inspected); err != nil {
		t.Fatal(err)
	}
	var config imageConfig
	readJSON(t, filepath.Join(d.dir, "data/image/overlay2/imagedb/content/sha256", strings.TrimPrefix(id, "sha256:")), &config)
	dirs := []string{inspected[0].GraphDriver.Data.UpperDir}
	if lower := inspected[0].GraphDriver.Data.LowerDir; lower != "" {
		dirs = append(dirs, strings.Split(lower, ":")...)
	}
	slices.Reverse(dirs)
	return config.layers(t, dirs)
}

// contents reports whether containerd keeps the daemon's images.
func (d *Docker) contents() bool {
	_, err := os.Stat(filepath.Join(d.dir, contentDir))
	return err == nil
}

// contentDir is where that is.
const contentDir = "data/containerd/daemon/io.containerd.content.v1.content/blobs/sha256"

// blob is the file of what has a digest.
func (d *Docker) blob(digest string) string {
	return filepath.Join(d.dir, contentDir, strings.TrimPrefix(digest, "sha256:"))
}

// layersOf are the layers of an image in containerd's store. They are unpacked here,
// once each, from the archives that it keeps: which of containerd's snapshots is whose
// only containerd knows.
func (d *Docker) layersOf(t testing.TB, id string) []stored {
	t.Helper()
	type descriptor struct {
		Digest   string `json:"digest"`
		Platform struct{ Architecture string }
	}
	var document struct {
		Manifests []descriptor `json:"manifests"`
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
	}
	readJSON(t, d.blob(id), &document)
	for _, m := range document.Manifests { // it is an index
		if m.Platform.Architecture != "unknown" { // that of attestations
			readJSON(t, d.blob(m.Digest), &document)
			break
		}
	}
	var config imageConfig
	readJSON(t, d.blob(document.Config.Digest), &config)
	var dirs []string
	for _, layer := range document.Layers {
		dirs = append(dirs, d.unpacked(t, layer.Digest))
	}
	return config.layers(t, dirs)
}

// unpacked is a directory with the files of a layer's archive. Whoever calls it holds mu.
func (d *Docker) unpacked(t testing.TB, digest string) string {
	t.Helper()
	dir := filepath.Join(d.dir, "unpacked", strings.TrimPrefix(digest, "sha256:"))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir+".part", 0o755); err != nil {
		t.Fatal(err)
	}
	Output(t, "tar", "--extract", "--file", d.blob(digest), "--directory", dir+".part", "--numeric-owner")
	if err := os.Rename(dir+".part", dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readJSON(t testing.TB, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
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
