package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

// watchOptions are what "sensor watch" was asked.
type watchOptions struct {
	output string
	since  since
	follow bool
	types  []sensor.EventType
	socket string
}

// since is where a stream begins: after a cursor, and not before a time.
type since struct {
	after uint64
	time  time.Time
}

func (a *app) watchCommand() *cobra.Command {
	output := choice{"text", []string{"text", "jsonl"}}
	types := list[sensor.EventType]{parse: oneOf(eventTypes()...), kind: "TYPE"}
	begin := typed[since]{since{after: sensor.OnlyNew}, "", parseSince(a.now, a.zone), "WHEN"}
	var socket typed[string]
	var noFollow bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show what goes stale and what is resolved, as it happens",
		Long: `watch prints the events of the running sensor ("sensor run"), one a line, until it is
interrupted.

Types of events:
  stale, missing, unknown   a workload has a finding of that state now
  changed                   the finding is still there but says something else
  resolved                  the workload has no finding any more, and how long it had one
  patch                     a package changed on disk
  gap                       for a time not everything was observed

--since shows events that are kept first. WHEN is one of
  DURATION   30m, 12h or 7d: as long ago as that
  TIME       2026-11-21, 2026-11-21T14:00 or 2026-11-21T14:00:00Z; without a zone in
             that of this machine
  CURSOR     the number in the field "cursor" of the last event that was seen: what
             came after it; 0 is all that is kept
Where something that was asked for is not kept any more, an event of type gap says so.

When the sensor ends, watch waits for it and goes on where it was. A gap is told on
standard error where --type leaves it out.

Output (-o):
  text    for people
  jsonl   one JSON document a line, schema sensor.event/v1

Exit codes: 0 it was interrupted, or all was shown with --no-follow; 2 usage; 3 no
sensor answers.`,
		Example: `  sensor watch
  sensor watch --since 7d --no-follow --type stale --type resolved
  sensor watch -o jsonl | jq -r 'select(.type == "stale") | .finding.workload.name'
  sensor watch -o jsonl --since 4711`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := socket.take(cmd.Flags(), "socket", c.Socket); err != nil {
				return err
			}
			if noFollow && begin.text == "" {
				return misuse("say where to begin, such as --since 24h", "--no-follow without --since shows nothing")
			}
			opts := watchOptions{output.value, begin.value, !noFollow, types.values, socket.value}
			return runWatch(cmd.Context(), a.environment, opts, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	cmd.Flags().Var(&begin, "since", "first show what is kept since then")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "end when all that is kept was shown")
	cmd.Flags().Var(&types, "type", "only events of this type (repeatable)")
	words := make([]string, 0, len(eventTypes()))
	for _, t := range eventTypes() {
		words = append(words, string(t))
	}
	completeWords(cmd, "type", words)
	addSocket(cmd, &socket, "unix socket of the running sensor")
	return cmd
}

func eventTypes() []sensor.EventType {
	return []sensor.EventType{
		sensor.EventStale, sensor.EventMissing, sensor.EventUnknown, sensor.EventChanged, sensor.EventResolved,
		sensor.EventPatch, sensor.EventGap,
	}
}

// parseSince parses a length of time before now, a time, or a cursor.
func parseSince(now func() time.Time, zone *time.Location) func(string) (since, error) {
	return func(s string) (since, error) {
		if cursor, err := strconv.ParseUint(s, 10, 64); err == nil && cursor != sensor.OnlyNew {
			return since{after: cursor}, nil
		}
		if d, err := parseSpan(s); err == nil {
			return since{time: now().Add(-d)}, nil
		}
		for _, layout := range []string{
			time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly,
		} {
			if t, err := time.ParseInLocation(layout, s, zone); err == nil {
				return since{time: t}, nil
			}
		}
		return since{}, errors.New("want a length of time such as 12h or 7d, a time such as 2026-11-21T14:00, or a cursor")
	}
}

// longestPause is the longest time between two tries to reach a sensor that has
// ended.
const longestPause = 10 * time.Second

// watcher is one run of "sensor watch".
type watcher struct {
	*environment
	watchOptions
	out   *screen
	began time.Time
	// got says that there was an event since the stream began.
	got bool
}

// runWatch prints events until ctx ends. Interrupting it is how it is meant to end.
func runWatch(ctx context.Context, env *environment, opts watchOptions, out *screen) error {
	w := &watcher{environment: env, watchOptions: opts, out: out, began: env.now()}
	pause := env.pause
	for {
		err := w.stream(ctx)
		if ctx.Err() != nil || err == nil {
			return nil
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			return advised(err)
		}
		if w.got {
			pause = env.pause
		}
		w.say("the sensor has ended or does not answer; waiting for it")
		if pause, err = w.wait(ctx, pause); err != nil {
			return advised(err)
		}
		if ctx.Err() != nil {
			return nil
		}
		w.say("the sensor answers again")
		w.resume()
	}
}

// resume goes on after the last event. One that saw none asks for all that
// happened since it began.
func (w *watcher) resume() {
	if w.since.after == sensor.OnlyNew {
		w.since = since{time: w.began}
	}
}

// stream prints events until there are no more.
func (w *watcher) stream(ctx context.Context) error {
	w.got = false
	for e, err := range w.daemon(w.socket).Events(ctx, w.since.after, w.follow) {
		if err != nil {
			return err
		}
		w.got, w.since.after = true, e.Cursor
		if err := w.show(&e); err != nil {
			return fmt.Errorf("writing the events: %w", err)
		}
	}
	return nil
}

// wait returns when the sensor answers again or ctx ends, and how long to wait the
// next time. An error is one that waiting does not mend.
func (w *watcher) wait(ctx context.Context, pause time.Duration) (time.Duration, error) {
	for {
		select {
		case <-ctx.Done():
			return pause, nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		limited, cancel := context.WithTimeout(ctx, w.patience)
		_, err := w.daemon(w.socket).Status(limited)
		cancel()
		var refused *sensor.AnswerError
		switch {
		case err == nil || ctx.Err() != nil:
			return pause, nil
		case errors.Is(err, sensor.ErrNoDaemon), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded),
			errors.As(err, &refused) && refused.Code >= http.StatusInternalServerError:
		default:
			return pause, err
		}
	}
}

func (w *watcher) say(text string) { complain(w.stderr, "sensor watch", errors.New(text)) }

// show prints an event that was asked for.
func (w *watcher) show(e *sensor.Event) error {
	if e.Time.Before(w.since.time) && (e.Gap == nil || e.Gap.To.Before(w.since.time)) {
		return nil
	}
	if len(w.types) > 0 && !slices.Contains(w.types, e.Type) {
		if e.Type == sensor.EventGap {
			// What was not observed may be what was asked for.
			w.say("warning: " + escape(eventText(e, w.zone)))
		}
		return nil
	}
	if w.output == "jsonl" {
		enc := json.NewEncoder(w.out.w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			return err
		}
	} else {
		writeEvent(w.out.printer, e, w.zone)
	}
	return w.out.flush()
}
