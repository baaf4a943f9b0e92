package containerd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// fake is a daemon that answers what it is told to.
type fake struct {
	namespaces []string
	containers func(send func(*containersapi.Container) error) error
	tasks      []*tasktypes.Process
	images     []*imagesapi.Image
	blob       func(digest string, send func([]byte) error) error
	stat       func(key string) (*snapshotsapi.Info, error)
	mounts     []*types.Mount
	viewErr    error
	view       func(context.Context) // called while a view is made

	views, removed, leased, released atomic.Int32
}

type (
	fakeNamespaces struct {
		namespacesapi.UnimplementedNamespacesServer
		*fake
	}
	fakeContainers struct {
		containersapi.UnimplementedContainersServer
		*fake
	}
	fakeTasks struct {
		tasksapi.UnimplementedTasksServer
		*fake
	}
	fakeImages struct {
		imagesapi.UnimplementedImagesServer
		*fake
	}
	fakeContent struct {
		contentapi.UnimplementedContentServer
		*fake
	}
	fakeSnapshots struct {
		snapshotsapi.UnimplementedSnapshotsServer
		*fake
	}
	fakeLeases struct {
		leasesapi.UnimplementedLeasesServer
		*fake
	}
)

func (f fakeNamespaces) List(context.Context, *namespacesapi.ListNamespacesRequest) (*namespacesapi.ListNamespacesResponse, error) {
	r := &namespacesapi.ListNamespacesResponse{}
	for _, name := range f.namespaces {
		r.Namespaces = append(r.Namespaces, &namespacesapi.Namespace{Name: name})
	}
	return r, nil
}

func (f fakeContainers) ListStream(_ *containersapi.ListContainersRequest, s containersapi.Containers_ListStreamServer) error {
	return f.fake.containers(func(c *containersapi.Container) error {
		return s.Send(&containersapi.ListContainerMessage{Container: c})
	})
}

func (f fakeTasks) List(context.Context, *tasksapi.ListTasksRequest) (*tasksapi.ListTasksResponse, error) {
	return &tasksapi.ListTasksResponse{Tasks: f.tasks}, nil
}

func (f fakeImages) List(context.Context, *imagesapi.ListImagesRequest) (*imagesapi.ListImagesResponse, error) {
	return &imagesapi.ListImagesResponse{Images: f.images}, nil
}

func (f fakeContent) Read(r *contentapi.ReadContentRequest, s contentapi.Content_ReadServer) error {
	if f.blob == nil {
		return status.Error(codes.NotFound, "no")
	}
	return f.blob(r.Digest, func(data []byte) error { return s.Send(&contentapi.ReadContentResponse{Data: data}) })
}

func (f fakeSnapshots) Stat(_ context.Context, r *snapshotsapi.StatSnapshotRequest) (*snapshotsapi.StatSnapshotResponse, error) {
	if f.stat == nil {
		return nil, status.Error(codes.Unavailable, "the plugin is gone")
	}
	info, err := f.stat(r.Key)
	return &snapshotsapi.StatSnapshotResponse{Info: info}, err
}

func (f fakeSnapshots) Mounts(context.Context, *snapshotsapi.MountsRequest) (*snapshotsapi.MountsResponse, error) {
	return &snapshotsapi.MountsResponse{Mounts: f.mounts}, nil
}

func (f fakeSnapshots) View(ctx context.Context, _ *snapshotsapi.ViewSnapshotRequest) (*snapshotsapi.ViewSnapshotResponse, error) {
	f.views.Add(1)
	if f.view != nil {
		f.view(ctx)
	}
	return &snapshotsapi.ViewSnapshotResponse{Mounts: f.mounts}, f.viewErr
}

func (f fakeSnapshots) Remove(_ context.Context, r *snapshotsapi.RemoveSnapshotRequest) (*emptypb.Empty, error) {
	if strings.HasPrefix(r.Key, viewPrefix) {
		f.removed.Add(1)
	}
	return &emptypb.Empty{}, nil
}

func (f fakeLeases) Create(_ context.Context, r *leasesapi.CreateRequest) (*leasesapi.CreateResponse, error) {
	if strings.HasPrefix(r.ID, viewPrefix) && r.Labels["containerd.io/gc.expire"] != "" {
		f.leased.Add(1)
	}
	return &leasesapi.CreateResponse{}, nil
}

func (f fakeLeases) Delete(context.Context, *leasesapi.DeleteRequest) (*emptypb.Empty, error) {
	f.released.Add(1)
	return &emptypb.Empty{}, nil
}

