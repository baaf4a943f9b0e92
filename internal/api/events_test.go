package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// collect reads a stream that ends.
func collect(t *testing.T, s *Server, query string) (events []sensor.Event, header http.Header) {
	t.Helper()
	r := get(t, s, "/v1/events"+query)
	if r.code != http.StatusOK {
		t.Fatalf("%d %s", r.code, r.body)
	}
	for line := range strings.Lines(string(r.body)) {
		var e sensor.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events, r.header
}

func cursors(events []sensor.Event) []uint64 {
	out := []uint64{}
	for _, e := range events {
		out = append(out, e.Cursor)
	}
	return out
}

func TestEvents(t *testing.T) {
	l := &sinktest.Live{Condition: full[sensor.Status]()}
	s := serve(t, l, nil)
	host := sensor.Host{Name: "web1"}
	for range 10 {
		l.Emit(sensor.Event{Type: sensor.EventPatch, Host: host})
	}
	l.Forget(6)
	for _, test := range []struct {
		query string
		want  []uint64
		// gap says that the first is a gap.
		gap   bool
		begin string
	}{
		{"?follow=false", []uint64{}, false, "10"},
		{"?after=10&follow=false", []uint64{}, false, "10"},
		{"?after=8&follow=false", []uint64{9, 10}, false, "8"},
		{"?after=6&follow=false", []uint64{7, 8, 9, 10}, false, "6"},
		{"?after=5&follow=false", []uint64{6, 7, 8, 9, 10}, true, "5"},
		{"?after=0&follow=false", []uint64{6, 7, 8, 9, 10}, true, "0"},
		// A cursor that was never given out is one of another life.
		{"?after=11&follow=false", []uint64{6, 7, 8, 9, 10}, true, "11"},
		{"?after=18446744073709551615&follow=false", []uint64{6, 7, 8, 9, 10}, true, "18446744073709551615"},
	} {
		events, header := collect(t, s, test.query)
		if got := cursors(events); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.query, got, test.want)
		}
		gap := len(events) > 0 && events[0].Type == sensor.EventGap
		if gap != test.gap || (header.Get(headerGone) == "true") != test.gap || header.Get(headerCursor) != test.begin {
			t.Errorf("%s: gap %t, header %v", test.query, gap, header)
		}
		if gap && (events[0].Gap == nil || events[0].Gap.Why == "" || events[0].Host != host || events[0].Schema != sensor.EventSchema) {
			t.Errorf("%s: %+v", test.query, events[0])
		}
	}
	l.Forget(10)
	events, _ := collect(t, s, "?after=3&follow=false")
	if len(events) != 1 || events[0].Cursor != 10 || events[0].Type != sensor.EventGap || events[0].Host != l.Condition.Host {
		t.Errorf("with none kept: %+v", events)
	}
	fresh := serve(t, &sinktest.Live{}, nil)
	if events, header := collect(t, fresh, "?after=0&follow=false"); len(events) != 0 || header.Get(headerGone) != "" {
		t.Errorf("before the first event: %v", events)
	}
}

// TestManyEvents reads more than are read at once.
func TestManyEvents(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, nil)
	for range 3*batch + 1 {
		l.Emit(sensor.Event{Type: sensor.EventPatch})
	}
	events, _ := collect(t, s, "?after=0&follow=false")
	if len(events) != 3*batch+1 || events[3*batch].Cursor != 3*batch+1 {
		t.Errorf("%d events", len(events))
	}
}

// TestResume breaks a stream off at random places and goes on by cursor: every
// event is seen once.
func TestResume(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, nil)
	c := sensor.NewClient(s.opts.Socket)
	const total = 500
	go func() {
		for range total {
			l.Emit(sensor.Event{Type: sensor.EventPatch})
		}
	}()
	var after uint64
	for round := uint64(1); after < total; round++ {
		read := uint64(0)
		for e, err := range c.Events(t.Context(), after, true) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Cursor != after+1 {
				t.Fatalf("event %d after %d", e.Cursor, after)
			}
			after = e.Cursor
			if read++; read == round*7%31+1 || after == total {
				break
			}
		}
	}
	eventually(t, "the streams to end", func() bool { return s.Stats().Streams == 0 })
}

