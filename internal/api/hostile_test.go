package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// closed waits until the door closes a connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	if err != nil {
		t.Errorf("the connection is open: %v", err)
	}
}

// TestCrowd has another user hold a thousand connections. The sensor goes on and
// tells root of it.
func TestCrowd(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, func(s *Server) { s.opts.Group, s.limits.header = fmt.Sprint(club), patience })
	crowd := become(t, "crowd", s.opts.Socket, syscall.Credential{Uid: stranger, Gid: club})
	if got := crowd.says(t); got != "crowded 1000" {
		t.Fatal(got)
	}
	c := sensor.NewClient(s.opts.Socket)
	const events = 1000
	go func() {
		for range events {
			l.Emit(sensor.Event{Type: sensor.EventPatch})
		}
	}()
	got := 0
	for e, err := range c.Events(t.Context(), 0, true) {
		if err != nil {
			t.Fatal(err)
		}
		if got++; e.Cursor != uint64(got) {
			t.Fatalf("event %d is the %dth", e.Cursor, got)
		}
		if got == events {
			break
		}
	}
	if _, err := c.Stale(t.Context(), false); err != nil {
		t.Error(err)
	}
	stats := s.Stats()
	if stats.Connections > s.limits.perUser+2 || stats.Refused["connections"] < uint64(1000-s.limits.perUser) {
		t.Errorf("%+v", stats)
	}
	crowd.stdin.Close()
	eventually(t, "the crowd's connections to end", func() bool { return s.Stats().Connections == 0 })
}

// TestCrowdOfOne has one user open more connections than there may be.
func TestCrowdOfOne(t *testing.T) {
	s := serve(t, &sinktest.Live{}, nil)
	var held []net.Conn
	for range s.limits.perUser {
		held = append(held, dial(t, s))
	}
	eventually(t, "all connections to be let in", func() bool { return s.Stats().Connections == s.limits.perUser })
	for range 2 * s.limits.parting {
		r := get(t, s, "/")
		if r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
			t.Fatalf("%d %v", r.code, r.header)
		}
		r.problem(t)
	}
	if _, err := sensor.NewClient(s.opts.Socket).Status(t.Context()); err == nil {
		t.Error("the client sees no error")
	}
	held[0].Close()
	eventually(t, "a connection to be free", func() bool { return get(t, s, "/").code == http.StatusOK })
}

// TestLateQuestion holds that who is sent away before it has asked can ask all the
// same and reads why.
func TestLateQuestion(t *testing.T) {
	s := serve(t, &sinktest.Live{}, func(s *Server) { s.conns, s.limits.grace = &quota{}, patience })
	c := dial(t, s)
	eventually(t, "the connection to be refused", func() bool { return s.Stats().Refused["connections"] == 1 })
	// The answer is there, so the door is past it.
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(c); err != nil || !strings.Contains(string(rest), "503") {
		t.Errorf("%s, %v", rest, err)
	}
}

