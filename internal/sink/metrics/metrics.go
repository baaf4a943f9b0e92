// Package metrics tells Prometheus how the sensor and the machine are doing: as a
// handler for the daemon's socket, and on a TCP address of this machine if one is
// configured.
package metrics

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/sensor"
)

// live is what is needed of a running sensor.
type live interface {
	Measure() sensor.Measurements
	Cursor() uint64
	Events(ctx context.Context, after uint64, limit int) ([]sensor.Event, error)
	Wait(ctx context.Context, after uint64) error
}

// Options configure the sink. Zero values take what stands with them.
type Options struct {
	// Version is the program's.
	Version string
	// Address is where to serve, IP:PORT or localhost:PORT; nowhere.
	Address string
	// Remote lets Address be one that other machines can reach. Whoever can
	// reach it can read the metrics.
	Remote bool
	// Door counts what went through the daemon's socket; it is left out.
	Door func() Door
	// Log is silent.
	Log *zap.Logger
}

// Sink is a sensor.Sink.
type Sink struct {
	opts     Options
	registry *prometheus.Registry
	closed   *prometheus.HistogramVec
	live     atomic.Pointer[live]
	listener net.Listener
	pause    time.Duration
}

// New returns a sink whose handler serves at once. Until Run it knows little.
func New(opts Options) *Sink {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	s := &Sink{opts: opts, registry: prometheus.NewRegistry(), pause: time.Second}
	s.closed = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sensor_exposure_duration_seconds",
		Help:    "How long workloads ran code that was not current, of exposures that ended since the sensor's start.",
		Buckets: append([]float64{60, 600}, ages()...),
	}, []string{"domain"})
	for _, d := range domains() {
		s.closed.WithLabelValues(string(d))
	}
	s.registry.MustRegister(s.closed, &collector{describe(), s})
	return s
}

// Name is the sink's.
func (s *Sink) Name() string { return "metrics" }

// Handler serves the metrics in the format that is asked for.
func (s *Sink) Handler() http.Handler {
	// They go to this machine, where bytes cost less than compressing them.
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{DisableCompression: true})
}

// Run measures until ctx ends, and serves if there is an address.
func (s *Sink) Run(ctx context.Context, l *sensor.Live) error { return s.run(ctx, l) }

func (s *Sink) run(ctx context.Context, l live) error {
	if err := s.Listen(); err != nil {
		return err
	}
	// What ends from now on is counted.
	after := l.Cursor()
	s.live.Store(&l)
	defer s.live.Store(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		defer cancel()
		served <- s.serve(ctx)
	}()
	s.follow(ctx, l, after)
	return <-served
}

// follow counts the exposures that end after a cursor.
func (s *Sink) follow(ctx context.Context, l live, after uint64) {
	for l.Wait(ctx, after) == nil {
		newest := l.Cursor()
		events, err := l.Events(ctx, after, 256)
		for i := range events {
			s.observe(&events[i])
			after = events[i].Cursor
		}
		switch {
		case len(events) > 0 || ctx.Err() != nil:
		case errors.Is(err, sensor.ErrCursor):
			after = newest
		default:
			if err != nil {
				s.opts.Log.Warn("events could not be read", zap.Error(err))
			}
			// What was announced is not there, as when the disk is full.
			select {
			case <-time.After(s.pause):
			case <-ctx.Done():
			}
		}
	}
	<-ctx.Done()
}

func (s *Sink) observe(e *sensor.Event) {
	if e.Type == sensor.EventResolved && e.Finding != nil && e.Exposure != nil {
		s.closed.WithLabelValues(string(e.Finding.Domain)).Observe(e.Exposure.Seconds)
	}
}
