package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// brief is a sensor after which no event comes.
type brief struct{ *sinktest.Live }

func (brief) Wait(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

func newBrief() brief {
	l := &sinktest.Live{Report: sinktest.Report(1)}
	for range 3 {
		l.Emit(sensor.Event{Type: sensor.EventPatch, Patch: &sensor.Patch{Package: "p"}})
	}
	l.Forget(1)
	l.SetReady(true)
	return brief{l}
}

// FuzzRequest: whatever is asked, the answer is one of those that are described,
// with a body in the form that is described, and never a fault of the sensor.
func FuzzRequest(f *testing.F) {
	for _, r := range routes() {
		f.Add("GET", r.path, "", false)
	}
	f.Add("POST", "/", "a=b", true)
	f.Add("GET", "/v1/explain", "target=%2fusr%2fbin%2ftrue", false)
	f.Add("GET", "/v1/events", "after=0&follow=false", false)
	f.Add("GET", "/v1/events", "after=99999999999999999999", false)
	f.Add("GET", "/v1/stale", "seen=true", false)
	f.Add("GET", "/v1/stale\x1b[2J\u202e", "seen=%ff;", false)
	s := New(Options{Log: zap.NewNop(), Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
	})})
	h := s.handler(newBrief())
	d := describe(f)
	f.Fuzz(func(t *testing.T, method, path, query string, body bool) {
		// A follower goes right after what there is.
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		ctx = context.WithValue(ctx, peerKey{}, peer{trusted: true})
		r := (&http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}}).WithContext(ctx)
		if body {
			r.ContentLength = -1
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && !(w.Code == http.StatusServiceUnavailable && ctx.Err() != nil) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		answer := response{w.Code, w.Header(), w.Body.Bytes()}
		if _, known := d.Paths[path]; known {
			conforms(t, path, answer)
		} else if w.Code != http.StatusNotFound {
			t.Errorf("%q is unknown, but: %d", path, w.Code)
		}
		if w.Code != http.StatusOK {
			answer.problem(t)
		} else if method != http.MethodGet {
			t.Errorf("%q is answered", method)
		}
	})
}

// FuzzWire: whatever comes over a connection, what goes back is HTTP and no
// fault of the sensor, and the next one is answered.
func FuzzWire(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/status HTTP/1.0\r\n\r\n"))
	f.Add([]byte("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"))
	f.Add([]byte("\x00\xff\r\n\r\n"))
	s := serve(f, newBrief(), func(s *Server) {
		s.limits.header, s.limits.idle, s.limits.grace = 200*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
		// net/http holds some connections for half a second after a refusal.
		s.conns = &quota{total: 4000, perUser: 4000}
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := dial(t, s)
		go func() {
			c.Write(sent)
			c.CloseWrite()
		}()
		for answers := bufio.NewReader(c); ; {
			if _, err := answers.Peek(1); err != nil {
				var late net.Error
				if errors.As(err, &late) && late.Timeout() {
					t.Fatal("the door neither answers nor closes")
				}
				break
			}
			r, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("the answer is not HTTP: %v", err)
			}
			// To HEAD there is no body, and what was sent does not tell here
			// which answer is to which question.
			if strings.Contains(string(sent), http.MethodHead) {
				break
			}
			body, _ := io.ReadAll(r.Body)
			switch {
			case r.StatusCode < 500:
			case r.StatusCode == http.StatusNotImplemented, r.StatusCode == http.StatusHTTPVersionNotSupported:
				// net/http refuses a transfer coding (RFC 9112, section 6.1)
				// and another version.
			case bytes.Equal(body, errEnding.document()):
				// It takes who writes no more for gone.
			default:
				t.Errorf("%d %s", r.StatusCode, body)
			}
		}
		c.Close()
		if _, err := sensor.NewClient(s.opts.Socket).Status(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
