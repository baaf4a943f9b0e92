package containerd

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"google.golang.org/grpc/metadata"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// snapshot names one in a namespace; both are empty for a container whose root
// containerd does not keep, such as those of Docker's own drivers.
type snapshot struct{ snapshotter, key string }

// dockerLabel is on every container of Docker's (moby,
// daemon/internal/libcontainerd/remote/client.go).
const dockerLabel = "com.docker/engine.bundle.path"

// snapshotOf is what a container's record names or, if it names none, what Docker made
// for it. Docker with containerd's image store mounts the root itself, so it does not
// tell containerd of the snapshot, whose key is the container's ID (moby,
// daemon/containerd/image_snapshot.go).
func (s *Source) snapshotOf(ctx context.Context, r record) (snapshot, error) {
	if r.snapshot != (snapshot{}) || r.labels[dockerLabel] == "" {
		return r.snapshot, nil
	}
	for _, snapshotter := range overlays() {
		name := snapshot{snapshotter, r.id}
		if info, err := s.stat(ctx, name); err != nil || info != nil {
			return name, err
		}
	}
	return snapshot{}, nil
}

// root is a container's root, as far as its snapshot tells.
type root struct {
	rootfs workload.Rootfs
	// chain is the chain ID of the image that the root was made from, empty if it
	// was made from none or that is not known.
	chain string
	// above counts the directories of rootfs.Lower that are not the image's.
	above int
}

// maxAbove bounds how many snapshots may lie between a container's and its
// image's; Docker and user namespaces put one there.
const maxAbove = 4

// rootOf asks for a container's root. That a snapshot is gone or cannot be asked
// for is no error, as with containers that ended long ago.
//
// A snapshot's parents never change. The first of them whose name is a digest is
// the image's top layer: it is named by the chain ID of the image's layers
// (image-spec, config.md), so it tells which layers the root was made from
// however the image's name moved since. Docker ("ID-init") and containerd 1.x
// ("CHAIN-UID-GID", for user namespaces) put a snapshot between, whose name is
// no digest. containerd 2.x names that one by a digest which is no image's; of
// such a container the image is not known.
func (s *Source) rootOf(ctx context.Context, name snapshot) (root, error) {
	found := root{rootfs: workload.Rootfs{Driver: clip(name.snapshotter)}}
	if name.snapshotter == "" || name.key == "" {
		return found, nil
	}
	info, err := s.stat(ctx, name)
	if err != nil || info == nil {
		return found, err
	}
	parented := info.GetParent() != ""
	for parent := info.GetParent(); parent != "" && found.above < maxAbove; found.above++ {
		if digest.Digest(parent).Validate() == nil {
			found.chain = parent
			break
		}
		info, err := s.stat(ctx, snapshot{name.snapshotter, parent})
		if err != nil {
			return found, err
		}
		parent = info.GetParent()
	}
	r, err := s.snapshots.Mounts(ctx, &snapshotsapi.MountsRequest{Snapshotter: name.snapshotter, Key: name.key})
	if err != nil {
		return found, s.lost(ctx, err)
	}
	found.rootfs.Upper, found.rootfs.Lower = directories(r.GetMounts(), name.snapshotter, parented)
	return found, nil
}

// stat returns nil for a snapshot that is not there or cannot be asked for, as
// that of a snapshotter whose plugin is not loaded. The only errors are ctx's and the
// connection's.
func (s *Source) stat(ctx context.Context, name snapshot) (*snapshotsapi.Info, error) {
	r, err := s.snapshots.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Snapshotter: name.snapshotter, Key: name.key})
	if err != nil {
		return nil, s.lost(ctx, err)
	}
	return r.GetInfo(), nil
}

// unpacked are the directories of the layers of one chain, lowest first. They are
// good for as long as the chain's snapshot is the one that was created then: it
// holds its parents.
type unpacked struct {
	created time.Time
	dirs    []string
}

func layersKey(ns, snapshotter, chain string) string {
	return ns + "\x00" + snapshotter + "\x00" + chain
}

