package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answering listens on a socket and sends the same to all who ask.
func answering(t testing.TB, answer func(c net.Conn)) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return NewClient(l.Addr().String())
}

// saying answers with a text.
func saying(t testing.TB, text string) *Client {
	return answering(t, func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, text)
	})
}

func document(code int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", code, len(body), body)
}

func TestClientAnswers(t *testing.T) {
	const status = `{"schema":"sensor.status/v1","pid":7}`
	for _, test := range []struct {
		name, answer string
		// want is part of the error; there is none if it is empty.
		want string
		is   error
	}{
		{"sound", document(200, status), "", nil},
		{"in pieces", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + status[:5] + "\r\n20\r\n" + status[5:] + "\r\n0\r\n\r\n", "", nil},
		{"until the end", "HTTP/1.0 200 OK\r\n\r\n" + status, "", nil},
		{"another schema", document(200, `{"schema":"sensor.status/v2"}`), "different versions", nil},
		{"no schema", document(200, `{}`), "different versions", nil},
		{"no JSON", document(200, `<html>`), "not as it should be", nil},
		{"too short", document(200, status)[:60], "broke off", io.ErrUnexpectedEOF},
		{"nothing", "", "broke off", io.ErrUnexpectedEOF},
		{"no HTTP", "SSH-2.0-x\r\n\r\n", "broke off", nil},
		{"an endless head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHead), "broke off", io.ErrUnexpectedEOF},
		{"too long", document(200, strings.Repeat(" ", 5000)), "longer than", nil},
		{"too long, in pieces", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + strings.Repeat(" ", 0xffff), "longer than", nil},
		{"too long, until the end", "HTTP/1.0 200 OK\r\n\r\n" + status + strings.Repeat(" ", 5000), "longer than", nil},
		{"a refusal", document(403, `{"error":"not you","help":"ask another"}`), "not you", ErrForbidden},
		{"a refusal in other words", document(403, `Forbidden`), "403 Forbidden", ErrForbidden},
		{"busy", document(503, `{"error":"busy","help":"wait"}`), "busy", nil},
		{"a page that is not there", document(404, ``), "404 Not Found", nil},
		{"a redirection", "HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n", "302", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := saying(t, test.answer)
			c.most = 4096
			s, err := c.Status(t.Context())
			if test.want == "" {
				if err != nil || s.PID != 7 {
					t.Errorf("%+v, %v", s, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if !strings.Contains(err.Error(), c.socket) {
				t.Errorf("%v does not say who", err)
			}
		})
	}
	var refusal *AnswerError
	_, err := saying(t, document(503, `{"error":"busy","help":"wait"}`)).Stale(t.Context(), true)
	if !errors.As(err, &refusal) || refusal.Code != 503 || refusal.Message != "busy" || refusal.Help != "wait" || errors.Is(err, ErrForbidden) {
		t.Errorf("%#v", refusal)
	}
}

func TestClientWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	abandoned := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: abandoned, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(file, "s"), file, abandoned} {
		if _, err := NewClient(path).Stale(t.Context(), false); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("%s: %v, want ErrNoDaemon", path, err)
		}
	}
	if got := NewClient("").socket; got != DefaultSocket {
		t.Errorf("the default is %s", got)
	}
}

