// Package docker asks an engine that speaks the Docker Engine API for its
// containers and images: Docker itself, or Podman with its compatible socket.
// It asks only, and changes nothing.
//
// The engine is not trusted. Every answer is bounded, strings are passed on as
// they are but for their length, a directory is passed on only if it is absolute
// and clean, and nothing an answer holds becomes part of another request unless
// it has the form of an identifier or an image reference.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/client"
)

// The names of the engines that answer on such a socket.
const (
	engineDocker = "docker"
	enginePodman = "podman"
)

const (
	dialTimeout = 5 * time.Second
	// inspectTimeout is how long one container may take to answer for itself. An
	// engine can hang on a single one while it answers for all others.
	inspectTimeout = 5 * time.Second
)

// Source is one engine. Its methods may be called concurrently.
type Source struct {
	socket         string
	transport      *http.Transport
	inspectTimeout time.Duration
	seen           cache
	// connecting is held by whoever makes the session, so that others can wait for
	// it no longer than their contexts allow.
	connecting chan struct{}

	mu      sync.Mutex
	session *session
	engine  string
}

// session is what was agreed with an engine: the version of the API, and who it is.
type session struct {
	api    *client.Client
	engine string
}

// New makes the source of the engine that listens on the unix socket, given as an
// absolute path. It does not connect yet, and the environment (DOCKER_HOST, …) does
// not count. The errors of calls are fs.ErrNotExist while there is no such socket.
func New(socket string) (*Source, error) {
	if !filepath.IsAbs(socket) || strings.ContainsRune(socket, 0) {
		return nil, fmt.Errorf("docker: socket %q is no absolute path", socket)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	s := &Source{
		socket:         socket,
		inspectTimeout: inspectTimeout,
		connecting:     make(chan struct{}, 1),
		engine:         engineDocker,
		transport: &http.Transport{
			DisableCompression:     true,
			MaxIdleConns:           2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
		},
	}
	if _, err := s.newClient(); err != nil {
		return nil, fmt.Errorf("docker: socket %q: %w", socket, err)
	}
	return s, nil
}

// newClient makes a client that has agreed on no version yet. One client agrees
// only once, and never on a higher version than before.
func (s *Source) newClient() (*client.Client, error) {
	return client.NewClientWithOpts(
		// WithHost, which gives errors the socket's name, takes plain transports only.
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{}}),
		client.WithHost("unix://"+s.socket),
		client.WithHTTPClient(&http.Client{Transport: bounded{s.transport}, CheckRedirect: client.CheckRedirect}),
	)
}

// Name is "docker", or "podman" once a Podman has answered.
func (s *Source) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine
}

// Close gives up the idle connections. Calls under way end by their contexts.
func (s *Source) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// connect returns the session, and makes it if there is none.
func (s *Source) connect(ctx context.Context) (*session, error) {
	select {
	case s.connecting <- struct{}{}:
		defer func() { <-s.connecting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if now := s.current(); now != nil {
		return now, nil
	}
	api, err := s.newClient()
	if err != nil {
		return nil, s.fault("connect", err)
	}
	// The client's own errors do not tell a socket that is not there from one that
	// nobody listens on.
	conn, err := s.transport.DialContext(ctx, "", "")
	if err != nil {
		return nil, s.fault("connect", err)
	}
	_ = conn.Close()
	ping, err := api.Ping(ctx)
	if err != nil {
		return nil, s.fault("ping", err)
	}
	api.NegotiateAPIVersionPing(ping)
	// Docker runs programs to answer this, so it is asked once a session.
	version, err := api.ServerVersion(ctx)
	if err != nil {
		return nil, s.fault("version", err)
	}
	made := &session{api: api, engine: engineOf(version)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session, s.engine = made, made.engine
	return made, nil
}

func (s *Source) current() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

// engineOf tells the engines apart: Podman calls its component "Podman Engine",
// Docker "Engine".
func engineOf(version types.Version) string {
	for _, component := range version.Components {
		if strings.HasPrefix(component.Name, "Podman") {
			return enginePodman
		}
	}
	return engineDocker
}

// fault wraps an error of the engine, and ends the session: the engine may be gone,
// and what comes after it may be another version, or another engine.
func (s *Source) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) && !isContext(err) {
		s.mu.Lock()
		s.session = nil
		s.mu.Unlock()
	}
	return fmt.Errorf("docker: %s: %s: %w", s.socket, what, apiError{err})
}

// isContext reports whether the error is the caller's own: cancelled, or too late.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// apiError is an error whose text may come from the engine.
type apiError struct{ error }

func (e apiError) Unwrap() error { return e.error }

// Error is one line of bounded length.
func (e apiError) Error() string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, clip(e.error.Error(), maxMessage))
}
