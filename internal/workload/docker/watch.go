package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// Watch calls changed once there is a connection, for nobody saw what happened
// before, and then after every event that may change what Containers, Image and
// Current say. It returns the context's error, or that of the connection once that
// is lost.
func (s *Source) Watch(ctx context.Context, changed func()) error {
	with, err := s.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Podman answers with its first event only, and Docker before it listens. So
	// both are asked for what happened since now: what changed makes the caller ask
	// is no older.
	now := time.Now()
	s.seen.forgetAll()
	changed()
	messages, errs := with.api.Events(ctx, events.ListOptions{
		Since:   fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
		Filters: eventFilters(with.engine),
	})
	for {
		select {
		case m := <-messages:
			if matters(m.Action) {
				s.seen.forget(m.Actor.ID)
				changed()
			}
		case err := <-errs:
			return s.lost(ctx, err)
		}
	}
}

// lost is the error of a watch that ended.
func (s *Source) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return s.fault("events", err)
}

// actions are the events that may change what this package says: those of Docker,
// then Podman's own words for them (libpod/events/config.go).
var actions = []events.Action{
	events.ActionCreate, events.ActionStart, events.ActionRestart, events.ActionDie, events.ActionDestroy, events.ActionRename,
	events.ActionTag, events.ActionUnTag, events.ActionDelete, events.ActionLoad, events.ActionImport, events.ActionPull, "build",

	"died", "init", "cleanup", "remove", "loadfromarchive",
}

// matters tells the actions from all that containers do without a change to them:
// health checks run programs every few seconds.
func matters(action events.Action) bool {
	for _, a := range actions {
		if strings.EqualFold(string(action), string(a)) {
			return true
		}
	}
	return false
}

// eventFilters asks for the events of containers and images, and of Docker for
// those alone that matter. Podman's filter does not know all of its own words.
func eventFilters(engine string) filters.Args {
	args := filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("type", string(events.ImageEventType)),
	)
	if engine == engineDocker {
		for _, action := range actions {
			args.Add("event", string(action))
		}
	}
	return args
}