// TestSlow sends a request a byte at a time, and none at all.
func TestSlow(t *testing.T) {
	s := serve(t, &sinktest.Live{}, func(s *Server) { s.limits.header, s.limits.idle = 100*time.Millisecond, 50*time.Millisecond })
	silent, slow, endless, idle := dial(t, s), dial(t, s), dial(t, s), dial(t, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, b := range []byte("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 10000)) {
			if _, err := slow.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	wg.Go(func() {
		for {
			if _, err := endless.Write([]byte("\r\n")); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	if r := request(t, idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); r.code != http.StatusOK {
		t.Errorf("%d", r.code)
	}
	for _, c := range []net.Conn{silent, slow, endless, idle} {
		closed(t, c)
	}
	wg.Wait()
	eventually(t, "the connections to end", func() bool { return s.Stats().Connections == 0 })
}

// TestHuge sends requests that are too large.
func TestHuge(t *testing.T) {
	s := serve(t, &sinktest.Live{}, func(s *Server) { s.limits.grace = 100 * time.Millisecond })
	for _, test := range []struct {
		name, request string
		code          int
	}{
		{"header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 30000) + "\r\n\r\n", 431},
		{"many headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n", 431},
		{"path", "GET /" + strings.Repeat("x", 30000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		{"body to come", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413},
		{"body in pieces", "GET /v1/stale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413},
		{"body that waits", "GET /v1/stale HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413},
		{"body for nothing", "GET /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 404},
		{"body for what takes none", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 405},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, s)
			// Nobody may read all of it.
			go io.WriteString(c, test.request)
			r := request(t, c, "")
			if r.code != test.code {
				t.Fatalf("%d %s, want %d", r.code, r.body, test.code)
			}
			if test.code != 400 && test.code != 431 {
				r.problem(t)
			}
			closed(t, c)
		})
	}
	eventually(t, "the connections to end", func() bool { return s.Stats().Connections == 0 })
}

// TestDeafReader asks for a large report and does not read it.
func TestDeafReader(t *testing.T) {
	report := sinktest.Report(2000)
	report.Seen = nil
	whole, err := encode(report)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, &sinktest.Live{Report: report}, func(s *Server) { s.limits.progress = 500 * time.Millisecond })
	deaf := dial(t, s)
	io.WriteString(deaf, "GET /v1/stale HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the question to be asked", func() bool { return s.Stats().Accepted > 0 })
	eventually(t, "the reader to be let go", func() bool { return s.Stats().Connections == 0 })
	// Who reads gets all of it, although it takes longer than a piece may.
	slow := dial(t, s)
	io.WriteString(slow, "GET /v1/stale HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	got := 0
	for b := make([]byte, 128<<10); ; time.Sleep(20 * time.Millisecond) {
		n, err := slow.Read(b)
		if got += n; err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got < len(whole) {
		t.Errorf("a slow reader got %d bytes of %d", got, len(whole))
	}
}

// TestDeafFollower holds that who does not read events is dropped, and others
// are not held up.
func TestDeafFollower(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, func(s *Server) { s.limits.progress = time.Second })
	deaf := dial(t, s)
	io.WriteString(deaf, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the stream to begin", func() bool { return s.Stats().Streams == 1 })
	large := full[sensor.Event]()
	large.Finding.Workload.Cgroup = strings.Repeat("x", 4000)
	var emitted atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			emitted.Store(l.Emit(*large))
			time.Sleep(time.Millisecond)
		}
	})
	read := uint64(0)
	for e, err := range sensor.NewClient(s.opts.Socket).Events(t.Context(), 0, true) {
		if err != nil {
			t.Fatal(err)
		}
		if read++; e.Cursor != read {
			t.Fatalf("event %d is the %dth", e.Cursor, read)
		}
		if s.Stats().Dropped == 1 {
			break
		}
	}
	cancel()
	wg.Wait()
	eventually(t, "the streams to end", func() bool { return s.Stats().Streams == 0 && s.Stats().Connections == 0 })
	if s.Stats().Dropped != 1 || read < 50 {
		t.Errorf("%+v, %d read of %d", s.Stats(), read, emitted.Load())
	}
	raw, _ := io.ReadAll(deaf)
	if strings.HasSuffix(string(raw), "\r\n0\r\n\r\n") {
		t.Error("the stream that broke off has a proper end")
	}
}

// TestBusy holds that only some wait for a judgement, and that these get it.
func TestBusy(t *testing.T) {
	release := make(chan struct{})
	var waiting atomic.Int32
	l := &sinktest.Live{Judging: func(ctx context.Context) error {
		waiting.Add(1)
		defer waiting.Add(-1)
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	s := serve(t, l, nil)
	c := sensor.NewClient(s.opts.Socket)
	most := part(s.limits.judgements).perUser
	results := make(chan error, most)
	for range most {
		go func() {
			_, err := c.Stale(t.Context(), false)
			results <- err
		}()
	}
	eventually(t, "all to wait", func() bool { return int(waiting.Load()) == most })
	for _, path := range []string{"/v1/stale", "/v1/explain?target=1", "/v1/doctor"} {
		r := get(t, s, path)
		if r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", path, r.code, r.header)
		}
		r.problem(t)
	}
	if r := get(t, s, "/v1/status"); r.code != http.StatusOK {
		t.Errorf("the status waits for the judgement: %d", r.code)
	}
	close(release)
	for range most {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := s.Stats().Refused["judgements"]; got != 3 {
		t.Errorf("%d refused", got)
	}
}

// TestGoneAsker holds that a judgement nobody waits for is given up.
func TestGoneAsker(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	l := &sinktest.Live{Judging: func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	s := serve(t, l, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := sensor.NewClient(s.opts.Socket).Stale(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the judgement goes on")
	}
}

// TestFaults has the sensor itself fail.
func TestFaults(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	change := func(s *Server) {
		s.opts.Log = zap.New(core)
		s.limits.judgement = 20 * time.Millisecond
	}
	late := serve(t, &sinktest.Live{Judging: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, change)
	if r := get(t, late, "/v1/stale"); r.code != http.StatusServiceUnavailable || !strings.Contains(r.problem(t).Message, "time") {
		t.Errorf("%d %s", r.code, r.body)
	}
	broken := serve(t, &sinktest.Live{
		Judging: func(context.Context) error { return errors.New("no \x1b[31mprocfs") },
		Reading: func(context.Context) error { return errors.New("no database") },
	}, change)
	for _, path := range []string{"/v1/stale", "/v1/events?after=0"} {
		r := get(t, broken, path)
		if r.code != http.StatusInternalServerError || strings.Contains(string(r.body), "\x1b") {
			t.Errorf("%s: %d %q", path, r.code, r.body)
		}
		r.problem(t)
		conforms(t, strings.TrimSuffix(path, "?after=0"), r)
	}
	if logs.Len() != 2 {
		t.Errorf("the log: %v", logs.All())
	}
	panics := serve(t, &sinktest.Live{Judging: func(context.Context) error { panic("a fault") }}, change)
	if _, err := sensor.NewClient(panics.opts.Socket).Stale(t.Context(), false); err == nil {
		t.Error("a fault is an answer")
	}
	if r := get(t, panics, "/v1/status"); r.code != http.StatusOK {
		t.Errorf("after a fault: %d", r.code)
	}
	if got := panics.Stats().Requests["/v1/stale"][http.StatusInternalServerError]; got != 1 {
		t.Errorf("%+v", panics.Stats())
	}
	if logs.FilterMessageSnippet("a fault").Len() != 1 {
		t.Errorf("the fault is not in the log: %v", logs.All())
	}
}
