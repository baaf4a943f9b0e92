// Package cri asks a container runtime over the Kubernetes container runtime interface
// (k8s.io/cri-api, v1) what containers there are: CRI-O, and any other that has no
// adapter of its own.
//
// What a runtime answers is not trusted: it is bounded, and strings are handed on as
// they are.
package cri

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Source is one runtime. It connects when first asked, and again after the connection
// was lost; it may be used concurrently.
type Source struct {
	conn    *grpc.ClientConn
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	// statusTimeout bounds one call that is made for each container.
	statusTimeout time.Duration

	mu    sync.Mutex
	name  string            // empty until the runtime has told
	known map[string]status // of running containers, by ID
}

// maxMessage is the largest response that is read: the kubelet's own limit, 16 MiB
// (k8s.io/cri-client, maxMsgSize). maxHeaders bounds what comes before it.
const (
	maxMessage = 16 << 20
	maxHeaders = 16 << 10
)

// maxSocket is what fits into the kernel's struct sockaddr_un with its final zero.
const maxSocket = 107

// New returns the runtime that listens on a unix socket, which need not exist yet.
// The path is absolute.
func New(socket string) (*Source, error) {
	if !filepath.IsAbs(socket) || len(socket) > maxSocket {
		return nil, fmt.Errorf("cri: %q is no path of a socket", socket)
	}
	// The target is not parsed: a path may hold anything.
	conn, err := grpc.NewClient("passthrough:///cri",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}),
		grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("cri: %s: %w", socket, err)
	}
	return &Source{
		conn:    conn,
		runtime: cri.NewRuntimeServiceClient(conn),
		images:  cri.NewImageServiceClient(conn),
		known:   make(map[string]status),

		statusTimeout: statusTimeout,
	}, nil
}

// unnamed is what a runtime is called that has not told its name.
const unnamed = "cri"

// Name is what the runtime calls itself: "cri-o", "containerd". It is "cri" before the
// first successful Containers, and for a name that is none.
func (s *Source) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name == "" {
		return unnamed
	}
	return s.name
}

// learnName asks for the name once.
func (s *Source) learnName(ctx context.Context) error {
	s.mu.Lock()
	known := s.name != ""
	s.mu.Unlock()
	if known {
		return nil
	}
	v, err := s.runtime.Version(ctx, &cri.VersionRequest{})
	if grpcstatus.Code(err) == codes.Unimplemented {
		return fmt.Errorf("cri: %w", workload.ErrNotServed)
	}
	if err != nil {
		return fmt.Errorf("cri: version: %w", failed(ctx, err))
	}
	name := v.GetRuntimeName()
	if len(name) > 64 || !isPlain(name) {
		name = unnamed
	}
	s.mu.Lock()
	s.name = name
	s.mu.Unlock()
	return nil
}

// failed makes an error of a call one that errors.Is knows as the context's, where the
// context is what ended it. The other side knows the deadline too and may answer a
// moment before the context ends.
func failed(ctx context.Context, err error) error {
	switch {
	case grpcstatus.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// Close ends the connection, and with it all calls.
func (s *Source) Close() error { return s.conn.Close() }