// TestClientGivesUp holds that the end of a context ends every question.
func TestClientGivesUp(t *testing.T) {
	for name, answer := range map[string]string{"before the answer": "", "within it": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c := answering(t, func(c net.Conn) {
				io.WriteString(c, answer)
				time.AfterFunc(20*time.Millisecond, cancel)
				io.Copy(io.Discard, c)
			})
			if _, err := c.Stale(ctx, false); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := saying(t, "").Stale(ended, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// TestClientBeforeQuestion has a sensor answer and close before it was asked, as
// it does when it refuses a connection.
func TestClientBeforeQuestion(t *testing.T) {
	c := answering(t, func(c net.Conn) { io.WriteString(c, document(403, `{"error":"not you","help":"x"}`)) })
	for range 200 {
		if _, err := c.Status(t.Context()); !errors.Is(err, ErrForbidden) {
			t.Fatalf("%v, want ErrForbidden", err)
		}
	}
}

func TestClientEvents(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n\r\n"
	line := func(cursor int) string { return fmt.Sprintf(`{"schema":"sensor.event/v1","cursor":%d}`+"\n", cursor) }
	for _, test := range []struct {
		name, answer string
		follow       bool
		events       int
		// want is part of the error; there is none if it is empty.
		want string
		is   error
	}{
		{"none", head, false, 0, "", nil},
		{"some", head + line(1) + line(2), false, 2, "", nil},
		{"some, and no more", head + line(1) + line(2), true, 2, "broke off", io.ErrUnexpectedEOF},
		{"half a line", head + line(1) + line(2)[:20], false, 1, "broke off", io.ErrUnexpectedEOF},
		{"a whole line without its end", head + strings.TrimSuffix(line(1), "\n"), false, 0, "broke off", io.ErrUnexpectedEOF},
		{"no JSON", head + line(1) + "x\n", false, 1, "not as it should be", nil},
		{"another schema", head + line(1) + "{}\n", false, 1, "different versions", nil},
		{"an endless line", head + strings.Repeat(" ", maxLine+1), false, 0, "too long", nil},
		{"a refusal", document(503, `{"error":"too many","help":"x"}`), true, 0, "too many", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var last error
			events := 0
			for e, err := range saying(t, test.answer).Events(t.Context(), 0, test.follow) {
				if last != nil {
					t.Fatal("something comes after an error")
				}
				if last = err; err == nil {
					if events++; e.Cursor != uint64(events) {
						t.Errorf("event %d is the %dth", e.Cursor, events)
					}
				}
			}
			if events != test.events || (last == nil) != (test.want == "") || last != nil && !strings.Contains(last.Error(), test.want) ||
				test.is != nil && !errors.Is(last, test.is) {
				t.Errorf("%d events, then %v, want %d, %q", events, last, test.events, test.want)
			}
		})
	}
}

// TestClientQuestion holds what is sent.
func TestClientQuestion(t *testing.T) {
	asked := make(chan string, 1)
	c := answering(t, func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		asked <- string(b[:n])
		io.WriteString(c, document(404, ""))
	})
	events := func(after uint64, follow bool) func() {
		return func() {
			for range c.Events(t.Context(), after, follow) {
			}
		}
	}
	for want, ask := range map[string]func(){
		"/v1/stale":           func() { c.Stale(t.Context(), false) },
		"/v1/stale?seen=true": func() { c.StaleRaw(t.Context(), true) },
		"/v1/explain?target=%2Fa+b%0D%0AX%3A+y%26%23": func() { c.Explain(t.Context(), "/a b\r\nX: y&#") },
		"/v1/status":                     func() { c.Status(t.Context()) },
		"/v1/doctor":                     func() { c.Diagnose(t.Context()) },
		"/v1/events?follow=true":         events(OnlyNew, true),
		"/v1/events?after=0&follow=true": events(0, true),
		"/v1/events?after=18446744073709551614&follow=false": events(OnlyNew-1, false),
	} {
		ask()
		got := <-asked
		if !strings.HasPrefix(got, "GET "+want+" HTTP/1.1\r\n") || strings.Count(got, "\r\n\r\n") != 1 {
			t.Errorf("%q is asked, want %q", got, want)
		}
	}
}

// FuzzClient: whatever answers, a question ends, with an error or with a
// document of the right schema.
func FuzzClient(f *testing.F) {
	f.Add([]byte(document(200, `{"schema":"sensor.status/v1"}`)))
	f.Add([]byte(document(403, `{"error":"x","help":"y"}`)))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"sch"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}"))
	answers := make(chan []byte, 1)
	c := answering(f, func(c net.Conn) {
		c.Write(<-answers)
		if u, ok := c.(*net.UnixConn); ok {
			u.CloseWrite()
		}
		io.Copy(io.Discard, c)
	})
	c.most = 1 << 20
	f.Fuzz(func(t *testing.T, answer []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		answers <- answer
		if s, err := c.Status(ctx); err == nil && s.Schema != StatusSchema || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", s, err)
		}
		answers <- answer
		for e, err := range c.Events(ctx, 0, false) {
			if err == nil && e.Schema != EventSchema || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v, %v", e, err)
			}
		}
	})
}
