package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// stream is what one question for events is answered with.
type stream struct {
	events []uint64 // cursors
	err    error
}

// restless is a daemon that ends now and then.
type restless struct {
	canned
	mu      sync.Mutex
	streams []stream
	// statuses are the answers to the next questions for the status.
	statuses []error
	asked    []uint64
	end      context.CancelFunc
}

func (r *restless) Status(context.Context) (*sensor.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.statuses) == 0 {
		return &sensor.Status{}, nil
	}
	err := r.statuses[0]
	r.statuses = r.statuses[1:]
	return nil, err
}

func (r *restless) Events(ctx context.Context, after uint64, _ bool) iter.Seq2[sensor.Event, error] {
	return func(yield func(sensor.Event, error) bool) {
		r.mu.Lock()
		r.asked = append(r.asked, after)
		if len(r.streams) == 0 {
			r.mu.Unlock()
			r.end()
			yield(sensor.Event{}, ctx.Err())
			return
		}
		s := r.streams[0]
		r.streams = r.streams[1:]
		r.mu.Unlock()
		for _, cursor := range s.events {
			e := sensor.Event{
				Schema: sensor.EventSchema, Cursor: cursor, Time: time.Unix(int64(cursor), 0), Type: sensor.EventPatch,
				Patch: &sensor.Patch{Package: fmt.Sprintf("p%d", cursor), From: "1", To: "2"},
			}
			if !yield(e, nil) {
				return
			}
		}
		yield(sensor.Event{}, s.err)
	}
}

var errBroken = fmt.Errorf("/s: the answer broke off: %w", io.ErrUnexpectedEOF)

func TestWatchGoesOn(t *testing.T) {
	gone := fmt.Errorf("%w: dial", sensor.ErrNoDaemon)
	starting := &sensor.AnswerError{Code: 503, Message: "busy"}
	refused := &sensor.AnswerError{Code: 403, Help: "ask as root"}
	for _, c := range []struct {
		name     string
		args     []string
		streams  []stream
		statuses []error
		code     int
		asked    []uint64
		shown    []string
		says     string
	}{
		{
			name:    "after the last event",
			args:    []string{"--since", "3"},
			streams: []stream{{[]uint64{4, 5}, errBroken}, {[]uint64{6}, errBroken}}, statuses: []error{gone, starting, errBroken},
			asked: []uint64{3, 5, 6}, shown: []string{"p4", "p5", "p6"}, says: "answers again",
		},
		{
			name:    "with what happened since it began, if it saw nothing before",
			streams: []stream{{nil, errBroken}, {[]uint64{99, 100, 101}, errBroken}},
			asked:   []uint64{sensor.OnlyNew, 0, 101}, shown: []string{"p100", "p101"}, says: "waiting for it",
		},
		{
			name:    "with a state that was lost and counts anew",
			args:    []string{"--since", "3"},
			streams: []stream{{[]uint64{90}, errBroken}, {[]uint64{1}, errBroken}},
			asked:   []uint64{3, 90, 1}, shown: []string{"p90", "p1"}, says: "waiting for it",
		},
		{name: "not at the first try", streams: []stream{{nil, gone}}, code: exitUnsure, asked: []uint64{sensor.OnlyNew}, says: "hint: start it"},
		{
			name:    "not when it is not let in any more",
			streams: []stream{{nil, errBroken}}, statuses: []error{gone, refused},
			code: exitUnsure, asked: []uint64{sensor.OnlyNew}, says: "hint: ask as root",
		},
		{
			name:    "not with another version",
			streams: []stream{{nil, errBroken}, {nil, fmt.Errorf("they are of different versions")}},
			code:    exitUnsure, asked: []uint64{sensor.OnlyNew, 0}, says: "different versions",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			r := &restless{streams: c.streams, statuses: c.statuses, end: end}
			env := scripted(failing{})
			env.daemon = func(string) daemon { return r }
			env.now = func() time.Time { return time.Unix(100, 0) }
			var stdout, stderr strings.Builder
			env.stdout, env.stderr = &stdout, &stderr
			code := run(ctx, append([]string{"watch", "--config", os.DevNull}, c.args...), env)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !slices.Equal(r.asked, c.asked) {
				t.Errorf("asked for what is after %v, want %v", r.asked, c.asked)
			}
			var shown []string
			for line := range strings.Lines(stdout.String()) {
				shown = append(shown, strings.Fields(line)[3])
			}
			if !slices.Equal(shown, c.shown) {
				t.Errorf("shown %v, want %v", shown, c.shown)
			}
			if !strings.Contains(stderr.String(), c.says) {
				t.Errorf("said %q, want %q", stderr.String(), c.says)
			}
		})
	}
}

// hangs is a daemon that never answers.
type hangs struct{ canned }

func (hangs) Stale(ctx context.Context, _ bool) (*sensor.Report, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hangs) Status(ctx context.Context) (*sensor.Status, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A daemon that hangs costs some time and never the answer.
func TestDaemonHangs(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"stale"}, exitStale, "no answer within 20ms"},
		{[]string{"stale", "--source", "daemon"}, exitUnsure, "sensor stale: /run/sensor/sensor.sock: no answer within 20ms\n"},
		{[]string{"status"}, exitUnsure, "sensor status: /run/sensor/sensor.sock: no answer within 20ms\n"},
	} {
		env := scripted(answers{"testdata/answers", "mixed"})
		env.daemon, env.patience = func(string) daemon { return hangs{} }, 20*time.Millisecond
		var stderr strings.Builder
		env.stdout, env.stderr = io.Discard, &stderr
		code := run(t.Context(), append(c.args, "--config", os.DevNull), env)
		if code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%v: exit code %d, %q", c.args, code, stderr.String())
		}
	}
	// An interruption is one, and not the daemon's fault.
	env := scripted(answers{"testdata/answers", "mixed"})
	env.daemon = func(string) daemon { return hangs{} }
	var stderr strings.Builder
	env.stdout, env.stderr = io.Discard, &stderr
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"stale", "--config", os.DevNull}, env); code != exitUnsure || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}