// serve lets the fake answer until the test ends.
func (f *fake) serve(t *testing.T) *Source {
	t.Helper()
	// Whatever a path holds, it is a path.
	socket := filepath.Join(t.TempDir(), "a b%2f?c")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxSendMsgSize(4 * maxMessage))
	namespacesapi.RegisterNamespacesServer(server, fakeNamespaces{fake: f})
	containersapi.RegisterContainersServer(server, fakeContainers{fake: f})
	tasksapi.RegisterTasksServer(server, fakeTasks{fake: f})
	imagesapi.RegisterImagesServer(server, fakeImages{fake: f})
	contentapi.RegisterContentServer(server, fakeContent{fake: f})
	snapshotsapi.RegisterSnapshotsServer(server, fakeSnapshots{fake: f})
	leasesapi.RegisterLeasesServer(server, fakeLeases{fake: f})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	s, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func one(c *containersapi.Container) func(func(*containersapi.Container) error) error {
	return func(send func(*containersapi.Container) error) error { return send(c) }
}

func TestNewRefusesRelativePaths(t *testing.T) {
	for _, socket := range []string{"", "containerd.sock", "unix:///run/containerd/containerd.sock"} {
		if _, err := New(socket); err == nil {
			t.Errorf("%q was taken", socket)
		}
	}
}

func TestHostileContainer(t *testing.T) {
	labels := map[string]string{"long": strings.Repeat("x", maxString+1), "io.kubernetes.container.name": "\x1b[2Jname"}
	for i := range 2 * maxLabels {
		labels["a"+strconv.Itoa(i)] = "x"
	}
	f := &fake{
		namespaces: []string{"", "a\r\nb", "../..", strings.Repeat("x", 77), kubernetes},
		containers: func(send func(*containersapi.Container) error) error {
			for _, c := range []*containersapi.Container{nil, {}, {ID: strings.Repeat("x", maxID+1)}, {
				ID: "../../c", Image: strings.Repeat("x", maxString+1), Labels: labels, Snapshotter: "overlayfs", SnapshotKey: "k",
				CreatedAt: &timestamppb.Timestamp{Seconds: -1 << 62},
			}} {
				if err := send(c); err != nil {
					return err
				}
			}
			return nil
		},
		tasks: []*tasktypes.Process{nil, {ID: "../../c", Pid: 1<<32 - 1, Status: 77}},
		images: []*imagesapi.Image{nil, {}, {Name: "x"}, {Name: "y", Target: &types.Descriptor{Digest: "sha256:../../x", Size: -1}},
			{Name: "z", Target: &types.Descriptor{Digest: zeros, Size: 1 << 62}}},
		// Snapshots that are one another's parents.
		stat:   func(key string) (*snapshotsapi.Info, error) { return &snapshotsapi.Info{Parent: key + "x"}, nil },
		mounts: []*types.Mount{{Type: "overlay", Options: []string{"upperdir=../../etc", "lowerdir=/a:/b/../../etc"}}},
	}
	s := f.serve(t)
	all, err := s.Containers(testContext(t))
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	c := all[0]
	if c.Image != "" || c.ImageID != "" || c.Running || c.Rootfs.Upper != "" || c.Rootfs.Lower != nil || !c.Created.IsZero() || c.Pod != nil {
		t.Errorf("%+v", c)
	}
	if len(c.Labels) > maxLabels || c.Labels["long"] != "" || c.Name != "\x1b[2Jname" {
		t.Errorf("%d labels, name %q", len(c.Labels), c.Name)
	}
	// A snapshotter that is gone is not a daemon that is gone.
	f.stat = nil
	if all, err = s.Containers(testContext(t)); err != nil || len(all) != 1 || all[0].Rootfs.Driver != "overlayfs" {
		t.Errorf("without the snapshotter: %+v, %v", all, err)
	}
	for _, ns := range []string{"", "a\nb", "../.."} {
		if _, err := s.Image(testContext(t), workload.Container{Namespace: ns, ID: "c"}); !errors.Is(err, workload.ErrNoImage) {
			t.Errorf("namespace %q: %v", ns, err)
		}
	}
}

func TestEndlessLists(t *testing.T) {
	f := &fake{namespaces: []string{"default"}, containers: func(send func(*containersapi.Container) error) error {
		for i := 0; ; i++ {
			if err := send(&containersapi.Container{ID: strconv.Itoa(i)}); err != nil {
				return err
			}
		}
	}}
	if all, err := f.serve(t).Containers(testContext(t)); err == nil {
		t.Errorf("%d containers", len(all))
	}
	f.namespaces = make([]string, maxNamespaces+1)
	if _, err := f.serve(t).Containers(testContext(t)); err == nil {
		t.Error("endless namespaces")
	}
	f.namespaces = []string{"default"}
	f.containers = one(&containersapi.Container{ID: "c", Image: strings.Repeat("x", 2*maxMessage)})
	if _, err := f.serve(t).Containers(testContext(t)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large message: %v", err)
	}
	f.containers = one(&containersapi.Container{ID: "c"})
	f.images = make([]*imagesapi.Image, maxImages+1)
	if _, err := f.serve(t).Containers(testContext(t)); err == nil {
		t.Error("endless images")
	}
}

