package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// patience is how long a test waits before it takes something for hung.
const patience = 30 * time.Second

// socketPath returns the path of a socket to be, short enough for sun_path, in a
// directory that any user can reach.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "s")
}

// serve opens a door until the test ends. change may change the server before.
func serve(t testing.TB, l live, change func(*Server)) *Server {
	t.Helper()
	s := New(Options{Socket: socketPath(t)})
	if change != nil {
		change(s)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the door: %v", err)
			}
		case <-time.After(patience):
			t.Error("the door does not close")
		}
	})
	return s
}

// dial connects to a door.
func dial(t testing.TB, s *Server) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", s.opts.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.UnixConn)
}

// response is a whole answer.
type response struct {
	code   int
	header http.Header
	body   []byte
}

// problem decodes an answer that is one.
func (r response) problem(t testing.TB) (p problem) {
	t.Helper()
	if err := json.Unmarshal(r.body, &p); err != nil || p.Message == "" || p.Help == "" {
		t.Fatalf("%d %q is not an error with help: %v", r.code, r.body, err)
	}
	return p
}

// request sends what is written out and reads one answer.
func request(t testing.TB, c net.Conn, text string) response {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Logf("sending: %v", err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	return response{r.StatusCode, r.Header, body}
}

// get asks for a path over a connection of its own.
func get(t testing.TB, s *Server, path string) response {
	t.Helper()
	c := dial(t, s)
	defer c.Close()
	return request(t, c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for give := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// underTest gives a Server the Live of the contract.
type underTest struct{ *Server }

func (u underTest) Run(ctx context.Context, l *sinktest.Live) error { return u.serve(ctx, l) }

func TestContract(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Sink {
		return underTest{New(Options{Socket: socketPath(t)})}
	})
	var _ sensor.Sink = (*Server)(nil)
	var _ live = (*sensor.Live)(nil)
}

// TestClient asks everything by way of the client.
func TestClient(t *testing.T) {
	l := &sinktest.Live{Report: sinktest.Report(3)}
	c := sensor.NewClient(serve(t, l, nil).opts.Socket)
	for _, seen := range []bool{false, true} {
		r, err := c.Stale(t.Context(), seen)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Findings) != 3 || (len(r.Seen) == 3) != seen {
			t.Errorf("seen=%t: %d findings, %d seen", seen, len(r.Findings), len(r.Seen))
		}
	}
	if len(l.Report.Seen) != 3 {
		t.Error("the sensor's own report was changed")
	}
	const target = "/a b\x01?&=%é"
	e, err := c.Explain(t.Context(), target)
	if err != nil || e.Target != target {
		t.Errorf("Explain: %+v, %v", e, err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Schema != sensor.StatusSchema {
		t.Errorf("Status: %+v, %v", s, err)
	}
	if d, err := c.Diagnose(t.Context()); err != nil || d.Schema != sensor.DiagnosisSchema {
		t.Errorf("Diagnose: %+v, %v", d, err)
	}
}

func TestProbes(t *testing.T) {
	l := &sinktest.Live{}
	s := serve(t, l, nil)
	check := func(path string, code int) {
		t.Helper()
		r := get(t, s, path)
		if r.code != code {
			t.Errorf("%s: %d %s, want %d", path, r.code, r.body, code)
		}
		if code == http.StatusOK && string(r.body) != `{"ok":true}`+"\n" {
			t.Errorf("%s: %s", path, r.body)
		} else if code != http.StatusOK {
			r.problem(t)
		}
	}
	check("/healthz", 200)
	check("/readyz", 503)
	l.SetReady(true)
	check("/readyz", 200)
	l.SetDead(fmt.Errorf("the tracker hangs"))
	check("/healthz", 503)
}

func TestMisuse(t *testing.T) {
	s := serve(t, &sinktest.Live{}, nil)
	for _, test := range []struct {
		request string
		code    int
	}{
		{"GET /v1/stale?seen=yes", 400},
		{"GET /v1/stale?seen=", 400},
		{"GET /v1/stale?sene=true", 400},
		{"GET /v1/stale?seen=true&seen=true", 400},
		{"GET /v1/stale?seen=%zz", 400},
		{"GET /v1/stale?a;b", 400},
		{"GET /v1/stale/", 404},
		{"GET //v1/stale", 404},
		{"GET /v1/../v1/stale", 404},
		{"GET /v2/stale", 404},
		{"GET /v1/explain", 400},
		{"GET /v1/explain?target=", 400},
		{"GET /v1/explain?target=/" + string(bytes.Repeat([]byte("x"), maxTarget)), 400},
		{"GET /v1/events?after=-1", 400},
		{"GET /v1/events?after=18446744073709551616", 400},
		{"GET /v1/events?after=", 400},
		{"GET /v1/events?follow=maybe", 400},
		{"GET /metrics", 404},
		{"POST /v1/stale", 405},
		{"HEAD /v1/stale", 405},
		{"DELETE /", 405},
		{"OPTIONS *", 404},
		{"OPTIONS /v1/stale", 405},
		{"BREW /v1/status", 405},
	} {
		t.Run(test.request[:min(40, len(test.request))], func(t *testing.T) {
			c := dial(t, s)
			fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", test.request)
			raw, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
			if !bytes.HasPrefix(head, fmt.Appendf(nil, "HTTP/1.1 %d ", test.code)) {
				t.Fatalf("%s, want %d", head, test.code)
			}
			if test.request[:4] == "HEAD" {
				return
			}
			response{test.code, nil, body}.problem(t)
		})
	}
	if r := get(t, s, "/nothing%1b[31m%e2%80%ae\u0085"); bytes.ContainsAny(r.body, "\x1b\u202e\u0085") {
		t.Errorf("%q could drive a terminal", r.body)
	}
}

// TestPrintable holds that nothing is lost by what is done for terminals.
func TestPrintable(t *testing.T) {
	for _, s := range []string{"", "plain", "é日本", "a\u202eb", "\x1b[2J\x7f\u0085", "\U000e0001\U0001f600", "\"\\\n\t</>&"} {
		b, err := encode(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%q became %q: %v", s, b, err)
		}
		if bytes.ContainsAny(b, "\u202e\u0085\x7f\x1b\U000e0001") || bytes.IndexByte(b, '\n') != len(b)-1 {
			t.Errorf("%q is not printable", b)
		}
	}
}

// TestSharedReport holds that an unchanged report is encoded once, and a new one
// anew.
func TestSharedReport(t *testing.T) {
	var last lastReport
	one, two := sinktest.Report(1), sinktest.Report(2)
	encoded := func(r *sensor.Report, seen bool) []byte {
		d, err := last.encode(r, seen)
		if err != nil {
			t.Fatal(err)
		}
		return d.line
	}
	a, b := encoded(one, false), encoded(one, false)
	if &a[0] != &b[0] {
		t.Error("the same report was encoded twice")
	}
	if c := encoded(one, true); bytes.Equal(a, c) {
		t.Error("the report with what was looked at is the one without")
	}
	if c := encoded(two, false); bytes.Equal(a, c) {
		t.Error("an old report was given for a new one")
	}
}

// TestReportMemory holds that the memory of a report is used again, but for as long as
// anybody reads it, and that little is kept for little.
func TestReportMemory(t *testing.T) {
	var last lastReport
	encoded := func(r *sensor.Report, seen bool) *encoded {
		d, err := last.encode(r, seen)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	large := sinktest.Report(100)
	first := encoded(large, false)
	same := encoded(large, false)
	want := bytes.Clone(first.line)
	last.release(first)
	for n := range 5 {
		last.release(encoded(sinktest.Report(100+n), n%2 == 0))
	}
	if !bytes.Equal(same.line, want) {
		t.Error("a report was written over while it was read")
	}
	last.release(same)
	if cap(last.spare) < len(want) {
		t.Errorf("of %d bytes that nobody reads %d are used again", len(want), cap(last.spare))
	}
	places := make(map[*byte]bool)
	for range 10 {
		again := encoded(sinktest.Report(90), false)
		places[&again.line[0]] = true
		last.release(again)
	}
	if len(places) > 2 {
		t.Errorf("ten reports were written to %d places", len(places))
	}
	for range 3 {
		last.release(encoded(sinktest.Report(0), false))
	}
	if most := 2*len(want) + piece; cap(last.spare) > most {
		t.Errorf("%d bytes are kept", cap(last.spare))
	}
	small := encoded(sinktest.Report(0), false)
	if cap(small.line) > len(want)+piece {
		t.Errorf("a report of %d bytes has %d", len(small.line), cap(small.line))
	}
}
