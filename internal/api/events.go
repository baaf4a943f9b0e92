package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/sensor"
)

// The headers of a stream of events.
const (
	// headerCursor is the cursor after which the stream begins.
	headerCursor = "Sensor-Cursor"
	// headerGone says that events after the cursor asked for are lost.
	headerGone = "Sensor-Cursor-Gone"
)

// batch is how many events are read at once.
const batch = 256

// events streams what happened after a cursor and, if asked to, what will.
func (h *handler) events(w http.ResponseWriter, r *http.Request, query url.Values) error {
	follow, err := boolean(query, "follow", true)
	if err != nil {
		return err
	}
	newest := h.live.Cursor()
	after := newest
	if query.Has("after") {
		if after, err = strconv.ParseUint(query.Get("after"), 10, 64); err != nil {
			return misuse(fmt.Sprintf("the parameter \"after\" is %q", query.Get("after")), "it is the cursor of an event, or 0 for all that are kept")
		}
	}
	release, ok := h.streams.take(peerOf(r.Context()))
	if !ok {
		h.stats.refuse("streams")
		return errStreams
	}
	defer release()
	s := stream{handler: h, out: paced{w, h.limits.progress}, after: after}
	// A cursor from the future is one of a state that was lost: what has come
	// since is new to whoever holds it.
	if after > newest {
		s.after, s.gone = 0, true
	}
	if err := s.read(r.Context()); err != nil {
		return err
	}
	w.Header().Set("Content-Type", typeLines)
	w.Header().Set(headerCursor, strconv.FormatUint(after, 10))
	if s.gone {
		w.Header().Set(headerGone, "true")
	}
	w.WriteHeader(http.StatusOK)
	return s.run(r.Context(), follow)
}

// stream is one reader of events.
type stream struct {
	*handler
	out paced
	// after is the cursor up to which all was read, events what comes next, and
	// gone says that others came between. newest is the cursor of an event that
	// is among these or gone.
	after, newest uint64
	events        []sensor.Event
	gone          bool
}

// read gets the next events.
func (s *stream) read(ctx context.Context) (err error) {
	// Before, not after: what comes meanwhile is not gone.
	s.newest = s.live.Cursor()
	s.events, err = s.live.Events(ctx, s.after, batch)
	if errors.Is(err, sensor.ErrCursor) {
		s.gone, err = true, nil
	}
	return err
}

// run writes until there is no more, the reader has gone, or it has to go.
func (s *stream) run(ctx context.Context, follow bool) error {
	for {
		wrote, err := s.write(ctx)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.stats.dropped.Add(1)
			s.log.Debug("dropped a reader of events that does not read", zap.Uint32("uid", peerOf(ctx).uid))
		}
		if err != nil {
			return errAborted
		}
		if !wrote {
			if !follow {
				return nil
			}
			if err := s.live.Wait(ctx, s.after); err != nil {
				return s.ended(ctx, err)
			}
		}
		if err := s.read(ctx); err != nil {
			return s.ended(ctx, err)
		}
		// An event that is announced but cannot be read, as when the disk is
		// full, must not keep this loop busy.
		if !wrote && len(s.events) == 0 && !s.gone {
			select {
			case <-time.After(s.limits.pause):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// ended tells the end of the sensor or of the reader from a fault.
func (s *stream) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	s.log.Warn("a stream of events broke off", zap.Error(err))
	return errAborted
}

// write sends what was read and flushes it, and reports whether that was
// anything.
func (s *stream) write(ctx context.Context) (bool, error) {
	var b bytes.Buffer
	if s.gone {
		gap := s.gap(ctx)
		s.after, s.gone = gap.Cursor, false
		if err := appendLine(&b, &gap); err != nil {
			return false, err
		}
	}
	for i := range s.events {
		if err := appendLine(&b, &s.events[i]); err != nil {
			return false, err
		}
		s.after = s.events[i].Cursor
	}
	s.events = nil
	wrote := b.Len() > 0
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return wrote, err
	}
	return wrote, s.out.Flush()
}

func appendLine(b *bytes.Buffer, e *sensor.Event) error {
	line, err := encode(e)
	b.Write(line)
	return err
}

// gap stands for the events between the cursor and the first that is kept. To
// resume after it is to go on with that one.
func (s *stream) gap(ctx context.Context) sensor.Event {
	e := sensor.Event{Schema: sensor.EventSchema, Type: sensor.EventGap, Time: time.Now().UTC(), Cursor: s.newest}
	if len(s.events) > 0 {
		first := &s.events[0]
		e.Cursor, e.Host, e.Time = first.Cursor-1, first.Host, first.Time
	} else if status, err := s.live.Status(ctx); err == nil {
		e.Host = status.Host
	}
	// When the lost ones were is lost with them.
	e.Gap = &sensor.Gap{From: e.Time, To: e.Time, Why: fmt.Sprintf("the events that came after cursor %d are not kept any more", s.after)}
	return e
}
