package cri

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fake is a runtime that answers what it is told to. A nil function, and a map without
// the key, answer as a runtime does that has not such a call, container or image.
type fake struct {
	cri.UnimplementedRuntimeServiceServer
	cri.UnimplementedImageServiceServer

	name       string
	sandboxes  []*cri.PodSandbox
	containers []*cri.Container
	status     map[string]*cri.ContainerStatusResponse
	images     map[string]*cri.ImageStatusResponse
	imageErr   error
	events     func(cri.RuntimeService_GetContainerEventsServer) error
	// hang lists the calls that never answer.
	hang map[string]bool

	mu    sync.Mutex
	asked map[string]int // calls of ContainerStatus, by ID
}

func (f *fake) wait(ctx context.Context, call string) error {
	if !f.hang[call] {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) Version(ctx context.Context, _ *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{RuntimeName: f.name, RuntimeApiVersion: "v1"}, f.wait(ctx, "version")
}

func (f *fake) ListPodSandbox(ctx context.Context, _ *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	return &cri.ListPodSandboxResponse{Items: f.sandboxes}, f.wait(ctx, "sandboxes")
}

func (f *fake) ListContainers(ctx context.Context, _ *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	return &cri.ListContainersResponse{Containers: f.containers}, f.wait(ctx, "containers")
}

func (f *fake) ContainerStatus(ctx context.Context, r *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	f.mu.Lock()
	if f.asked == nil {
		f.asked = make(map[string]int)
	}
	f.asked[r.GetContainerId()]++
	f.mu.Unlock()
	if err := f.wait(ctx, "status"); err != nil {
		return nil, err
	}
	if s, ok := f.status[r.GetContainerId()]; ok {
		return s, nil
	}
	return nil, grpcstatus.Errorf(codes.NotFound, "could not find container %q", r.GetContainerId())
}

func (f *fake) asks(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[id]
}

func (f *fake) ImageStatus(ctx context.Context, r *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	if err := f.wait(ctx, "image"); err != nil {
		return nil, err
	}
	if s, ok := f.images[r.GetImage().GetImage()]; ok {
		return s, nil
	}
	return &cri.ImageStatusResponse{}, f.imageErr
}

func (f *fake) GetContainerEvents(_ *cri.GetEventsRequest, s cri.RuntimeService_GetContainerEventsServer) error {
	if f.events == nil {
		return grpcstatus.Error(codes.Unimplemented, "unknown method GetContainerEvents")
	}
	return f.events(s)
}

// serve starts the fake on a socket and connects to it; both end with the test.
func serve(t testing.TB, f *fake) *Source {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxSendMsgSize(1 << 30))
	cri.RegisterRuntimeServiceServer(server, f)
	cri.RegisterImageServiceServer(server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	s, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		server.Stop()
		<-done
		os.RemoveAll(dir)
	})
	return s
}

func golden(t testing.TB, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"info": string(data)}
}
