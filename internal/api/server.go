// Package api is the only door to a running sensor: HTTP and JSON on a unix
// socket. Everything is read by GET and nothing can be changed through it.
//
// The kernel says who is at the other end. Root and the sensor's own user may
// ask, and the members of one group if one is configured. Whoever they are, what
// they can use up is bounded: connections, questions under way, streams, the size
// of a request, the time it takes to send one and to read the answer. The tracking
// shares nothing with the door but the sensor's answers, so a client that hangs or
// floods it can at most keep others of its kind from asking.
package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/sensor"
)

// maxHeader bounds a request's line and header, in bytes; net/http adds some
// slack (4 KiB).
const maxHeader = 16 << 10

// Options configure the door. Zero values take what stands with them.
type Options struct {
	// Socket is its path; sensor.DefaultSocket. It may be at most 103 bytes long
	// (unix(7), and ".new" while it is made).
	Socket string
	// Mode is the socket's permission; 0660.
	Mode fs.FileMode
	// Group is whose members may ask, a name or a number; nobody's.
	Group string
	// Metrics serves /metrics; there is none.
	Metrics http.Handler
	// Log is silent.
	Log *zap.Logger
}

// Server is the door, a sensor.Sink.
type Server struct {
	opts    Options
	limits  limits
	stats   *stats
	conns   *quota
	streams *quota
	socket  *socket
	group   uint32
}

// limits are what clients may use, and for how long.
type limits struct {
	connections, perUser, reserved int
	judgements, streams            int
	parting                        int
	// header is the time for sending a request, idle that between two requests,
	// progress that for reading a piece of the answer, judgement that for finding
	// it, grace that for what is under way when a connection or the sensor ends.
	header, idle, progress, judgement, grace time.Duration
	// pause is the time until events are looked for again that were announced
	// but are not there.
	pause time.Duration
	// interval and burst are those of the pace of one user other than root.
	interval time.Duration
	burst    int
}

func defaultLimits() limits {
	return limits{
		connections: 64, perUser: 32, reserved: 16, judgements: 16, streams: 16, parting: 16,
		header: 5 * time.Second, idle: 30 * time.Second, progress: 10 * time.Second, judgement: 2 * time.Minute, grace: time.Second,
		pause: 100 * time.Millisecond, interval: 10 * time.Millisecond, burst: 100,
	}
}

// part is a quota of which one user may have half and others than root three
// quarters.
func part(total int) *quota { return &quota{total: total, perUser: total / 2, reserved: total / 4} }

// New returns a door that is still closed.
func New(opts Options) *Server {
	if opts.Socket == "" {
		opts.Socket = sensor.DefaultSocket
	}
	if opts.Mode == 0 {
		opts.Mode = 0o660
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	l := defaultLimits()
	return &Server{
		opts: opts, limits: l, stats: newStats(), group: noGroup,
		conns:   &quota{total: l.connections, perUser: l.perUser, reserved: l.reserved},
		streams: part(l.streams),
	}
}

// Name is the sink's.
func (s *Server) Name() string { return "api" }

// Stats counts what went through the door.
func (s *Server) Stats() Stats {
	out := s.stats.snapshot()
	out.Connections, out.Streams = s.conns.inUse(), s.streams.inUse()
	return out
}

// Listen makes the socket and, if it is missing, its directory (0755). It may
// need rights that Run does not: to write to the directory and to give the socket
// to its group. The error is an ErrInUse when a sensor listens there already.
func (s *Server) Listen() error {
	if s.socket != nil {
		return nil
	}
	group, err := lookupGroup(s.opts.Group)
	if err != nil {
		return err
	}
	l, err := listen(context.Background(), s.opts.Socket, s.opts.Mode.Perm(), group)
	if err != nil {
		return err
	}
	s.socket, s.group = l, group
	return nil
}

// Close takes away the socket of a door that Listen has opened and that may never
// Run. After Run there is nothing left to do.
func (s *Server) Close() error {
	if s.socket == nil {
		return nil
	}
	err := s.socket.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return errors.Join(s.socket.remove(), err)
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context, l *sensor.Live) error { return s.serve(ctx, l) }

func (s *Server) serve(ctx context.Context, l live) error {
	if err := s.Listen(); err != nil {
		return err
	}
	d := &door{
		socket: s.socket, policy: policy{uint32(os.Geteuid()), s.group}, quota: s.conns, stats: s.stats, log: s.opts.Log,
		parting: make(chan struct{}, s.limits.parting), grace: s.limits.grace,
	}
	errorLog, err := zap.NewStdLogAt(s.opts.Log, zap.WarnLevel)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           s.handler(l),
		ReadHeaderTimeout: s.limits.header,
		IdleTimeout:       s.limits.idle,
		// Answers extend this as long as they get on: see paced.
		WriteTimeout:   s.limits.progress,
		MaxHeaderBytes: maxHeader,
		// "OPTIONS *" is refused like any other method.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     errorLog,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*conn).peer)
		},
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(d) }()
	select {
	case err = <-done:
		err = fmt.Errorf("serving %s: %w", s.opts.Socket, err)
	case <-ctx.Done():
		s.end(srv)
		<-done
	}
	d.parted.Wait()
	return err
}

// end lets what is under way finish for a moment. Streams and questions end by
// themselves, because their context has.
func (s *Server) end(srv *http.Server) {
	grace, cancel := context.WithTimeout(context.Background(), s.limits.grace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		s.opts.Log.Debug("clients were cut off", zap.Error(err))
		if err := srv.Close(); err != nil {
			s.opts.Log.Debug("closing the door", zap.Error(err))
		}
	}
}

func (s *Server) handler(l live) *handler {
	return &handler{
		live: l, routes: routes(), metrics: s.opts.Metrics, limits: s.limits, log: s.opts.Log, stats: s.stats,
		judging: part(s.limits.judgements), streams: s.streams,
		pace: &pace{interval: s.limits.interval, burst: s.limits.burst},
	}
}
