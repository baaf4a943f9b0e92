package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
)

func newSource(t *testing.T, d *daemon) *Source {
	t.Helper()
	s, err := New(d.socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func host() ocispec.Platform { return platforms.DefaultSpec() }

// foreign is a platform whose programs the host does not run.
func foreign() ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: "s390x"} }

func version(v string) layer {
	return layer{"RUN echo " + v, map[string]string{"etc/version": v}}
}

func list(t *testing.T, s *Source) map[string]workload.Container {
	t.Helper()
	all, err := s.Containers(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	byID := make(map[string]workload.Container, len(all))
	for _, c := range all {
		byID[c.Namespace+"/"+c.ID] = c
	}
	return byID
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// clean fails if the source left a view or a lease behind.
func clean(t *testing.T, d *daemon, ns string) {
	t.Helper()
	ctx := namespaces.WithNamespace(testContext(t), ns)
	err := d.client.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if strings.HasPrefix(i.Name, viewPrefix) {
			t.Errorf("the snapshot %s was left", i.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	leases, err := d.client.LeasesService().List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, l := range leases {
		if strings.HasPrefix(l.ID, viewPrefix) {
			t.Errorf("the lease %s was left", l.ID)
		}
	}
}

func TestContainers(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	a := newArchive(t)
	app := a.image(host(), "1", busybox(t), version("1"))
	a.name(app, "example.org/app:1")
	for _, ns := range []string{"default", kubernetes, "moby"} {
		d.load(ctx, ns, a, "example.org/app:1")
	}
	in := func(ns string) client.Image {
		return d.image(namespaces.WithNamespace(ctx, ns), "example.org/app:1")
	}
	pod := map[string]string{
		"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.uid": "u-1",
		"io.kubernetes.container.name": "nginx", "io.cri-containerd.kind": "container",
	}
	sandbox := map[string]string{
		"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.uid": "u-1",
		"io.cri-containerd.kind": "sandbox", "statefulset.kubernetes.io/pod-name": "web-0",
		"controller-revision-hash": "web-5d4f8c7b9",
	}
	before := time.Now().Add(-time.Minute)
	live := d.create(ctx, "default", id("live"), "overlayfs", in("default"), map[string]string{"nerdctl/name": "web", "x": "y"}, "/bin/busybox", "sleep", "1000")
	task, _ := d.start(ctx, "default", live)
	gone := d.create(ctx, "default", id("ended"), "overlayfs", in("default"), nil, "/bin/busybox", "true")
	_, exited := d.start(ctx, "default", gone)
	select {
	case <-exited:
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	d.create(ctx, "default", id("never"), "overlayfs", in("default"), pod, "/bin/busybox", "true")
	inPod := d.create(ctx, kubernetes, id("pod"), "overlayfs", in(kubernetes), pod, "/bin/busybox", "sleep", "1000")
	podTask, _ := d.start(ctx, kubernetes, inPod)
	d.create(ctx, kubernetes, id("sandbox"), "overlayfs", in(kubernetes), sandbox, "/bin/busybox", "true")
	d.create(ctx, "moby", id("docker"), "overlayfs", in("moby"), nil, "/bin/busybox", "true")

	s := newSource(t, d)
	if s.Name() != "containerd" {
		t.Errorf("Name is %q", s.Name())
	}
	all := list(t, s)
	for key, want := range map[string]workload.Container{
		"default/" + id("live"):          {Name: "web", PID: int(task.Pid()), Running: true},
		"default/" + id("ended"):         {Name: id("ended")},
		"default/" + id("never"):         {Name: "nginx"}, // no pods outside of Kubernetes
		kubernetes + "/" + id("pod"):     {Name: "nginx", PID: int(podTask.Pid()), Running: true, Pod: &workload.Pod{Namespace: "shop", Name: "web-0", UID: "u-1"}},
		kubernetes + "/" + id("sandbox"): {Name: id("sandbox"), Sandbox: true, Pod: &workload.Pod{Namespace: "shop", Name: "web-0", UID: "u-1"}},
		"moby/" + id("docker"):           {Name: id("docker")},
	} {
		c, ok := all[key]
		if !ok {
			t.Errorf("%s is not listed", key)
			continue
		}
		if c.Name != want.Name || c.PID != want.PID || c.Running != want.Running || c.Sandbox != want.Sandbox {
			t.Errorf("%s: %+v", key, c)
		}
		if (c.Pod == nil) != (want.Pod == nil) || c.Pod != nil && (c.Pod.Namespace != want.Pod.Namespace ||
			c.Pod.Name != want.Pod.Name || c.Pod.UID != want.Pod.UID) {
			t.Errorf("%s: pod %+v", key, c.Pod)
		}
		if c.Runtime != "containerd" || c.Image != "example.org/app:1" || c.ImageID != app.Digest.String() || c.Created.Before(before) {
			t.Errorf("%s: %+v", key, c)
		}
		if c.Rootfs.Driver != "overlayfs" || len(c.Rootfs.Lower) != 2 {
			t.Fatalf("%s: %+v", key, c.Rootfs)
		}
		if got := content(t, c.Rootfs.Lower[0], "etc/version") + content(t, c.Rootfs.Lower[1], "etc/base"); got != "1base" {
			t.Errorf("%s: the layers hold %q", key, got)
		}
		if info, err := os.Stat(c.Rootfs.Upper); err != nil || !info.IsDir() {
			t.Errorf("%s: upper: %v", key, err)
		}
	}
	if len(all) != 6 {
		t.Errorf("%d containers", len(all))
	}
	if got := all["default/"+id("live")].Labels["x"]; got != "y" {
		t.Errorf("label x is %q", got)
	}

	// The owner is told by the sandbox alone.
	if p := all[kubernetes+"/"+id("pod")].Pod; p == nil || p.OwnerKind != "StatefulSet" || p.OwnerName != "web" {
		t.Errorf("the pod is %+v", p)
	}

	// The directories of layers are those of a container's root: nothing is made.
	c := all["default/"+id("live")]
	got, err := s.Image(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != app.Digest.String() || !slices.Equal(got.Names, []string{"example.org/app:1"}) || got.Created.Year() != 2026 || len(got.Layers) != 2 ||
		got.Layers[0].CreatedBy != "ADD busybox" || got.Layers[1].CreatedBy != "RUN echo 1" ||
		got.Layers[0].Dir != c.Rootfs.Lower[1] || got.Layers[1].Dir != c.Rootfs.Lower[0] {
		t.Errorf("%+v", got)
	}
	if want := digest.FromBytes(tarOf(t, version("1").files)).String(); got.Layers[1].Digest != want {
		t.Errorf("layer 1 is %s, not %s", got.Layers[1].Digest, want)
	}
}

// A name that moves does not take a container along.
func TestMovedName(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	a := newArchive(t)
	first := a.image(host(), "1", busybox(t), version("1"))
	second := a.image(host(), "1", busybox(t), version("2"))
	twin := a.image(host(), "2", busybox(t), version("1")) // the layers of first
	a.name(first, "app:1", "app:old", "app@"+first.Digest.String())
	a.name(second, "app:2")
	a.name(twin, "app:twin")
	d.load(ctx, "default", a, "app:1")
	ns := namespaces.WithNamespace(ctx, "default")
	c := d.create(ctx, "default", id("moved"), "overlayfs", d.image(ns, "app:1"), nil, "/bin/busybox", "sleep", "1000")
	d.start(ctx, "default", c)
	byDigest := d.create(ctx, "default", id("bydigest"), "overlayfs", d.image(ns, "app@"+first.Digest.String()), nil, "/bin/busybox", "true")
	s := newSource(t, d)
	store := d.client.ImageService()
	point := func(name string, to ocispec.Descriptor) {
		t.Helper()
		if _, err := store.Update(ns, images.Image{Name: name, Target: to}); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := store.Delete(ns, name, images.SynchronousDelete()); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(when string, made, current ocispec.Descriptor) (workload.Image, workload.Image) {
		t.Helper()
		got := list(t, s)["default/"+c.ID()]
		if got.ImageID != made.Digest.String() {
			t.Errorf("%s: ImageID %s, not %s", when, got.ImageID, made.Digest)
		}
		if len(got.Rootfs.Lower) != 2 || content(t, got.Rootfs.Lower[0], "etc/version") != "1" {
			t.Errorf("%s: %+v", when, got.Rootfs)
		}
		m, err := s.Image(ctx, got)
		if made.Digest == "" && !errors.Is(err, workload.ErrNoImage) || made.Digest != "" && err != nil || m.ID != made.Digest.String() {
			t.Errorf("%s: made from %s: %v", when, m.ID, err)
		}
		n, err := s.Current(ctx, got)
		if current.Digest == "" && !errors.Is(err, workload.ErrNoImage) || current.Digest != "" && err != nil || n.ID != current.Digest.String() {
			t.Errorf("%s: now %s: %v", when, n.ID, err)
		}
		clean(t, d, "default")
		return m, n
	}
	check("at first", first, first)

	point("app:1", second)
	made, current := check("moved", first, second)
	if content(t, made.Layers[1].Dir, "etc/version") != "1" || !slices.Contains(made.Names, "app:old") || slices.Contains(made.Names, "app:1") {
		t.Errorf("made from %+v", made)
	}
	if current.Layers[1].Dir != "" || current.Layers[1].Digest == made.Layers[1].Digest || current.Layers[0].Digest != made.Layers[0].Digest {
		t.Errorf("now %+v, which is not unpacked", current)
	}
	d.unpack(ns, d.image(ns, "app:2"), "overlayfs")
	_, current = check("unpacked", first, second)
	if current.Layers[1].Dir == "" || content(t, current.Layers[1].Dir, "etc/version") != "2" || content(t, current.Layers[0].Dir, "etc/base") != "base" {
		t.Errorf("now %+v", current)
	}
	if current.Layers[0].Dir != made.Layers[0].Dir {
		t.Errorf("equal layers in %s and %s", current.Layers[0].Dir, made.Layers[0].Dir)
	}
	// What the name has is believed where layers cannot tell.
	point("app:1", twin)
	check("twin", twin, twin)
	point("app:1", second)

	// A reference by digest names what it always named, with and without a name.
	other := list(t, s)["default/"+byDigest.ID()]
	for _, when := range []string{"named", "moved name", "unnamed"} {
		if n, err := s.Current(ctx, other); err != nil || n.ID != first.Digest.String() {
			t.Errorf("%s: by digest: %s, %v", when, n.ID, err)
		}
		switch when {
		case "named":
			point(other.Image, second)
		case "moved name":
			remove(other.Image)
		}
	}

	remove("app:old")
	check("without the first", twin, second)
	remove("app:twin")
	check("without either", ocispec.Descriptor{}, second)
	remove("app:1")
	check("without the name", ocispec.Descriptor{}, ocispec.Descriptor{})
	if _, err := s.Current(ctx, other); !errors.Is(err, workload.ErrNoImage) {
		t.Errorf("by digest, without the image: %v", err)
	}

	// A container that was removed meanwhile was made from what it was said to be.
	if m, err := s.Image(ctx, workload.Container{Namespace: "default", ID: "gone", ImageID: second.Digest.String(), Rootfs: workload.Rootfs{Driver: "overlayfs"}}); err != nil ||
		m.ID != second.Digest.String() || m.Layers[1].Dir == "" {
		t.Errorf("removed: %+v, %v", m, err)
	}
	clean(t, d, "default")
}

func TestIndex(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	a := newArchive(t)
	index := func(tag string) (ocispec.Descriptor, ocispec.Descriptor) {
		ours, theirs := a.image(host(), tag, busybox(t), version(tag)), a.image(foreign(), tag, version("foreign "+tag))
		h, f := host(), foreign()
		ours.Platform, theirs.Platform = &h, &f
		attested := a.image(ocispec.Platform{}, tag, layer{"attest", map[string]string{"sbom": tag}})
		attested.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
		// The content of most platforms is never pulled.
		absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(tag), Size: 3,
			Platform: &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}}
		return a.add(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{attested, absent, theirs, ours}}), ours
	}
	first, ours := index("1")
	second, _ := index("2")
	a.name(first, "app:1")
	a.name(second, "app:2")
	a.name(ours, "ours:1")
	d.load(ctx, "default", a, "app:1", "app:2")
	ns := namespaces.WithNamespace(ctx, "default")
	theirs, err := d.client.ImageService().Get(ns, "app:1")
	if err != nil {
		t.Fatal(err)
	}
	foreignImage := client.NewImageWithPlatform(d.client, theirs, platforms.OnlyStrict(foreign()))
	d.unpack(ns, foreignImage, "overlayfs")
	d.create(ctx, "default", id("ours"), "overlayfs", d.image(ns, "app:1"), nil, "/bin/busybox", "true")
	d.create(ctx, "default", id("theirs"), "overlayfs", foreignImage, nil, "/bin/busybox", "true")
	s := newSource(t, d)
	store := d.client.ImageService()
	if _, err := store.Create(ns, images.Image{Name: "app:old", Target: first}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(ns, images.Image{Name: "app:1", Target: second}); err != nil {
		t.Fatal(err)
	}
	all := list(t, s)
	for name, want := range map[string][2]string{"ours": {"1", "2"}, "theirs": {"foreign 1", "foreign 2"}} {
		c := all["default/"+id(name)]
		made, err := s.Image(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		// Either of the first index and its manifest that is named: both are it.
		if made.ID != first.Digest.String() && made.ID != ours.Digest.String() || c.ImageID != made.ID {
			t.Errorf("%s: made from %s, listed with %s", name, made.ID, c.ImageID)
		}
		top := made.Layers[len(made.Layers)-1]
		if top.CreatedBy != "RUN echo "+want[0] || content(t, top.Dir, "etc/version") != want[0] {
			t.Errorf("%s: made from %+v", name, made)
		}
		now, err := s.Current(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		top = now.Layers[len(now.Layers)-1]
		if now.ID != second.Digest.String() || top.CreatedBy != "RUN echo "+want[1] {
			t.Errorf("%s: now %+v", name, now)
		}
		if name == "ours" && content(t, top.Dir, "etc/version") != want[1] || name == "theirs" && top.Dir != "" {
			t.Errorf("%s: unpacked to %q", name, top.Dir)
		}
	}
	clean(t, d, "default")

	// An image whose description is missing is there, but nothing is known of it.
	lost := images.Image{Name: "lost:1", Target: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("lost"), Size: 4}}
	if _, err := store.Create(ns, lost); err != nil {
		t.Fatal(err)
	}
	c := all["default/"+id("ours")]
	c.Image = "lost:1"
	if now, err := s.Current(ctx, c); !errors.Is(err, ErrNoContent) || now.ID != lost.Target.Digest.String() || len(now.Layers) > 0 {
		t.Errorf("lost: %+v, %v", now, err)
	}
	if again := list(t, s); len(again) != 2 {
		t.Errorf("%d containers beside a lost image", len(again))
	}
}

// What containerd's other ways of keeping a root tell.
func TestRoots(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	a := newArchive(t)
	single := a.image(host(), "1", version("single"))
	other := a.image(host(), "1", version("other"))
	a.name(single, "single:1")
	a.name(other, "other:1")
	d.load(ctx, "default", a, "single:1", "other:1")
	// The lease keeps snapshots that no container names yet.
	ns, _, err := d.client.WithLease(namespaces.WithNamespace(ctx, "default"))
	if err != nil {
		t.Fatal(err)
	}
	image := d.image(ns, "single:1")
	d.unpack(ns, image, "native")
	chain := digest.FromBytes(tarOf(t, version("single").files)).String()

	d.create(ctx, "default", id("native"), "native", image, nil, "true")
	// As Docker does: a layer of its own between the image's and the container's.
	sn := d.client.SnapshotService("overlayfs")
	if _, err := sn.Prepare(ns, "work", chain); err != nil {
		t.Fatal(err)
	}
	if err := sn.Commit(ns, "docker-init", "work"); err != nil {
		t.Fatal(err)
	}
	record := func(name, snapshotter, key, parent string, view bool, more ...client.NewContainerOpts) {
		t.Helper()
		make := sn.Prepare
		if view {
			make = sn.View
		}
		if key != "" {
			if _, err := make(ns, key, parent); err != nil {
				t.Fatal(err)
			}
		}
		opts := []client.NewContainerOpts{client.WithImageName("single:1"), client.WithNewSpec()}
		if snapshotter != "" {
			opts = append(opts, client.WithSnapshotter(snapshotter), client.WithSnapshot(key))
		}
		if _, err := d.client.NewContainer(ns, id(name), append(opts, more...)...); err != nil {
			t.Fatal(err)
		}
	}
	record("init", "overlayfs", "a", "docker-init", false)
	record("view", "overlayfs", "b", chain, true)
	record("scratch", "overlayfs", "c", "", false)
	record("bare", "", "", "", false)
	record("lost", "overlayfs", "d", chain, false)
	// Docker's images are containerd's, and it keeps the snapshot's name to itself. With
	// others containerd does not have the container's root.
	docker := client.WithContainerLabels(map[string]string{dockerLabel: "/run/docker/containerd/x"})
	if _, err := sn.Prepare(ns, id("docker"), "docker-init"); err != nil {
		t.Fatal(err)
	}
	record("docker", "", "", "", false, docker)
	record("docker-own", "", "", "", false, docker)
	if _, err := sn.Prepare(ns, id("not-docker"), "docker-init"); err != nil {
		t.Fatal(err)
	}
	record("not-docker", "", "", "", false)
	if err := sn.Remove(ns, "d"); err != nil {
		t.Fatal(err)
	}

	s := newSource(t, d)
	all := list(t, s)
	for name, want := range map[string]struct {
		driver       string
		upper, image bool
		lower        int
		dir          bool
	}{
		"native":  {driver: "native", image: true},
		"init":    {driver: "overlayfs", image: true, upper: true, lower: 2, dir: true},
		"view":    {driver: "overlayfs", image: true, lower: 1, dir: true},
		"scratch": {driver: "overlayfs", upper: true},
		"bare":    {},
		"lost":    {driver: "overlayfs"},
		"docker":  {driver: "overlayfs", image: true, upper: true, lower: 2, dir: true},

		"docker-own": {},
		"not-docker": {},
	} {
		c, ok := all["default/"+id(name)]
		if !ok {
			t.Errorf("%s is not listed", name)
			continue
		}
		if c.Rootfs.Driver != want.driver || (c.Rootfs.Upper != "") != want.upper || len(c.Rootfs.Lower) != want.lower ||
			(c.ImageID == single.Digest.String()) != want.image || !want.image && c.ImageID != "" {
			t.Errorf("%s: %+v", name, c)
		}
		made, err := s.Image(ctx, c)
		if want.image && err != nil || !want.image && !errors.Is(err, workload.ErrNoImage) {
			t.Errorf("%s: %v", name, err)
		}
		if !want.image {
			continue
		}
		if len(made.Layers) != 1 || (made.Layers[0].Dir != "") != want.dir || want.dir && content(t, made.Layers[0].Dir, "etc/version") != "single" {
			t.Errorf("%s: made from %+v", name, made)
		}
	}
	// An image of one layer, which no container uses: its view is a bind mount.
	c := all["default/"+id("view")]
	c.Image = "other:1"
	if now, err := s.Current(ctx, c); err != nil || content(t, now.Layers[0].Dir, "etc/version") != "other" {
		t.Errorf("%+v, %v", now, err)
	}
	clean(t, d, "default")
}

// Directories that were learnt are not believed after the layers were unpacked anew.
func TestUnpackedAnew(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	a := newArchive(t)
	a.name(a.image(host(), "1", version("1"), layer{"x", map[string]string{"x": "x"}}), "app:1")
	d.load(ctx, "default", a, "app:1")
	s := newSource(t, d)
	c := workload.Container{Namespace: "default", ID: "none", Image: "app:1", Rootfs: workload.Rootfs{Driver: "overlayfs"}}
	var dirs []string
	for range 2 {
		now, err := s.Current(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if content(t, now.Layers[0].Dir, "etc/version") != "1" {
			t.Fatalf("%+v", now)
		}
		dirs = append(dirs, now.Layers[0].Dir)
		ns := namespaces.WithNamespace(ctx, "default")
		if err := d.client.ImageService().Delete(ns, "app:1", images.SynchronousDelete()); err != nil {
			t.Fatal(err)
		}
		d.load(ctx, "default", a, "app:1")
	}
	if dirs[0] == dirs[1] {
		t.Errorf("unpacked to %s twice", dirs[0])
	}
	clean(t, d, "default")
}

func TestWatch(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	s := newSource(t, d)
	changes := make(chan struct{}, 1024)
	ended := make(chan error, 1)
	watch := func(ctx context.Context) {
		go func() { ended <- s.Watch(ctx, func() { changes <- struct{}{} }) }()
	}
	changed := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case err := <-ended:
			t.Fatalf("%s: the watch ended: %v", what, err)
		case <-ctx.Done():
			t.Fatalf("%s: no change was seen", what)
		}
		for len(changes) > 0 {
			<-changes
		}
	}
	watch(ctx)
	changed("start")
	ns := namespaces.WithNamespace(ctx, "default")
	a := newArchive(t)
	image := a.image(host(), "1", busybox(t))
	a.name(image, "app:1")
	d.load(ctx, "default", a, "app:1")
	changed("image")
	c := d.create(ctx, "default", id("watched"), "overlayfs", d.image(ns, "app:1"), nil, "/bin/busybox", "sleep", "1000")
	changed("container")
	task, exited := d.start(ctx, "default", c)
	changed("task")
	if err := task.Kill(ns, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-exited
	changed("exit")
	if _, err := task.Delete(ns); err != nil {
		t.Fatal(err)
	}

	cancelled, cancel := context.WithCancel(ctx)
	other := make(chan error, 1)
	go func() { other <- s.Watch(cancelled, cancel) }()
	if err := <-other; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	d.stop(syscall.SIGKILL)
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("killed: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("the watch outlives the daemon")
	}
	if all, err := s.Containers(ctx); err == nil {
		t.Errorf("a killed daemon answers %+v", all)
	}
	known := workload.Container{Namespace: "default", ID: id("watched"), Image: "app:1"}
	if _, err := s.Current(ctx, known); err == nil || errors.Is(err, workload.ErrNoImage) {
		t.Errorf("a killed daemon has no image: %v", err)
	}

	// The same source finds the daemon that comes after it.
	d.run()
	for {
		if all, err := s.Containers(ctx); err == nil {
			if len(all) != 1 || all[0].ImageID != image.Digest.String() {
				t.Errorf("%+v", all)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the new daemon is not found")
		}
		time.Sleep(10 * time.Millisecond)
	}

	// A daemon that hangs holds nobody longer than its context.
	d.freeze()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.Containers(short); err == nil {
		t.Error("a stopped daemon answers")
	}
	if err := s.Watch(short, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("watching a stopped daemon: %v", err)
	}
}
