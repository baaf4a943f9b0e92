package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/sensor"
)

// live is what the door needs of a running sensor. A report that it gave out is
// not changed any more.
type live interface {
	Stale(ctx context.Context) (*sensor.Report, error)
	Explain(ctx context.Context, target string) (*sensor.Explanation, error)
	Diagnose(ctx context.Context) (*sensor.Diagnosis, error)
	Status(ctx context.Context) (*sensor.Status, error)
	Ready() bool
	Alive() error
	Cursor() uint64
	Events(ctx context.Context, after uint64, limit int) ([]sensor.Event, error)
	Wait(ctx context.Context, after uint64) error
}

// route is one thing that can be asked. All are GET.
type route struct {
	path  string
	about string
	// params are the query's parameters; any other is a mistake.
	params []string
	serve  func(*handler, http.ResponseWriter, *http.Request, url.Values) error
}

// routes are all there are; docs/openapi.json describes the same.
func routes() []route {
	return []route{
		{"/", "this index", nil, (*handler).index},
		{"/v1/stale", "what runs code that is not known to be current", []string{"seen"}, (*handler).stale},
		{"/v1/explain", "the evidence on one process, workload or file", []string{"target"}, (*handler).explain},
		{"/v1/status", "how the sensor is doing", nil, (*handler).status},
		{"/v1/events", "what happens, one event a line", []string{"after", "follow"}, (*handler).events},
		{"/v1/doctor", "what the sensor is able to see", nil, (*handler).doctor},
		{"/v1/openapi.json", "the description of all this", nil, (*handler).describe},
		{"/healthz", "whether the sensor gets on with its work", nil, (*handler).healthy},
		{"/readyz", "whether everything that runs was looked at once", nil, (*handler).ready},
		{"/metrics", "measurements for Prometheus", nil, (*handler).measure},
	}
}

// handler answers questions that came through the door.
type handler struct {
	live    live
	routes  []route
	metrics http.Handler
	limits  limits
	log     *zap.Logger
	stats   *stats
	// judging and streams bound what is under way.
	judging, streams *quota
	pace             *pace
	last             lastReport
}

// peerKey finds the peer in the context of a request.
type peerKey struct{}

func peerOf(ctx context.Context) peer {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p
}

// recorder remembers the status for the statistics.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if err := h.wait(r.Context()); err != nil {
		panic(http.ErrAbortHandler)
	}
	w := &recorder{ResponseWriter: rw}
	// net/http would guess otherwise, and a browser too.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if r.ContentLength != 0 {
		// No answer looks at a body, but net/http reads the rest of it before it
		// closes, and would wait for it.
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.limits.grace))
	}
	endpoint := "other"
	defer func() {
		if w.code == 0 {
			// A panic passes through; net/http logs it and closes the connection.
			w.code = http.StatusInternalServerError
		}
		h.stats.request(endpoint, w.code)
	}()
	i := slices.IndexFunc(h.routes, func(x route) bool { return x.path == r.URL.Path })
	if i < 0 {
		h.fail(w, &problem{code: http.StatusNotFound, Message: fmt.Sprintf("there is no %q", r.URL.Path), Help: "GET / lists what there is"})
		return
	}
	endpoint = h.routes[i].path
	query, err := h.check(r, h.routes[i])
	if err == nil {
		err = h.routes[i].serve(h, w, r, query)
	}
	if err != nil {
		var p *problem
		if r.Context().Err() != nil && !errors.As(err, &p) {
			// Or whoever asked has gone; then this reaches nobody.
			err = errEnding
		}
		h.fail(w, err)
	}
}

// wait holds up who asks without a pause.
func (h *handler) wait(ctx context.Context) error {
	p := peerOf(ctx)
	if p.trusted {
		return nil
	}
	d := h.pace.delay(p.uid, time.Now())
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check holds that a request is one that a route answers.
func (h *handler) check(r *http.Request, to route) (url.Values, error) {
	if r.Method != http.MethodGet {
		return nil, &problem{code: http.StatusMethodNotAllowed, Message: fmt.Sprintf("the method %q is not allowed", r.Method),
			Help: "everything here is read by GET; nothing can be changed"}
	}
	if r.ContentLength != 0 {
		return nil, &problem{code: http.StatusRequestEntityTooLarge, Message: "the request has a body", Help: "send none"}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, misuse("the query cannot be read: "+err.Error(), "encode it as a URL's query")
	}
	for name, values := range query {
		if !slices.Contains(to.params, name) {
			help := "it has none"
			if len(to.params) > 0 {
				help = "it has: " + strings.Join(to.params, ", ")
			}
			return nil, misuse(fmt.Sprintf("%s has no parameter %q", to.path, name), help)
		}
		if len(values) > 1 {
			return nil, misuse(fmt.Sprintf("the parameter %q is given %d times", name, len(values)), "give it once")
		}
	}
	return query, nil
}

func misuse(message, help string) error {
	return &problem{code: http.StatusBadRequest, Message: message, Help: help}
}

// boolean reads a parameter that is true or false.
func boolean(query url.Values, name string, otherwise bool) (bool, error) {
	switch query.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if query.Has(name) {
		return false, misuse(fmt.Sprintf("the parameter %q is %q", name, query.Get(name)), "it is true or false")
	}
	return otherwise, nil
}

// fail says what went wrong, unless an answer has begun: then all that can be
// done is to break it off, so that nobody takes it for whole.
func (h *handler) fail(w *recorder, err error) {
	if w.code != 0 {
		panic(http.ErrAbortHandler)
	}
	var p *problem
	if !errors.As(err, &p) {
		h.log.Warn("a question could not be answered", zap.Error(err))
		p = &problem{code: http.StatusInternalServerError, Message: err.Error(), Help: "the sensor's log may tell more"}
	}
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.code == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodGet)
	}
	if err := h.send(w, p.code, p.document()); err != nil {
		panic(http.ErrAbortHandler)
	}
}
