package api

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"net/url"
	"sync"

	"github.com/patchsensor/patchsensor/sensor"
)

// openapi is docs/openapi.json, which go generate writes in both places.
//
//go:embed openapi.json
var openapi []byte

// judge asks the sensor something that may take long. The sensor works on one
// such question at a time and shares the answer, so only those who wait are
// bounded here; who gets the answer and is slow to read it does not count.
func judge[T any](h *handler, ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	var none T
	release, ok := h.judging.take(peerOf(ctx))
	if !ok {
		h.stats.refuse("judgements")
		return none, errBusy
	}
	defer release()
	limited, cancel := context.WithTimeout(ctx, h.limits.judgement)
	defer cancel()
	out, err := ask(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = errSlow
	}
	return out, err
}

func (h *handler) stale(w http.ResponseWriter, r *http.Request, query url.Values) error {
	seen, err := boolean(query, "seen", false)
	if err != nil {
		return err
	}
	report, err := judge(h, r.Context(), h.live.Stale)
	if err != nil {
		return err
	}
	d, err := h.last.encode(report, seen)
	if err != nil {
		return err
	}
	defer h.last.release(d)
	return h.send(w, http.StatusOK, d.line)
}

// lastReport keeps the report that was asked for last as JSON. As long as nothing
// changes, those who ask get the same one: it is encoded once, and however many
// are slow to read it, it is in memory once.
type lastReport struct {
	mu     sync.Mutex
	report *sensor.Report
	// plain is without, seen with the list of what was looked at.
	plain, seen *encoded
	// spare is where the next one is written: that of a report before, once all have
	// read it.
	spare []byte
}

// encoded is a report as JSON.
type encoded struct {
	line    []byte
	readers int
	// over is set when another report has taken its place.
	over bool
}

// encode returns a report as JSON, which is the caller's to read until release.
func (l *lastReport) encode(r *sensor.Report, seen bool) (*encoded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.report != r {
		for _, d := range []*encoded{l.plain, l.seen} {
			if d != nil {
				d.over = true
				l.reuse(d)
			}
		}
		l.report, l.plain, l.seen = r, nil, nil
	}
	kept, document := &l.seen, *r
	if !seen {
		kept, document.Seen = &l.plain, nil
	}
	if *kept == nil {
		b, err := encodeReport(&document, l.spare)
		if err != nil {
			return nil, err
		}
		l.spare, *kept = nil, &encoded{line: b}
	}
	(*kept).readers++
	return *kept, nil
}

// release says that a reader is done.
func (l *lastReport) release(d *encoded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.readers--
	l.reuse(d)
}

// reuse takes the memory of a report that nobody reads any more, unless it is much more
// than that report needed.
func (l *lastReport) reuse(d *encoded) {
	if d.over && d.readers == 0 && cap(d.line) <= 2*len(d.line)+piece {
		l.spare = d.line[:0]
	}
}

// maxTarget is that of a path, PATH_MAX of linux/limits.h.
const maxTarget = 4096

func (h *handler) explain(w http.ResponseWriter, r *http.Request, query url.Values) error {
	target := query.Get("target")
	if target == "" {
		return misuse(`the parameter "target" is missing`, "give a PID, the name of a unit, or a path that begins with a slash")
	}
	if len(target) > maxTarget {
		return misuse("the target is too long", "no path is longer than 4096 bytes")
	}
	explanation, err := judge(h, r.Context(), func(ctx context.Context) (*sensor.Explanation, error) {
		return h.live.Explain(ctx, target)
	})
	if err != nil {
		return err
	}
	return h.sendDocument(w, explanation)
}

func (h *handler) doctor(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	diagnosis, err := judge(h, r.Context(), h.live.Diagnose)
	if err != nil {
		return err
	}
	return h.sendDocument(w, diagnosis)
}

func (h *handler) status(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	status, err := h.live.Status(r.Context())
	if err != nil {
		return err
	}
	return h.sendDocument(w, status)
}

// fine is the answer of the probes when all is well.
type fine struct {
	OK bool `json:"ok"`
}

func (h *handler) healthy(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	if err := h.live.Alive(); err != nil {
		return &problem{code: http.StatusServiceUnavailable, Message: err.Error(), Help: "if this lasts, restart the sensor; its log tells more"}
	}
	return h.sendDocument(w, fine{true})
}

func (h *handler) ready(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	if !h.live.Ready() {
		return errNotReady
	}
	return h.sendDocument(w, fine{true})
}

var errNotReady = &problem{code: http.StatusServiceUnavailable, retry: 1, Message: "not everything that runs was looked at yet",
	Help: "ask again later; /v1/status tells how far it is"}

// endpoint is one line of the index.
type endpoint struct {
	Path       string   `json:"path"`
	About      string   `json:"about"`
	Parameters []string `json:"parameters"`
}

func (h *handler) index(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	document := struct {
		Endpoints []endpoint `json:"endpoints"`
	}{}
	for _, x := range h.routes {
		document.Endpoints = append(document.Endpoints, endpoint{x.path, x.about, append([]string{}, x.params...)})
	}
	return h.sendDocument(w, document)
}

func (h *handler) describe(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	return h.send(w, http.StatusOK, openapi)
}

func (h *handler) measure(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	if h.metrics == nil {
		return errNoMetrics
	}
	h.metrics.ServeHTTP(w, r)
	return nil
}

var errNoMetrics = &problem{code: http.StatusNotFound, Message: "this sensor keeps no metrics", Help: "its configuration can turn them on"}

// errAborted ends an answer that has begun: see fail.
var errAborted = errors.New("the answer broke off")
