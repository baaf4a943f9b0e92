package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/patchsensor/patchsensor/internal/workload"
)

const dockerfile = `FROM base:1
COPY hello /hello
ENV greeting=hello
RUN touch /empty
CMD ["/bin/sleep", "1000"]
RUN mkdir /deep && echo deep > /deep/file
`

// inContext is a context that ends with the test, or when it takes too long.
func inContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newSource(t *testing.T, socket string) *Source {
	t.Helper()
	s, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// find lists the containers and returns the one of that name.
func find(t *testing.T, s *Source, name string) workload.Container {
	t.Helper()
	all, err := s.Containers(inContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %q among %+v", name, all)
	return workload.Container{}
}

func imageOf(t *testing.T, s *Source, c workload.Container) workload.Image {
	t.Helper()
	got, err := s.Image(inContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != c.ImageID {
		t.Errorf("container of %s, but image %s", c.ImageID, got.ID)
	}
	return got
}

func wantCurrent(t *testing.T, s *Source, c workload.Container, id string) {
	t.Helper()
	got, err := s.Current(inContext(t), c)
	if id == "" {
		if !errors.Is(err, workload.ErrNoImage) {
			t.Errorf("%q names %s (%v), want none", c.Image, got.ID, err)
		}
		return
	}
	if err != nil || got.ID != id {
		t.Errorf("%q names %s (%v), want %s", c.Image, got.ID, err, id)
	}
}

func TestDocker(t *testing.T) {
	d := startDockerd(t)
	s := newSource(t, d.socket)
	d.importImage("base:1", "one")
	d.importImage("base:2", "two")
	d.build("app:1", dockerfile)
	d.run("run", "--detach", "--network", "none", "--name", "first", "--label", "a=b",
		"--label", "io.kubernetes.pod.name=web-1", "--label", "io.kubernetes.pod.namespace=shop", "--label", "io.kubernetes.pod.uid=u", "app:1")

	t.Run("running", func(t *testing.T) { d.t = t; testRunning(t, d, s) })
	t.Run("rootfs", func(t *testing.T) { d.t = t; testRootfs(t, d, s) })
	t.Run("ended", func(t *testing.T) { d.t = t; testEnded(t, d, s) })
	t.Run("image", func(t *testing.T) { d.t = t; testImage(t, d, s) })
	t.Run("moved", func(t *testing.T) { d.t = t; testMoved(t, d, s) })
	t.Run("identifier", func(t *testing.T) { d.t = t; testIdentifier(t, d, s) })
	t.Run("digest", func(t *testing.T) { d.t = t; testDigest(t, d, s) })
	t.Run("watch", func(t *testing.T) { d.t = t; testWatch(t, d, s) })
	d.t = t
}

func testRunning(t *testing.T, d *dockerd, s *Source) {
	c := find(t, s, "first")
	if s.Name() != "docker" || c.Runtime != "docker" || c.Namespace != "" {
		t.Errorf("engine %q, runtime %q, namespace %q", s.Name(), c.Runtime, c.Namespace)
	}
	if c.Image != "app:1" || c.ImageID != d.run("image", "inspect", "--format", "{{.Id}}", "app:1") {
		t.Errorf("image %q %s", c.Image, c.ImageID)
	}
	if want := d.run("inspect", "--format", "{{.State.Pid}}", "first"); !c.Running || strconv.Itoa(c.PID) != want {
		t.Errorf("running %v with process %d, want %s", c.Running, c.PID, want)
	}
	if c.ID != d.run("inspect", "--format", "{{.Id}}", "first") || c.Created.IsZero() || c.Labels["a"] != "b" {
		t.Errorf("%+v", c)
	}
	if want := (workload.Pod{Namespace: "shop", Name: "web-1", UID: "u"}); c.Pod == nil || *c.Pod != want || c.Sandbox {
		t.Errorf("pod %+v, sandbox %v", c.Pod, c.Sandbox)
	}

	d.run("pause", "first")
	if c := find(t, s, "first"); !c.Running || c.PID == 0 {
		t.Errorf("paused: %+v", c)
	}
	d.run("unpause", "first")
	d.run("rename", "first", "renamed")
	if got := find(t, s, "renamed"); got.ID != c.ID {
		t.Errorf("renamed: %+v", got)
	}
}

// testRootfs looks for the files of a container where its directories say.
func testRootfs(t *testing.T, d *dockerd, s *Source) {
	d.run("exec", "renamed", "/bin/touch", "/written")
	root := find(t, s, "renamed").Rootfs
	if root.Driver != "overlay2" || !filepath.IsAbs(root.Upper) {
		t.Fatalf("%+v", root)
	}
	if _, err := os.Stat(filepath.Join(root.Upper, "written")); err != nil {
		t.Error(err)
	}
	// Topmost first: the last instruction's layer above the base's.
	at := func(file string) int {
		return slices.IndexFunc(root.Lower, func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, file))
			return err == nil
		})
	}
	if deep, hello, base := at("deep/file"), at("hello"), at("marker"); deep < 0 || deep >= hello || hello >= base {
		t.Errorf("files at %d, %d, %d of %q", deep, hello, base, root.Lower)
	}
}