// TestGapWithin prunes what a reader has not got yet.
func TestGapWithin(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, nil)
	c := dial(t, s)
	io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header.Get(headerCursor) != "0" {
		t.Errorf("%v", r.Header)
	}
	l.Forget(l.Emit(sensor.Event{Type: sensor.EventPatch}))
	lines := bufio.NewScanner(r.Body)
	for want := uint64(1); want < 5; want++ {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		var e sensor.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Cursor != want {
			t.Fatalf("%s: %v, want %d", lines.Bytes(), err, want)
		}
		l.Emit(sensor.Event{Type: sensor.EventPatch})
	}
}

// TestStreams holds that only some may follow at once.
func TestStreams(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	most := part(s.limits.streams).perUser
	ended := make(chan error, most)
	for range most {
		go func() {
			for _, err := range sensor.NewClient(s.opts.Socket).Events(ctx, sensor.OnlyNew, true) {
				ended <- err
			}
		}()
	}
	eventually(t, "the streams to begin", func() bool { return s.Stats().Streams == most })
	r := get(t, s, "/v1/events?follow=false")
	if r.code != http.StatusServiceUnavailable || s.Stats().Refused["streams"] != 1 {
		t.Errorf("%d, %+v", r.code, s.Stats())
	}
	r.problem(t)
	cancel()
	for range most {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	}
	eventually(t, "the streams to end", func() bool { return s.Stats().Streams == 0 })
}

// TestEndOfStream holds that a follower is told when the sensor ends.
func TestEndOfStream(t *testing.T) {
	l := &sinktest.Live{}
	result := make(chan error, 1)
	t.Run("serve", func(t *testing.T) {
		s := serve(t, l, nil)
		go func() {
			var last error
			for _, err := range sensor.NewClient(s.opts.Socket).Events(context.Background(), sensor.OnlyNew, true) {
				last = err
			}
			result <- last
		}()
		eventually(t, "the stream to begin", func() bool { return s.Stats().Streams == 1 })
	})
	if err := <-result; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// TestBrokenStream holds that a stream that the sensor cannot go on with does not
// look whole.
func TestBrokenStream(t *testing.T) {
	l := &sinktest.Live{}
	reads := 0
	l.Reading = func(context.Context) error {
		if reads++; reads == 2 {
			return fmt.Errorf("no database")
		}
		return nil
	}
	l.Emit(sensor.Event{Type: sensor.EventPatch})
	s := serve(t, l, nil)
	var last error
	read := 0
	for _, err := range sensor.NewClient(s.opts.Socket).Events(t.Context(), 0, false) {
		if err == nil {
			read++
		}
		last = err
	}
	if read != 1 || !errors.Is(last, io.ErrUnexpectedEOF) {
		t.Errorf("%d events, then %v, want %v", read, last, io.ErrUnexpectedEOF)
	}
}

// promising announces an event that cannot be read.
type promising struct{ *sinktest.Live }

func (p promising) Events(ctx context.Context, _ uint64, limit int) ([]sensor.Event, error) {
	return p.Live.Events(ctx, p.Cursor(), limit)
}

// TestLostEvent holds that an event that is announced but not there keeps nobody
// busy.
func TestLostEvent(t *testing.T) {
	var reads atomic.Int32
	l := &sinktest.Live{Reading: func(context.Context) error { reads.Add(1); return nil }}
	s := serve(t, promising{l}, func(s *Server) { s.limits.pause = patience })
	io.WriteString(dial(t, s), "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the stream to begin", func() bool { return s.Stats().Streams == 1 })
	l.Emit(sensor.Event{Type: sensor.EventPatch})
	eventually(t, "the event to be looked for", func() bool { return reads.Load() >= 2 })
	time.Sleep(50 * time.Millisecond)
	if n := reads.Load(); n > 3 {
		t.Errorf("it was looked for %d times", n)
	}
}
