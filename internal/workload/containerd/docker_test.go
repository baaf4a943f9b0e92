package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Docker's own builder makes a layer in a container and leaves its snapshot on top of the
// container's: what lies between two layers is none.
func TestBuiltByDocker(t *testing.T) {
	d, ctx := startDaemon(t), testContext(t)
	a := newArchive(t)
	below, above := version("1"), layer{"RUN x", map[string]string{"x": "x"}}
	built := a.image(host(), "1", below, above)
	a.name(built, "docker.io/lab/built:1")
	d.load(ctx, "default", a)
	ns, _, err := d.client.WithLease(namespaces.WithNamespace(ctx, "default"))
	if err != nil {
		t.Fatal(err)
	}
	sn := d.client.SnapshotService("overlayfs")
	layers := []digest.Digest{digest.FromBytes(tarOf(t, below.files)), digest.FromBytes(tarOf(t, above.files))}
	chains := identity.ChainIDs(slices.Clone(layers))
	parent := ""
	for _, name := range []string{chains[0].String(), "builder-init", chains[1].String()} {
		mounts, err := sn.Prepare(ns, "work", parent)
		if err != nil {
			t.Fatal(err)
		}
		if err := mount.WithTempMount(ctx, mounts, func(root string) error {
			return os.WriteFile(filepath.Join(root, "which"), []byte(name), 0o644)
		}); err != nil {
			t.Fatal(err)
		}
		if err := sn.Commit(ns, name, "work"); err != nil {
			t.Fatal(err)
		}
		parent = name
	}
	if _, err := sn.Prepare(ns, id("built"), parent); err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.NewContainer(ns, id("built"), client.WithImageName("docker.io/lab/built:1"), client.WithNewSpec(),
		client.WithContainerLabels(map[string]string{dockerLabel: "/run/docker/containerd/x"})); err != nil {
		t.Fatal(err)
	}
	for _, learns := range []bool{true, false} {
		s := newSource(t, d)
		c := workload.Container{Namespace: "default", ID: "none", Image: "lab/built:1", Labels: map[string]string{dockerLabel: "/x"}, Rootfs: workload.Rootfs{Driver: "overlayfs"}}
		if learns {
			c = list(t, s)["default/"+id("built")]
			if len(c.Rootfs.Lower) != 3 || c.ImageID != built.Digest.String() {
				t.Errorf("%+v", c)
			}
			c.Image = "lab/built:1"
		}
		for range 2 { // the second time from memory
			now, err := s.Current(ctx, c)
			if err != nil || len(now.Layers) != 2 {
				t.Fatalf("%+v, %v", now, err)
			}
			for i, l := range now.Layers {
				if got := content(t, l.Dir, "which"); got != chains[i].String() {
					t.Errorf("layer %d: %+v, which is %q", i, l, got)
				}
			}
		}
	}
	c := workload.Container{Namespace: "default", ID: "none", Image: "lab/built:1"}
	if now, err := newSource(t, d).Current(ctx, c); !errors.Is(err, workload.ErrNoImage) {
		t.Errorf("whose names are not Docker's: %+v, %v", now, err)
	}
	clean(t, d, "default")
}