// learn remembers the layers' directories that a container's root shows, so that
// no view is needed to learn them.
func (s *Source) learn(ctx context.Context, ns, snapshotter string, r root) {
	if r.chain == "" || len(r.rootfs.Lower) <= r.above {
		return
	}
	key := layersKey(ns, snapshotter, r.chain)
	if _, ok := s.layers.get(key); ok {
		return
	}
	info, err := s.stat(ctx, snapshot{snapshotter, r.chain})
	if err != nil || info == nil {
		return
	}
	dirs := slices.Clone(r.rootfs.Lower[r.above:])
	slices.Reverse(dirs)
	s.layers.put(key, unpacked{timeOf(info.GetCreatedAt()), dirs})
}

// directoriesOf returns the directories of an image's layers, lowest first as the
// layers are; none if they are not unpacked or not known.
func (s *Source) directoriesOf(ctx context.Context, ns, snapshotter string, layers []digest.Digest) []string {
	if snapshotter == "" || len(layers) == 0 {
		return nil
	}
	chains := identity.ChainIDs(slices.Clone(layers)) // it writes them in place
	chain := chains[len(chains)-1].String()
	info, err := s.stat(ctx, snapshot{snapshotter, chain})
	if err != nil || info == nil {
		return nil
	}
	key := layersKey(ns, snapshotter, chain)
	created := timeOf(info.GetCreatedAt())
	known, ok := s.layers.get(key)
	if !ok || !known.created.Equal(created) {
		if !overlay(snapshotter) {
			return nil
		}
		lower := s.view(ctx, snapshotter, chain)
		if len(lower) == 0 {
			return nil
		}
		slices.Reverse(lower)
		known = unpacked{created, lower}
		s.layers.put(key, known)
	}
	if len(known.dirs) > len(layers) {
		known.dirs = s.among(ctx, snapshotter, chains, known.dirs)
		s.layers.put(key, known)
	}
	if len(known.dirs) != len(layers) {
		return nil
	}
	return known.dirs
}

// among picks the directories of an image's layers out of those that its snapshot is
// made of, lowest first. Docker's own builder and its commits put the snapshot of a layer
// on top of the container's in which it was made, and so of one ("ID-init") that is no
// layer.
func (s *Source) among(ctx context.Context, snapshotter string, chains []digest.Digest, dirs []string) []string {
	var picked []string
	name := chains[len(chains)-1].String()
	for i := range slices.Backward(dirs) {
		if left := len(chains) - len(picked); left > 0 && name == chains[left-1].String() {
			picked = append(picked, dirs[i])
		}
		info, err := s.stat(ctx, snapshot{snapshotter, name})
		if err != nil || info == nil {
			return nil
		}
		if name = info.GetParent(); (name == "") != (i == 0) {
			return nil // not as many snapshots as directories
		}
	}
	slices.Reverse(picked)
	return picked
}

const (
	// viewPrefix is what the names of views and their leases begin with.
	viewPrefix = "sensor-view-"
	// viewLife is how long a view may outlive a sensor that is killed.
	viewLife = time.Minute
	// tidyTimeout bounds the removal of a view.
	tidyTimeout = 5 * time.Second
)

// view learns the directories of an image's layers, topmost first, from a
// read-only snapshot of it that is removed at once. The lease makes containerd
// itself remove it if that fails.
func (s *Source) view(ctx context.Context, snapshotter, chain string) []string {
	name := viewPrefix + rand.Text()
	_, err := s.leases.Create(ctx, &leasesapi.CreateRequest{ID: name, Labels: map[string]string{
		"containerd.io/gc.expire": time.Now().Add(viewLife).UTC().Format(time.RFC3339),
	}})
	// What failed for this side may have been done on the other.
	defer s.discard(ctx, snapshotter, name)
	if err != nil {
		return nil
	}
	leased := metadata.AppendToOutgoingContext(ctx, "containerd-lease", name)
	r, err := s.snapshots.View(leased, &snapshotsapi.ViewSnapshotRequest{
		Snapshotter: snapshotter, Key: name, Parent: chain,
	})
	if err != nil {
		return nil
	}
	_, lower := directories(r.GetMounts(), snapshotter, true)
	return lower
}

// discard removes a view and its lease, also when ctx has ended: then nobody
// waits for it.
func (s *Source) discard(ctx context.Context, snapshotter, name string) {
	done := make(chan struct{})
	s.tidy.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
		defer cancel()
		// An error leaves the removal to the lease, and there is no more to do.
		_, _ = s.snapshots.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: name})
		_, _ = s.leases.Delete(ctx, &leasesapi.DeleteRequest{ID: name})
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}
