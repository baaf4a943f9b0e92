package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ErrRemote says that an address can be reached from other machines.
var ErrRemote = errors.New("other machines can reach this address, and whoever reaches it can read the metrics")

// The bounds on what a client of the TCP address may use.
const (
	maxConnections = 32
	maxHeader      = 16 << 10
	// timeout is for sending a request, for reading the answer and between two
	// requests.
	timeout = 10 * time.Second
)

// Listen opens the address, if there is one. A port below 1024 may need rights
// that Run does not. The error is an ErrRemote when the address is not of this
// machine alone and that was not allowed.
func (s *Sink) Listen() error {
	if s.opts.Address == "" || s.listener != nil {
		return nil
	}
	address, err := local(s.opts.Address, s.opts.Remote)
	if err != nil {
		return fmt.Errorf("serving metrics on %q: %w", s.opts.Address, err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	s.listener = &bounded{Listener: l, slots: make(chan struct{}, maxConnections)}
	return nil
}

// local holds that an address is one of this machine alone, unless others are
// allowed. A name could lead anywhere, now or later, so only localhost is one.
func local(address string, remote bool) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%w; give it as IP:PORT", err)
	}
	if host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return "", errors.New("it names no IP address; give it as IP:PORT")
		}
	}
	if !ip.Unmap().IsLoopback() && !remote {
		return "", fmt.Errorf("%w; take 127.0.0.1 or [::1]", ErrRemote)
	}
	return address, nil
}

// serve answers on the address until ctx ends.
func (s *Sink) serve(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	errorLog, err := zap.NewStdLogAt(s.opts.Log, zap.WarnLevel)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.Handler())
	srv := &http.Server{
		Handler: mux, ErrorLog: errorLog, MaxHeaderBytes: maxHeader,
		ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics on %s: %w", s.opts.Address, err)
	}
	return nil
}

// bounded closes connections beyond a number at once.
type bounded struct {
	net.Listener
	slots chan struct{}
}

// Accept returns a connection for which there is room.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.slots <- struct{}{}:
			return &counted{c, sync.OnceFunc(func() { <-b.slots })}, nil
		default:
			c.Close()
		}
	}
}

// counted makes room when it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close may be called more than once.
func (c *counted) Close() error {
	c.release()
	return c.Conn.Close()
}
