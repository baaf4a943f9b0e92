package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// HTTP is a client that asks whatever listens on a unix socket, as curl does.
func HTTP(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// Stream is the events of a sensor from a cursor on, each held against what every
// event promises.
type Stream struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	list   []sensor.Event
	at     []time.Time // when each was received
	fault  error       // an event was not as it has to be
	grown  chan struct{}
	closed bool
}

// Follow streams the events after a cursor, to the end of the test or of the sensor.
func (r *Running) Follow(t testing.TB, after uint64) *Stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sensor/v1/events?after="+strconv.FormatUint(after, 10), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := HTTP(r.Socket).Do(request)
	if err != nil {
		t.Fatalf("events after %d: %v", after, err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("events after %d: %s", after, answer.Status)
	}
	s := &Stream{cancel: cancel, done: make(chan struct{}), grown: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer answer.Body.Close()
		dec := json.NewDecoder(answer.Body)
		dec.DisallowUnknownFields()
		for last := after; ; {
			var e sensor.Event
			err := dec.Decode(&e)
			at := time.Now()
			if err == nil {
				err = checkEvent(&e, last, at)
				last = e.Cursor
				s.take(e, at)
			}
			if err != nil {
				s.end(err)
				return
			}
		}
	}()
	t.Cleanup(func() { s.Close(t) })
	return s
}

func (s *Stream) take(e sensor.Event, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.at = append(s.list, e), append(s.at, at)
	close(s.grown)
	s.grown = make(chan struct{})
}

func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wrong *wrongEvent
	var syntax *json.SyntaxError
	if errors.As(err, &wrong) || errors.As(err, &syntax) || strings.Contains(err.Error(), "json: ") {
		s.fault = err
	}
	s.closed = true
	close(s.grown)
}

// Close ends the stream and returns all that came.
func (s *Stream) Close(t testing.TB) []sensor.Event {
	t.Helper()
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		t.Errorf("stream of events: %v", s.fault)
		s.fault = nil
	}
	return slices.Clone(s.list)
}

// Events are those that have come so far.
func (s *Stream) Events() []sensor.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// About are those of the events so far that are about a given process.
func (s *Stream) About(pids ...int) []sensor.Event { return About(s.Events(), pids...) }

// About picks the events whose finding names one of the processes.
func About(events []sensor.Event, pids ...int) []sensor.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e sensor.Event) bool { return !Concerns(&e, pids...) })
}

// Concerns reports whether an event's finding names one of the processes.
func Concerns(e *sensor.Event, pids ...int) bool {
	return e.Finding != nil && slices.ContainsFunc(e.Finding.Processes, func(p sensor.Process) bool { return slices.Contains(pids, p.PID) })
}

// Await waits for an event among those that came and those that will, and returns
// it with the time at which it was received.
func (s *Stream) Await(t testing.TB, what string, matches func(*sensor.Event) bool) (sensor.Event, time.Time) {
	t.Helper()
	for next, timeout := 0, time.After(Patience); ; {
		s.mu.Lock()
		list, at, grown, closed := s.list, s.at, s.grown, s.closed
		s.mu.Unlock()
		for ; next < len(list); next++ {
			if matches(&list[next]) {
				return list[next], at[next]
			}
		}
		if closed {
			t.Fatalf("waiting for %s: the stream of events broke off; there were%s", what, listed(list))
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("not within %v: %s; there were%s", Patience, what, listed(list))
		}
	}
}

func describe(e *sensor.Event) string {
	switch {
	case e.Finding != nil:
		return fmt.Sprintf("%d %s %s (%s)", e.Cursor, e.Type, e.Finding.Workload.Name, e.Finding.Reason)
	case e.Patch != nil:
		return fmt.Sprintf("%d %s %s %s → %s", e.Cursor, e.Type, e.Patch.Package, e.Patch.From, e.Patch.To)
	case e.Gap != nil:
		return fmt.Sprintf("%d %s %s from %v to %v", e.Cursor, e.Type, e.Gap.Why, e.Gap.From, e.Gap.To)
	}
	return fmt.Sprintf("%d %s", e.Cursor, e.Type)
}

func listed(events []sensor.Event) string {
	var b strings.Builder
	for i := range events {
		fmt.Fprintf(&b, "\n\t%s", describe(&events[i]))
	}
	return b.String()
}

// wrongEvent is an event that breaks a promise.
type wrongEvent struct {
	event sensor.Event
	what  string
}

func (w *wrongEvent) Error() string {
	b, _ := json.Marshal(&w.event)
	return fmt.Sprintf("%s: %s", w.what, bytes.ToValidUTF8(b, nil))
}

// checkEvent holds an event against what every event promises; it was received at
// a time, after the one with the cursor last.
func checkEvent(e *sensor.Event, last uint64, received time.Time) error {
	wrong := func(format string, args ...any) error { return &wrongEvent{*e, fmt.Sprintf(format, args...)} }
	switch {
	case e.Schema != sensor.EventSchema:
		return wrong("schema is %q", e.Schema)
	case e.Cursor <= last:
		return wrong("cursor %d comes after %d", e.Cursor, last)
	case e.Time.Location() != time.UTC || e.Time.After(received.Add(time.Second)):
		return wrong("received at %v, it is of %v", received, e.Time)
	case e.Host.Name == "" || e.Host.Kernel == "":
		return wrong("it names no host")
	case (e.Patch != nil) != (e.Type == sensor.EventPatch), (e.Gap != nil) != (e.Type == sensor.EventGap):
		return wrong("type and content do not fit")
	}
	switch e.Type {
	case sensor.EventPatch:
		if e.Patch.From == e.Patch.To || e.Patch.Package == "" || e.Patch.Root == "" {
			return wrong("a patch that changes nothing")
		}
		return nil
	case sensor.EventGap:
		if e.Gap.Why == "" || e.Gap.To.Before(e.Gap.From) {
			return wrong("a gap of nothing")
		}
		return nil
	case sensor.EventStale, sensor.EventMissing, sensor.EventUnknown, sensor.EventChanged, sensor.EventResolved:
	default:
		return wrong("type is %q", e.Type)
	}
	return checkTold(e, wrong)
}

// checkTold holds an event about a finding against its type.
func checkTold(e *sensor.Event, wrong func(string, ...any) error) error {
	f, x := e.Finding, e.Exposure
	switch {
	case f == nil:
		return wrong("there is no finding")
	case f.ID == "" || f.Packages == nil || f.Processes == nil || f.Remedy.Command == nil:
		return wrong("null for a list, or no ID")
	case e.Type != sensor.EventChanged && e.Type != sensor.EventResolved && string(f.State) != string(e.Type):
		return wrong("the finding is %s", f.State)
	case f.State == sensor.Stale && x == nil:
		return wrong("stale without an exposure")
	case x == nil:
		return nil
	case (x.Closed != nil) != (e.Type == sensor.EventResolved):
		return wrong("closed is %v", x.Closed)
	case x.Opened.After(e.Time):
		return wrong("the exposure began after the event")
	}
	end := e.Time
	if x.Closed != nil {
		end = *x.Closed
	}
	if d := end.Sub(x.Opened).Seconds() - x.Seconds; d > 0.5 || d < -0.5 {
		return wrong("the exposure is from %v to %v and %v s long", x.Opened, end, x.Seconds)
	}
	return nil
}
