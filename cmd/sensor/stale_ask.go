package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/patchsensor/patchsensor/sensor"
)

// found is a report. One that is only passed on has the JSON that the running
// sensor wrote, and of the rest only what reportHead reads.
type found struct {
	*sensor.Report
	raw []byte
}

// whole reports whether the report is wanted as it is.
func (o *staleOptions) whole() bool {
	return o.output == "json" && o.filter.Empty() && o.exclude.Empty()
}

// ofDaemon asks the running sensor for no more than is needed.
func (o *staleOptions) ofDaemon(ctx context.Context, d daemon) (found, error) {
	if !o.whole() {
		r, err := d.Stale(ctx, o.filter.OfWhatRuns())
		return found{Report: r}, err
	}
	raw, err := d.StaleRaw(ctx, false)
	if err != nil {
		return found{}, err
	}
	r, err := reportHead(raw)
	return found{r, raw}, err
}

// ofMachine looks at every process.
func (o *staleOptions) ofMachine(ctx context.Context, env *environment) func(sensor.Options) (found, error) {
	return func(scan sensor.Options) (found, error) {
		progress := newProgress(env)
		defer progress.clear()
		scan.Progress = progress.report()
		r, err := env.scanner.Scan(ctx, scan)
		return found{Report: r}, err
	}
}

// reportHead reads what decides the exit code. These fields stand before the
// findings, which are the most of a report and are then not read at all.
func reportHead(raw []byte) (*sensor.Report, error) {
	r := &sensor.Report{}
	err := members(json.NewDecoder(bytes.NewReader(raw)), map[string]any{
		"schema": &r.Schema, "complete": &r.Complete, "summary": &r.Summary,
	})
	if err == nil && r.Schema != sensor.Schema {
		err = fmt.Errorf("schema %q", r.Schema)
	}
	if err != nil {
		return nil, fmt.Errorf("the running sensor's report is not as it should be: %w", err)
	}
	return r, nil
}

// members decodes the wanted members of an object, and reads no further than the
// last of them.
func members(dec *json.Decoder, wanted map[string]any) error {
	if _, err := dec.Token(); err != nil {
		return err
	}
	for len(wanted) > 0 && dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		into := wanted[name]
		if into == nil {
			into = &json.RawMessage{}
		}
		delete(wanted, name)
		if err := dec.Decode(into); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		return errors.New("something is missing")
	}
	return nil
}

// passOn writes a report as the running sensor wrote it, or, on a terminal, so
// that people can read it.
func passOn(f found, out *screen) error {
	text := f.raw
	if out.width > 0 {
		var b bytes.Buffer
		if err := json.Indent(&b, f.raw, "", "  "); err != nil {
			return fmt.Errorf("the running sensor's report is not as it should be: %w", err)
		}
		text = b.Bytes()
	}
	_, err := out.w.Write(text)
	if err := errors.Join(err, out.flush()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if code := outcome(f.Report); code != exitFine {
		return exitStatus(code)
	}
	return nil
}
