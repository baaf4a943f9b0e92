package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"syscall"

	"github.com/patchsensor/patchsensor/sensor"
)

// canned is a daemon that answers from files, or does not: its name may also be
// the word for a failure, and without a name there is none.
type canned struct {
	answers
	socket string
}

func (c canned) fails() error {
	switch c.name {
	case "":
		return fmt.Errorf("%w: dial unix %s: %w", sensor.ErrNoDaemon, c.socket, syscall.ENOENT)
	case "forbidden":
		return fmt.Errorf("%s: %w", c.socket, &sensor.AnswerError{Code: 403, Message: "this user may not\x1b ask", Help: "ask as\nroot"})
	case "closed":
		return fmt.Errorf("%w: dial unix %s: %w", sensor.ErrForbidden, c.socket, syscall.EACCES)
	case "untrusted":
		return fmt.Errorf("%s: %w: user 1000", c.socket, sensor.ErrUntrusted)
	case "broken":
		return fmt.Errorf("%s: the running sensor's answer broke off: %w", c.socket, io.ErrUnexpectedEOF)
	}
	return nil
}

func (c canned) Stale(_ context.Context, withSeen bool) (*sensor.Report, error) {
	if err := c.fails(); err != nil {
		return nil, err
	}
	r := &sensor.Report{}
	if err := c.read("report", r); err != nil {
		return nil, err
	}
	r.Source = "daemon"
	if withSeen {
		r.Seen = []sensor.Seen{{PID: 100, UID: 33, Workload: "nginx.service"}, {
			PID: 200, Workload: "shop/quiet-0/quiet", Container: "quiet", ContainerID: "c0ffee11", Image: "quiet:1", Namespace: "shop", Pod: "quiet-0",
		}}
	}
	return r, nil
}

// StaleRaw writes the answer on one line, as a daemon does.
func (c canned) StaleRaw(context.Context, bool) ([]byte, error) {
	if err := c.fails(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(c.dir, c.name+".report.json"))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return text, nil
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (c canned) Explain(_ context.Context, target string) (*sensor.Explanation, error) {
	x := &sensor.Explanation{}
	if err := c.fails(); err != nil {
		return nil, err
	}
	err := c.read("explanation", x)
	x.Source = "daemon"
	return x, err
}

func (c canned) Status(context.Context) (*sensor.Status, error) {
	s := &sensor.Status{}
	if err := c.fails(); err != nil {
		return nil, err
	}
	return s, c.read("status", s)
}

func (c canned) Diagnose(context.Context) (*sensor.Diagnosis, error) {
	d := &sensor.Diagnosis{}
	if err := c.fails(); err != nil {
		return nil, err
	}
	err := c.read("diagnosis", d)
	d.Tracking = &sensor.Tracking{Tier: "perf", Source: "procmap", Tiers: []sensor.Check{
		{Name: "lsm", Level: sensor.LevelWarn, Found: "not active", Remedy: "add bpf to lsm="},
		{Name: "perf", OK: true, Level: sensor.LevelOK, Found: "in use"},
	}}
	return d, err
}

// Events yields those of a file after the cursor. Where the first of them are not
// kept, a gap stands for them.
func (c canned) Events(_ context.Context, after uint64, follow bool) iter.Seq2[sensor.Event, error] {
	return func(yield func(sensor.Event, error) bool) {
		if err := c.fails(); err != nil {
			yield(sensor.Event{}, err)
			return
		}
		f, err := os.Open(filepath.Join(c.dir, c.name+".events.jsonl"))
		if err != nil {
			yield(sensor.Event{}, err)
			return
		}
		defer f.Close()
		for dec := json.NewDecoder(f); ; {
			var e sensor.Event
			switch err := dec.Decode(&e); {
			case err == io.EOF:
				return
			case err != nil:
				yield(sensor.Event{}, err)
				return
			}
			if e.Cursor > after && !yield(e, nil) {
				return
			}
		}
	}
}