func testEnded(t *testing.T, d *dockerd, s *Source) {
	d.run("run", "--network", "none", "--name", "ended", "base:1", "/bin/true")
	d.run("create", "--network", "none", "--name", "created", "base:1", "/bin/true")
	for _, name := range []string{"ended", "created"} {
		if c := find(t, s, name); c.Running || c.PID != 0 || c.Image != "base:1" || c.ImageID == "" || c.Pod != nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	d.run("rm", "created")
	// The same container again: another process.
	d.run("run", "--detach", "--network", "none", "--name", "again", "base:1", "/bin/sleep", "1000")
	before := find(t, s, "again")
	d.run("stop", "--time", "0", "again")
	if c := find(t, s, "again"); c.Running || c.PID != 0 {
		t.Errorf("stopped: %+v", c)
	}
	d.run("start", "again")
	if c := find(t, s, "again"); !c.Running || c.PID == 0 || c.PID == before.PID {
		t.Errorf("started again: %+v, was %d", c, before.PID)
	}
	d.run("rm", "--force", "again")
}

func testImage(t *testing.T, d *dockerd, s *Source) {
	got := imageOf(t, s, find(t, s, "renamed"))
	if !slices.Equal(got.Names, []string{"app:1"}) || got.Created.IsZero() {
		t.Errorf("names %q, created %v", got.Names, got.Created)
	}
	var digests, files []string
	for i, layer := range got.Layers {
		digests = append(digests, layer.Digest)
		for _, file := range []string{"marker", "hello", "empty", "deep/file"} {
			if _, err := os.Stat(filepath.Join(layer.Dir, file)); layer.Dir != "" && err == nil {
				files = append(files, strconv.Itoa(i)+" "+file)
			}
		}
	}
	if want := d.run("image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}", "app:1"); strings.Join(digests, " ") != want {
		t.Errorf("layers %q, want %s", digests, want)
	}
	if want := []string{"0 marker", "1 hello", "2 empty", "3 deep/file"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if len(got.Layers) != 4 {
		t.Fatalf("%d layers", len(got.Layers))
	}
	// The second RUN made a layer without size, ENV and CMD none.
	for i, want := range []string{"", "COPY file:", "touch /empty", "mkdir /deep"} {
		if by := got.Layers[i].CreatedBy; !strings.Contains(by, want) || by == "" && want != "" {
			t.Errorf("layer %d created by %q, want %q", i, by, want)
		}
	}
}

// testMoved takes the name away from under a running container, in every way.
func testMoved(t *testing.T, d *dockerd, s *Source) {
	old := find(t, s, "renamed")
	wantCurrent(t, s, old, old.ImageID)

	d.run("tag", "base:2", "app:1")
	newer := d.run("image", "inspect", "--format", "{{.Id}}", "base:2")
	// Docker's own list now shows the image's identifier instead of the name. A
	// source that never saw the name must find it.
	for _, s := range []*Source{s, newSource(t, d.socket)} {
		c := find(t, s, "renamed")
		if c.Image != "app:1" || c.ImageID != old.ImageID {
			t.Errorf("after the tag moved: %q %s", c.Image, c.ImageID)
		}
		wantCurrent(t, s, c, newer)
		if names := imageOf(t, s, c).Names; len(names) != 0 {
			t.Errorf("names of the untagged image: %q", names)
		}
	}
	d.run("rmi", "app:1")
	wantCurrent(t, s, find(t, s, "renamed"), "")

	// Without a tag, "latest" is meant.
	d.run("tag", "base:1", "plain")
	d.run("run", "--network", "none", "--name", "plain", "plain", "/bin/true")
	wantCurrent(t, s, find(t, s, "plain"), d.run("image", "inspect", "--format", "{{.Id}}", "base:1"))
	d.run("tag", "base:2", "plain")
	c := find(t, s, "plain")
	if c.Image != "plain" {
		t.Errorf("ended container of a moved tag: %q", c.Image)
	}
	wantCurrent(t, s, c, newer)

	d.importImage("gone", "gone")
	d.run("run", "--network", "none", "--name", "gone", "gone", "/bin/true")
	c = find(t, s, "gone")
	d.run("rmi", "--force", "gone")
	c = find(t, s, "gone")
	wantCurrent(t, s, c, "")
	if _, err := s.Image(inContext(t), c); !errors.Is(err, workload.ErrNoImage) {
		t.Errorf("removed image: %v", err)
	}
}

// testIdentifier refers to images by identifiers, and by names that look so.
func testIdentifier(t *testing.T, d *dockerd, s *Source) {
	id := d.run("image", "inspect", "--format", "{{.Id}}", "base:1")
	hex := strings.TrimPrefix(id, "sha256:")
	for name, ref := range map[string]string{"full": id, "bare": hex, "short": hex[:12], "prefixed": "sha256:" + hex[:9]} {
		d.run("run", "--network", "none", "--name", "by-"+name, ref, "/bin/true")
		if c := find(t, s, "by-"+name); c.Image != ref || c.ImageID != id {
			t.Errorf("by %s: %q %s", name, c.Image, c.ImageID)
		}
	}
	// A name that hides the identifier from Docker, which looks for names first.
	d.run("tag", "base:2", hex[:12])
	for _, name := range []string{"full", "bare", "short", "prefixed"} {
		wantCurrent(t, s, find(t, s, "by-"+name), id)
	}

	// A name of the same look, which then begins another image's identifier only.
	other := strings.TrimPrefix(d.run("image", "inspect", "--format", "{{.Id}}", "base:2"), "sha256:")[:8]
	d.run("tag", "base:1", other)
	d.run("run", "--network", "none", "--name", "lookalike", other, "/bin/true")
	c := find(t, s, "lookalike")
	wantCurrent(t, s, c, id)
	d.run("rmi", other+":latest")
	wantCurrent(t, s, find(t, s, "lookalike"), "")
}

func testDigest(t *testing.T, d *dockerd, s *Source) {
	r := startRegistry(t, "pulled")
	ref := r.host + "/tiny@" + r.manifest
	d.run("run", "--detach", "--network", "none", "--name", "by-digest", ref)
	c := find(t, s, "by-digest")
	if c.Image != ref {
		t.Errorf("image %q, want %q", c.Image, ref)
	}
	got := imageOf(t, s, c)
	if len(got.Layers) != 1 || got.Layers[0].CreatedBy != "the only layer" || !slices.Equal(got.Names, []string{ref}) {
		t.Errorf("%+v", got)
	}
	wantCurrent(t, s, c, c.ImageID)
	d.run("tag", ref, "pulled:1")
	d.run("rmi", ref) // only this name of it
	wantCurrent(t, s, find(t, s, "by-digest"), c.ImageID)
	d.run("rm", "--force", "by-digest")
	d.run("rmi", "pulled:1")
	wantCurrent(t, s, c, "")
}

func testWatch(t *testing.T, d *dockerd, s *Source) {
	ctx, cancel := context.WithCancel(inContext(t))
	defer cancel()
	changes, result := watch(ctx, s)
	wantChange(t, changes, result) // it listens
	for _, do := range [][]string{
		{"tag", "base:1", "seen:1"},
		{"rmi", "seen:1"},
		{"run", "--network", "none", "--name", "watched", "base:1", "/bin/true"},
		{"rename", "watched", "seen"},
		{"rm", "seen"},
	} {
		drain(changes)
		d.run(do...)
		wantChange(t, changes, result)
	}

	other, stop := context.WithCancel(ctx)
	_, stopped := watch(other, s)
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled watch: %v", err)
	}

	d.run("rm", "--force", "renamed") // which would take its time to end
	d.stop(t)
	if err := <-result; err == nil || isContext(err) {
		t.Errorf("watch of a daemon that ended: %v", err)
	}
	if _, err := s.Containers(ctx); err == nil || isContext(err) {
		t.Errorf("list of a daemon that ended: %v", err)
	}
}

// watch starts a watch; its result comes when it ends.
func watch(ctx context.Context, s *Source) (<-chan struct{}, <-chan error) {
	changes, result := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		result <- s.Watch(ctx, func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
	}()
	return changes, result
}

func wantChange(t *testing.T, changes <-chan struct{}, result <-chan error) {
	t.Helper()
	select {
	case <-changes:
	case err := <-result:
		t.Fatalf("watch ended: %v", err)
	}
}

func drain(changes <-chan struct{}) {
	for {
		select {
		case <-changes:
		default:
			return
		}
	}
}
