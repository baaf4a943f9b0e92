package cri

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ErrNoEvents says that a runtime sends no events: list the containers from time to
// time instead.
var ErrNoEvents = errors.New("the runtime sends no events")

// Watch calls changed once it listens, as something may have changed before, and
// after every event, until the context ends or the connection is lost. It returns why;
// ErrNoEvents if the runtime has none: containerd before 1.7, and CRI-O unless
// enable_pod_events is set, which then ends the stream at once.
//
// Events tell of containers only. That a reference names another image tells none.
func (s *Source) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.runtime.GetContainerEvents(ctx, &cri.GetEventsRequest{})
	if err != nil {
		return watchError(ctx, err)
	}
	changed()
	for events := 0; ; events++ {
		_, err := stream.Recv()
		switch {
		case err == nil:
			changed()
		case errors.Is(err, io.EOF) && events == 0:
			return fmt.Errorf("cri: %w", ErrNoEvents)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("cri: events: %w", io.ErrUnexpectedEOF)
		default:
			return watchError(ctx, err)
		}
	}
}

func watchError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case grpcstatus.Code(err) == codes.Unimplemented:
		return fmt.Errorf("cri: %w", ErrNoEvents)
	}
	return fmt.Errorf("cri: events: %w", err)
}
