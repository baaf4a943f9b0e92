package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
)

// topics are the events after which an answer may be another (the filters' syntax
// is that of pkg/filters, the topics those of core/metadata and the shims).
// Snapshots are committed after their image was named, so they count too.
var topics = []string{
	`topic~="^/containers/"`,
	`topic~="^/images/"`,
	`topic~="^/tasks/(create|start|exit|delete|paused|resumed)$"`,
	`topic~="^/snapshot/(commit|remove)$"`,
}

// Watch calls changed once when it watches, and then after every event of
// containers, tasks, images and snapshots in any namespace, until ctx ends or the
// connection is lost, whose error it returns. Events are not kept for who does
// not listen, and nobody says when listening began: what happens within the first
// moment may be missed.
func (s *Source) Watch(ctx context.Context, changed func()) (err error) {
	defer because(ctx, &err)
	calls, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.events.Subscribe(calls, &eventsapi.SubscribeRequest{Filters: topics})
	if err != nil {
		return fmt.Errorf("containerd: events: %w", err)
	}
	// An answer on the same connection shows that the daemon is there, and has most
	// likely read the subscription that was sent before.
	if _, err := s.listNamespaces(ctx); err != nil {
		return err
	}
	changed()
	for {
		event, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("containerd: events: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return fmt.Errorf("containerd: events: %w", err)
		case matters(event):
			changed()
		}
	}
}

// matters is false for the end of what was executed inside a container, such as
// probes every few seconds, and for the removal of the sensor's own views, which
// would have it look again for ever.
func matters(event *types.Envelope) bool {
	switch event.GetTopic() {
	case "/tasks/exit":
		var e events.TaskExit
		return event.GetEvent().UnmarshalTo(&e) != nil || e.GetID() == e.GetContainerID()
	case "/snapshot/remove":
		var e events.SnapshotRemove
		return event.GetEvent().UnmarshalTo(&e) != nil || !strings.Contains(e.GetKey(), viewPrefix)
	}
	return true
}