func TestHostileContent(t *testing.T) {
	nested := func(string, func([]byte) error) error { return nil }
	for name, c := range map[string]struct {
		blob func(string, func([]byte) error) error
		want error
	}{
		"missing": {nil, ErrNoContent},
		"endless": {func(_ string, send func([]byte) error) error {
			for {
				if err := send(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		}, errMalformed},
		"another": {func(_ string, send func([]byte) error) error { return send([]byte(`{"manifests":[]}`)) }, errMalformed},
		"empty":   {nested, errMalformed},
	} {
		f := &fake{blob: c.blob, images: []*imagesapi.Image{{Name: "app:1", Target: &types.Descriptor{Digest: zeros, Size: 10}}}}
		got, err := f.serve(t).Current(testContext(t), workload.Container{Namespace: "default", Image: "app:1"})
		if !errors.Is(err, c.want) || errors.Is(err, workload.ErrNoImage) || got.ID != zeros {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

const oneLayerConfig = `{"rootfs":{"diff_ids":["` + zeros + `"]}}`

// oneLayer is an image "app:1" of one layer.
func oneLayer() ([]*imagesapi.Image, func(string, func([]byte) error) error) {
	config := digest.FromString(oneLayerConfig).String()
	manifest := `{"config":{"digest":"` + config + `","size":1}}`
	id := digest.FromString(manifest).String()
	blobs := map[string]string{config: oneLayerConfig, id: manifest}
	return []*imagesapi.Image{{Name: "app:1", Target: &types.Descriptor{Digest: id, Size: 1}}},
		func(d string, send func([]byte) error) error { return send([]byte(blobs[d])) }
}

// A view is removed and its lease ended, also if making it failed.
func TestViewIsRemoved(t *testing.T) {
	images, blob := oneLayer()
	for _, viewErr := range []error{nil, status.Error(codes.Unknown, "no")} {
		f := &fake{
			images:  images,
			blob:    blob,
			stat:    func(string) (*snapshotsapi.Info, error) { return &snapshotsapi.Info{}, nil },
			mounts:  []*types.Mount{{Type: "bind", Source: "/layer", Options: []string{"ro"}}},
			viewErr: viewErr,
		}
		s := f.serve(t)
		for range 2 {
			c := workload.Container{Namespace: "default", Image: "app:1", Rootfs: workload.Rootfs{Driver: "overlayfs"}}
			got, err := s.Current(testContext(t), c)
			if err != nil || len(got.Layers) != 1 || (got.Layers[0].Dir == "/layer") != (viewErr == nil) {
				t.Errorf("%+v, %v", got, err)
			}
		}
		made := f.views.Load()
		if viewErr == nil && made != 1 {
			t.Errorf("%d views of one image", made)
		}
		if f.removed.Load() != made || f.leased.Load() != made || f.released.Load() != made {
			t.Errorf("%d views, %d removed, %d leased, %d released", made, f.removed.Load(), f.leased.Load(), f.released.Load())
		}
		// The CRI plugin refers to images by the digest of their configuration.
		for _, ref := range []string{digest.FromString(oneLayerConfig).String(), "x@" + images[0].Target.Digest} {
			c := workload.Container{Namespace: "default", Image: ref}
			if got, err := s.Current(testContext(t), c); err != nil || got.Names[0] != "app:1" || got.Layers[0].Dir != "" {
				t.Errorf("%s: %+v, %v", ref, got, err)
			}
		}
		// With others a view might copy the image.
		c := workload.Container{Namespace: "default", Image: "app:1", Rootfs: workload.Rootfs{Driver: "native"}}
		if got, err := s.Current(testContext(t), c); err != nil || got.Layers[0].Dir != "" || f.views.Load() != made {
			t.Errorf("native: %+v, %v", got, err)
		}
	}
}

// Who gives up while a view is made gets away, and the view is removed all the same.
func TestCancelledView(t *testing.T) {
	images, blob := oneLayer()
	ctx, cancel := context.WithCancel(testContext(t))
	f := &fake{
		images: images, blob: blob,
		stat: func(string) (*snapshotsapi.Info, error) { return &snapshotsapi.Info{}, nil },
		view: func(call context.Context) { cancel(); <-call.Done() },
	}
	s := f.serve(t)
	c := workload.Container{Namespace: "default", Image: "app:1", Rootfs: workload.Rootfs{Driver: "overlayfs"}}
	if got, err := s.Current(ctx, c); err == nil && got.Layers[0].Dir != "" {
		t.Errorf("%+v", got)
	}
	s.Close()
	if f.removed.Load() != 1 || f.released.Load() != 1 {
		t.Errorf("%d removed, %d released", f.removed.Load(), f.released.Load())
	}
}
