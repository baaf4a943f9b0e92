package sensor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// DefaultSocket is where a running sensor listens unless it is told otherwise.
const DefaultSocket = "/run/sensor/sensor.sock"

// OnlyNew, given as a cursor, asks for events that are still to come.
const OnlyNew uint64 = math.MaxUint64

// Why a running sensor could not be asked; errors.Is finds them.
var (
	// ErrNoDaemon says that nothing listens on the socket.
	ErrNoDaemon = errors.New("no sensor is running")
	// ErrForbidden says that this user may not ask.
	ErrForbidden = errors.New("the running sensor does not answer this user")
	// ErrUntrusted says that somebody else than root or this user listens.
	ErrUntrusted = errors.New("another user listens on the sensor's socket")
)

// The most that is read of an answer's head, of the answer, and of one event, in
// bytes. The largest report is one in which every process of a machine is stale.
const (
	maxHead   = 64 << 10
	maxAnswer = 256 << 20
	maxLine   = 16 << 20
)

// AnswerError is an answer that is not what was asked for. One of code 403 is an
// ErrForbidden.
type AnswerError struct {
	// Code is the HTTP status.
	Code    int
	Message string
	// Help says what to do about it, when there is a way.
	Help string
}

func (e *AnswerError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the running sensor answers %d %s", e.Code, http.StatusText(e.Code))
	}
	return "the running sensor answers: " + e.Message
}

// Unwrap returns ErrForbidden where it is one.
func (e *AnswerError) Unwrap() error {
	if e.Code == http.StatusForbidden {
		return ErrForbidden
	}
	return nil
}

// Client asks a running sensor. Every question has its own connection, so a
// Client holds nothing open and any number of goroutines may use it. A sensor
// that hangs hangs the question: bound it by its context.
type Client struct {
	socket string
	// most is how much is read of an answer.
	most int64
}

// NewClient returns a client of the sensor that listens on a unix socket, on
// DefaultSocket if its name is empty.
func NewClient(socket string) *Client {
	if socket == "" {
		socket = DefaultSocket
	}
	return &Client{socket, maxAnswer}
}

// Stale returns the report, with Seen in it where that is asked for.
func (c *Client) Stale(ctx context.Context, withSeen bool) (*Report, error) {
	return decode(ctx, c, stalePath(withSeen), Schema, func(r *Report) string { return r.Schema })
}

// StaleRaw returns the report as JSON on one line, as the sensor wrote it: to
// decode a large one and to encode it again takes longer than all the rest.
func (c *Client) StaleRaw(ctx context.Context, withSeen bool) ([]byte, error) {
	return c.read(ctx, stalePath(withSeen))
}

func stalePath(withSeen bool) string {
	if withSeen {
		return "/v1/stale?seen=true"
	}
	return "/v1/stale"
}

// Explain returns the evidence on one target, as Sensor.Explain does.
func (c *Client) Explain(ctx context.Context, target string) (*Explanation, error) {
	path := "/v1/explain?" + url.Values{"target": {target}}.Encode()
	return decode(ctx, c, path, ExplanationSchema, func(e *Explanation) string { return e.Schema })
}

// Status returns how the sensor is doing.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return decode(ctx, c, "/v1/status", StatusSchema, func(s *Status) string { return s.Schema })
}

// Diagnose returns what the running sensor is able to see.
func (c *Client) Diagnose(ctx context.Context) (*Diagnosis, error) {
	return decode(ctx, c, "/v1/doctor", DiagnosisSchema, func(d *Diagnosis) string { return d.Schema })
}

// Events yields the events after a cursor, oldest first: 0 asks for all that are
// kept, OnlyNew for none of these. With follow it goes on with those to come,
// until ctx ends or the caller has enough. Where some after the cursor are not
// kept any more, an event of type gap comes first and says so.
//
// An error is the last that is yielded. A stream that breaks off, because the
// sensor ended or because its reader was too slow, ends with one that is an
// io.ErrUnexpectedEOF; the cursor of the last event resumes it.
func (c *Client) Events(ctx context.Context, after uint64, follow bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := c.events(ctx, after, follow, yield); err != nil {
			yield(Event{}, err)
		}
	}
}

// events returns nil when all has been yielded or yield wants no more.
func (c *Client) events(ctx context.Context, after uint64, follow bool, yield func(Event, error) bool) error {
	query := url.Values{"follow": {strconv.FormatBool(follow)}}
	if after != OnlyNew {
		query.Set("after", strconv.FormatUint(after, 10))
	}
	a, err := c.ask(ctx, "/v1/events?"+query.Encode())
	if err != nil {
		return err
	}
	defer a.close()
	lines := bufio.NewScanner(a.body)
	lines.Buffer(nil, maxLine)
	lines.Split(wholeLines)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("%s: an event is not as it should be: %w", c.socket, err)
		}
		if e.Schema != EventSchema {
			return errSchema(c.socket, e.Schema, EventSchema)
		}
		if !yield(e, nil) {
			return nil
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return c.broken(ctx, err)
	case follow:
		return c.broken(ctx, io.ErrUnexpectedEOF)
	}
	return nil
}

