package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/storage"

	"github.com/patchsensor/patchsensor/internal/workload"
)

func TestRootfs(t *testing.T) {
	tests := []struct {
		name string
		in   storage.DriverData
		want workload.Rootfs
	}{
		{"Docker", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "/d/up", "LowerDir": "/d/b:/d/a"}},
			workload.Rootfs{Driver: "overlay2", Upper: "/d/up", Lower: []string{"/d/b", "/d/a"}}},
		{"no layers below", storage.DriverData{Name: "overlay", Data: map[string]string{"UpperDir": "/d/up"}},
			workload.Rootfs{Driver: "overlay", Upper: "/d/up"}},
		{"no overlay", storage.DriverData{Name: "vfs"}, workload.Rootfs{Driver: "vfs"}},
		{"Docker with containerd's image store", storage.DriverData{Name: "overlayfs"}, workload.Rootfs{}},
		{"nothing", storage.DriverData{}, workload.Rootfs{}},
		{"relative upper", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "up", "LowerDir": "/d/a"}}, workload.Rootfs{Driver: "overlay2"}},
		{"one dirty lower", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "/up", "LowerDir": "/d/../etc:/d/a"}}, workload.Rootfs{Driver: "overlay2"}},
		{"empty lower", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "/up", "LowerDir": "/a::/b"}}, workload.Rootfs{Driver: "overlay2"}},
		{"the root", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "/"}}, workload.Rootfs{Driver: "overlay2"}},
		{"NUL", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "/a\x00"}}, workload.Rootfs{Driver: "overlay2"}},
		{"too many", storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": "/a", "LowerDir": strings.Repeat("/l:", 1000) + "/l"}}, workload.Rootfs{}},
	}
	for _, test := range tests {
		if got := rootfs(test.in); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestMapImageDirs(t *testing.T) {
	const other = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	tests := []struct {
		name, driver, upper, lower string
		want                       []string // lowest first
	}{
		{"Docker", "overlay2", "/d/top", "/d/low", []string{"/d/low", "/d/top"}},
		{"one too few", "overlay2", "/d/top", "", []string{"", ""}},
		{"one too many", "overlay2", "/d/top", "/d/b:/d/a", []string{"", ""}},
		{"one is relative", "overlay2", "/d/top", "low", []string{"", "/d/top"}},
		{"one is dirty", "overlay2", "/d/../top", "/d/low", []string{"/d/low", ""}},
		{"no overlay", "zfs", "/d/top", "/d/low", []string{"", ""}},
	}
	for _, test := range tests {
		got, err := mapImage(image.InspectResponse{
			ID:          fakeImage,
			RootFS:      image.RootFS{Layers: []string{fakeLayer, other}},
			GraphDriver: storage.DriverData{Name: test.driver, Data: map[string]string{"UpperDir": test.upper, "LowerDir": test.lower}},
		})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if dirs := []string{got.Layers[0].Dir, got.Layers[1].Dir}; !slices.Equal(dirs, test.want) {
			t.Errorf("%s: %q, want %q", test.name, dirs, test.want)
		}
	}
}

func TestMapImageNames(t *testing.T) {
	for _, test := range []struct {
		tags, digests, want []string
	}{
		{[]string{"a:1", "b:2"}, []string{"a@" + fakeLayer}, []string{"a:1", "b:2", "a@" + fakeLayer}},
		{[]string{"a:1", "a:1"}, nil, []string{"a:1"}},
		{[]string{"<none>:<none>"}, []string{"<none>@<none>"}, nil},
		{[]string{"", strings.Repeat("a", maxString+1)}, nil, nil},
	} {
		got, err := mapImage(image.InspectResponse{ID: fakeImage, RepoTags: test.tags, RepoDigests: test.digests})
		if err != nil || !slices.Equal(got.Names, test.want) {
			t.Errorf("%q (%v), want %q", got.Names, err, test.want)
		}
	}
}

func TestCreatedBy(t *testing.T) {
	type step = image.HistoryResponseItem
	tests := []struct {
		name   string
		steps  []step // oldest first
		layers int
		want   []string
	}{
		{"all are layers", []step{{CreatedBy: "a"}, {CreatedBy: "b", Size: 1}}, 2, []string{"a", "b"}},
		{"those of a size", []step{{CreatedBy: "a", Size: 5}, {CreatedBy: "RUN true"}, {CreatedBy: "b", Size: 1}}, 2, []string{"a", "b"}},
		{"one layer of no size", []step{
			{CreatedBy: "ADD x", Size: 5}, {CreatedBy: "ENV a=b"}, {CreatedBy: "RUN /bin/sh -c touch /a # buildkit"}, {CreatedBy: `CMD ["sh"]`},
		}, 2, []string{"ADD x", "RUN /bin/sh -c touch /a # buildkit"}},
		{"the same by the old builder", []step{
			{CreatedBy: "/bin/sh -c #(nop) ADD file:x in / ", Size: 5}, {CreatedBy: "/bin/sh -c #(nop)  ENV a=b"},
			{CreatedBy: "/bin/sh -c touch /a"}, {CreatedBy: `/bin/sh -c #(nop)  CMD ["sh"]`},
		}, 2, []string{"/bin/sh -c #(nop) ADD file:x in / ", "/bin/sh -c touch /a"}},
		{"all in the last, as Buildah squashes", []step{{CreatedBy: "RUN a"}, {CreatedBy: "CMD b", Size: 7}}, 1, []string{"CMD b"}},
		{"which of two is not told", []step{{CreatedBy: "a", Size: 5}, {CreatedBy: "RUN b"}, {CreatedBy: "RUN c"}}, 2, nil},
		{"too few", []step{{CreatedBy: "a", Size: 5}}, 2, nil},
		{"too many of a size", []step{{CreatedBy: "a", Size: 5}, {CreatedBy: "b", Size: 5}}, 1, nil},
		{"none", nil, 1, nil},
	}
	for _, test := range tests {
		slices.Reverse(test.steps)
		if got := createdBy(test.steps, test.layers); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestLookup(t *testing.T) {
	hex := strings.TrimPrefix(fakeImage, "sha256:")
	tests := []struct {
		ref, imageID, want string
		fails              bool
	}{
		{ref: "nginx", want: "docker.io/library/nginx:latest"},
		{ref: "nginx:1.25", want: "docker.io/library/nginx:1.25"},
		{ref: "localhost/x", want: "localhost/x:latest"},
		{ref: "127.0.0.1:5000/a/b:c", want: "127.0.0.1:5000/a/b:c"},
		{ref: "nginx@" + fakeLayer},
		{ref: "nginx:1.25@" + fakeLayer},
		{ref: fakeImage},
		{ref: hex},
		{ref: "sha256:" + hex[:12]},
		{ref: hex[:12], imageID: fakeImage},
		{ref: hex[:4], imageID: fakeImage},
		{ref: hex[:3], imageID: fakeImage, want: "docker.io/library/" + hex[:3] + ":latest"},
		{ref: "deadbeef", imageID: fakeImage, want: "docker.io/library/deadbeef:latest"},
		{ref: hex[:12] + ":latest", imageID: fakeImage, want: "docker.io/library/" + hex[:12] + ":latest"},
		{ref: "", fails: true},
		{ref: "../../containers/x", fails: true},
		{ref: "a/../b", fails: true},
		{ref: "a?b=c", fails: true},
		{ref: "A", fails: true},
		{ref: "a\x00b", fails: true},
		{ref: strings.Repeat("a/", maxString), fails: true},
	}
	for _, test := range tests {
		got, err := lookup(test.ref, test.imageID)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("%.100q of %q: %q (%v), want %q", test.ref, test.imageID, got, err, test.want)
		}
	}
}

func TestAssembleBounds(t *testing.T) {
	many := make(map[string]string)
	for i := range 2 * maxLabels {
		many[fmt.Sprintf("%04d", i)] = "x"
	}
	many["0000"] = strings.Repeat("x", maxString+1)
	many["io.kubernetes.pod.name"], many["io.kubernetes.docker.type"] = "web", "podsandbox"
	c := assemble("docker", listed{ID: fakeID, Names: []string{"/" + strings.Repeat("é", maxString)}, Image: strings.Repeat("a", maxString+1), Labels: many, State: "exited"}, nil)
	if len(c.Labels) != maxLabels || c.Labels["0000"] != "" || c.Labels["0001"] != "x" {
		t.Errorf("%d labels", len(c.Labels))
	}
	if c.Pod == nil || c.Pod.Name != "web" || !c.Sandbox {
		t.Errorf("pod %+v, sandbox %v", c.Pod, c.Sandbox)
	}
	if len(c.Name) > maxString || c.Image != "" {
		t.Errorf("name of %d bytes, image of %d", len(c.Name), len(c.Image))
	}
}

// checkContainer holds for a container whatever the engine said.
func checkContainer(t *testing.T, c workload.Container) {
	t.Helper()
	if !isContainerID(c.ID) || c.ImageID != "" && !isDigest(c.ImageID) {
		t.Errorf("identifiers %q, %q", c.ID, c.ImageID)
	}
	if c.PID < 0 || c.PID > 1<<22 || c.PID != 0 && !c.Running {
		t.Errorf("process %d of a container running %v", c.PID, c.Running)
	}
	if len(c.Labels) > maxLabels || len(c.Name) > maxString || len(c.Image) > maxString {
		t.Errorf("%d labels, name of %d bytes, image of %d", len(c.Labels), len(c.Name), len(c.Image))
	}
	if _, err := c.Created.MarshalJSON(); err != nil {
		t.Error(err)
	}
	if len(c.Rootfs.Lower) > maxLayers || len(c.Rootfs.Lower) > 0 && c.Rootfs.Upper == "" {
		t.Errorf("%+v", c.Rootfs)
	}
	for _, dir := range append(slices.Clone(c.Rootfs.Lower), c.Rootfs.Upper) {
		if dir != c.Rootfs.Upper || dir != "" {
			checkDir(t, dir)
		}
	}
}

func checkDir(t *testing.T, dir string) {
	t.Helper()
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || strings.ContainsRune(dir, 0) || len(dir) > maxString {
		t.Errorf("directory %q", dir)
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte(manyContainers(3)))
	f.Add([]byte(`[{"Id":"` + fakeID + `","Names":["/a\u0000"],"State":"running","Labels":{"io.kubernetes.pod.name":"x"},"Created":253402300800}]`))
	f.Add([]byte(`[5,null,{"Id":"` + fakeID + `","Names":7}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := decodeList(strings.NewReader(string(data)))
		if errors.Is(err, io.EOF) {
			t.Error("an early end looks like a proper one")
		}
		seen := make(map[string]bool)
		for _, l := range all {
			if seen[l.ID] {
				t.Errorf("%s is there twice", l.ID)
			}
			seen[l.ID] = true
			checkContainer(t, assemble("docker", l, nil))
		}
	})
}

func FuzzInspect(f *testing.F) {
	f.Add("running", []byte(`{"Id":"`+fakeID+`","Image":"`+fakeImage+`","State":{"Running":true,"Pid":5},"Config":{"Image":"x"},"GraphDriver":{"Name":"overlay2","Data":{"UpperDir":"/u","LowerDir":"/a:/b"}}}`))
	f.Add("", []byte(`{"State":{"Pid":-1},"GraphDriver":{"Name":"overlay","Data":{"UpperDir":"../u","LowerDir":":/a/../b:"}}}`))
	f.Add("odd", []byte(`{"Config":null}`))
	f.Fuzz(func(t *testing.T, state string, data []byte) {
		var in container.InspectResponse
		if json.Unmarshal(data, &in) != nil {
			return
		}
		d := describe(in)
		checkContainer(t, assemble("podman", listed{ID: fakeID, State: state}, &d))
	})
}

func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"Id":"`+fakeImage+`","RepoTags":["a:1"],"Created":"2026-01-02T03:04:05.6Z","RootFS":{"Layers":["`+fakeLayer+`"]},"GraphDriver":{"Name":"overlay2","Data":{"UpperDir":"/u"}}}`),
		[]byte(`[{"CreatedBy":"x","Size":1},{"CreatedBy":"/bin/sh -c #(nop) ENV a"}]`))
	f.Add([]byte(`{"Id":"x"}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, inspect, history []byte) {
		var in image.InspectResponse
		if json.Unmarshal(inspect, &in) != nil {
			return
		}
		out, err := mapImage(in)
		if err != nil {
			if !reflect.DeepEqual(out, workload.Image{}) {
				t.Errorf("%v, and %+v", err, out)
			}
			return
		}
		if !isDigest(out.ID) || len(out.Layers) > maxLayers || len(out.Layers) != len(in.RootFS.Layers) || len(out.Names) > maxNames {
			t.Errorf("%+v", out)
		}
		if _, err := out.Created.MarshalJSON(); err != nil {
			t.Error(err)
		}
		for _, layer := range out.Layers {
			if !isDigest(layer.Digest) {
				t.Errorf("layer %q", layer.Digest)
			}
			if layer.Dir != "" {
				checkDir(t, layer.Dir)
			}
		}
		var steps []image.HistoryResponseItem
		if json.Unmarshal(history, &steps) != nil {
			return
		}
		if by := createdBy(steps, len(out.Layers)); by != nil && len(by) != len(out.Layers) {
			t.Errorf("%d instructions for %d layers", len(by), len(out.Layers))
		}
	})
}

func FuzzLookup(f *testing.F) {
	for _, ref := range []string{"nginx", "deadbeef", fakeImage, "a@" + fakeLayer, "../x", "[::1]:5/a:b", "localhost/x"} {
		f.Add(ref, fakeImage)
	}
	f.Fuzz(func(t *testing.T, ref, imageID string) {
		name, err := lookup(ref, imageID)
		if err != nil || name == "" {
			if err != nil && name != "" {
				t.Errorf("%v, and %q", err, name)
			}
			return
		}
		// It stays what it is, also as a part of a path.
		if again, err := lookup(name, imageID); again != name || err != nil {
			t.Errorf("%q becomes %q (%v)", name, again, err)
		}
		if joined := path.Join("/images", name, "json"); joined != "/images/"+name+"/json" {
			t.Errorf("%q leads to %q", name, joined)
		}
		if strings.ContainsAny(name, "?#%@\x00 ") {
			t.Errorf("%q", name)
		}
	})
}
