// Package containerd asks containerd which containers there are, in every
// namespace, and which images they were made from and would be made from now.
//
// It speaks containerd's gRPC services directly: the client library collects
// whole answers, where these are read one message at a time and can be bounded.
// The sensor writes one thing to containerd, for a moment: see [Source.Image].
package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// runtimeName is what [Source.Name] and each container's Runtime say.
const runtimeName = "containerd"

// Bounds on what a daemon may answer. A list beyond them is an error and not cut
// short: what is left out would pass for not there.
const (
	maxMessage    = 16 << 20 // bytes of one gRPC message, as in containerd's own client
	maxNamespaces = 1024
	maxContainers = 20_000 // over all namespaces
	maxImages     = 20_000 // in one namespace
	maxID         = 1024   // bytes of an identifier
	maxString     = 4096   // bytes of a name, a reference, a label's key or value
	maxLabels     = 256    // of one container
	maxCached     = 4096   // entries of each cache
	reconnectMax  = 2 * time.Second
	dialTimeout   = 5 * time.Second
)

// ErrNoContent says that an image is in the store but what describes it is not,
// as after a pull that broke off or a deletion of content.
var ErrNoContent = errors.New("content is not in the store")

// Source is one containerd. It may be used by many at a time.
type Source struct {
	conn       *grpc.ClientConn
	namespaces namespacesapi.NamespacesClient
	containers containersapi.ContainersClient
	tasks      tasksapi.TasksClient
	images     imagesapi.ImagesClient
	content    contentapi.ContentClient
	snapshots  snapshotsapi.SnapshotsClient
	leases     leasesapi.LeasesClient
	events     eventsapi.EventsClient

	variants cache[[]variant] // by namespace, target digest and time of update
	layers   cache[unpacked]  // by namespace, snapshotter and chain ID

	tidy sync.WaitGroup // removals of views under way
}

// New returns the containerd that listens on the unix socket, an absolute path.
// Nothing is connected before something is asked, and connections that are lost
// are made anew at the next question.
func New(socket string) (*Source, error) {
	if !filepath.IsAbs(socket) {
		return nil, fmt.Errorf("containerd: socket %q: not an absolute path", socket)
	}
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = reconnectMax/20, reconnectMax
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	// The path goes to the dialer and not into the target, which is a URL.
	conn, err := grpc.NewClient("passthrough:///containerd",
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: dialTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("containerd: %s: %w", socket, err)
	}
	return &Source{
		conn:       conn,
		namespaces: namespacesapi.NewNamespacesClient(conn),
		containers: containersapi.NewContainersClient(conn),
		tasks:      tasksapi.NewTasksClient(conn),
		images:     imagesapi.NewImagesClient(conn),
		content:    contentapi.NewContentClient(conn),
		snapshots:  snapshotsapi.NewSnapshotsClient(conn),
		leases:     leasesapi.NewLeasesClient(conn),
		events:     eventsapi.NewEventsClient(conn),
	}, nil
}

// Name is "containerd".
func (s *Source) Name() string { return runtimeName }

// Close waits for the removal of views, at most tidyTimeout, and ends the
// connection. Nothing may be asked after it began.
func (s *Source) Close() error {
	s.tidy.Wait()
	return s.conn.Close()
}

// namespaceName mirrors pkg/identifiers/validate.go of containerd. The name goes
// into a header, so nothing else is let through.
var namespaceName = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`)

const maxNamespaceName = 76

func validNamespace(name string) bool {
	return len(name) <= maxNamespaceName && namespaceName.MatchString(name)
}

// listNamespaces returns the names of all namespaces.
func (s *Source) listNamespaces(ctx context.Context) ([]string, error) {
	r, err := s.namespaces.List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("containerd: namespaces: %w", err)
	}
	if len(r.GetNamespaces()) > maxNamespaces {
		return nil, fmt.Errorf("containerd: more than %d namespaces", maxNamespaces)
	}
	var names []string
	for _, n := range r.GetNamespaces() {
		if validNamespace(n.GetName()) {
			names = append(names, n.GetName())
		}
	}
	return names, nil
}

// within returns a context whose calls act in a namespace (the header of
// pkg/namespaces/grpc.go).
func within(ctx context.Context, namespace string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
}

// missing reports whether the daemon answered that there is no such thing.
func missing(err error) bool { return status.Code(err) == codes.NotFound }

// lost returns the error if it is ctx's or that of the connection, after which
// nothing more can be asked, and nil if it only concerns what was asked for: the
// daemon answers for snapshotters that are gone with the same code as gRPC for a
// daemon that is gone.
func (s *Source) lost(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if status.Code(err) == codes.Unavailable && s.conn.GetState() != connectivity.Ready {
		return err
	}
	return nil
}

// because puts ctx's own error in the place of what gRPC made of it.
func because(ctx context.Context, err *error) {
	if ended := ctx.Err(); ended != nil && *err != nil {
		*err = fmt.Errorf("containerd: %w", ended)
	}
}

// cache is a map of bounded size, forgotten as a whole when it is full: it only
// spares work. The zero value is ready for use.
type cache[V any] struct {
	mu sync.Mutex
	m  map[string]V
}

func (c *cache[V]) get(key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[key]
	return v, ok
}

func (c *cache[V]) put(key string, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxCached {
		c.m = make(map[string]V)
	}
	c.m[key] = v
}