// wholeLines splits like bufio.ScanLines, but what follows the last newline is
// a line that broke off.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// decode asks for a document of one schema.
func decode[T any](ctx context.Context, c *Client, path, want string, schema func(*T) string) (*T, error) {
	b, err := c.read(ctx, path)
	if err != nil {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(b, out); err != nil {
		return nil, fmt.Errorf("%s: the answer is not as it should be: %w", c.socket, err)
	}
	if got := schema(out); got != want {
		return nil, errSchema(c.socket, got, want)
	}
	return out, nil
}

func errSchema(socket, got, want string) error {
	return fmt.Errorf("%s: the running sensor speaks %q, this program %q: they are of different versions", socket, got, want)
}

// read returns a whole answer.
func (c *Client) read(ctx context.Context, path string) ([]byte, error) {
	a, err := c.ask(ctx, path)
	if err != nil {
		return nil, err
	}
	defer a.close()
	var b bytes.Buffer
	// The announced length is believed as far as it costs little to be wrong.
	b.Grow(int(max(0, min(a.length, 8<<20))) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(a.body, c.most+1)); err != nil {
		return nil, c.broken(ctx, err)
	}
	if int64(b.Len()) > c.most {
		return nil, fmt.Errorf("%s: the running sensor's answer is longer than %d bytes", c.socket, c.most)
	}
	return b.Bytes(), nil
}

// reply is an answer of code 200 whose body is still to be read.
type reply struct {
	body   io.Reader
	length int64
	close  func()
}

// ask makes a connection, checks who is at its other end and asks for a path.
func (c *Client) ask(ctx context.Context, path string) (*reply, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	// A deadline that has passed wakes whoever reads or writes.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	a := &reply{close: func() { stop(); conn.Close() }}
	if err := c.get(ctx, conn.(*net.UnixConn), path, a); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (c *Client) get(ctx context.Context, conn *net.UnixConn, path string, a *reply) error {
	if err := c.trust(conn); err != nil {
		return err
	}
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: sensor\r\nUser-Agent: sensor\r\nConnection: close\r\n\r\n", path)
	// A sensor that refuses a connection answers without a look at the
	// question, and then there may be nobody to take it.
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return c.broken(ctx, err)
	}
	// net/http bounds no head of its own accord.
	limited := &io.LimitedReader{R: conn, N: maxHead}
	r, err := http.ReadResponse(bufio.NewReaderSize(limited, 32<<10), &http.Request{Method: http.MethodGet})
	if err != nil {
		return c.broken(ctx, err)
	}
	limited.N = math.MaxInt64
	a.body, a.length = r.Body, r.ContentLength
	if r.StatusCode == http.StatusOK {
		return nil
	}
	refusal := &AnswerError{Code: r.StatusCode}
	var said struct{ Error, Help string }
	// Without a body in the agreed form the code has to tell.
	if b, err := io.ReadAll(io.LimitReader(r.Body, maxHead)); err == nil && json.Unmarshal(b, &said) == nil {
		refusal.Message, refusal.Help = said.Error, said.Help
	}
	return fmt.Errorf("%s: %w", c.socket, refusal)
}

// trust holds that root, this user, or a user to whom root gave the socket's
// directory listens. Whoever can make a socket of this name could otherwise tell
// root that nothing is stale. SO_PEERCRED (unix(7)) names who called listen(2), so a
// sensor that began as root is root's even when it has given that up.
func (c *Client) trust(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("%s: %w", c.socket, err)
	}
	var peer *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("%s: %w", c.socket, err)
	}
	if failed != nil {
		return fmt.Errorf("%s: who listens cannot be told: %w", c.socket, failed)
	}
	if peer.Uid != 0 && int64(peer.Uid) != int64(os.Geteuid()) && !placed(c.socket, peer.Uid) {
		return fmt.Errorf("%s: %w: user %d, neither root nor the caller nor one to whom root gave the directory", c.socket, ErrUntrusted, peer.Uid)
	}
	return nil
}

// placed reports whether root gave a user the directory of a socket, as a service
// manager gives /run/sensor to the user of its unit: it is the user's and nobody
// else's, and all above it are root's alone.
func placed(socket string, uid uint32) bool {
	if !filepath.IsAbs(socket) {
		return false
	}
	owner := uid
	for dir := filepath.Dir(socket); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.IsDir() || st.Uid != owner || info.Mode().Perm()&0o022 != 0 {
			return false
		}
		if dir == "/" {
			return true
		}
		owner = 0
	}
}

// unreachable says why there is no connection.
func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %w", ErrNoDaemon, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}

// broken says why an answer broke off.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: the running sensor's answer broke off: %w", c.socket, err)
}
