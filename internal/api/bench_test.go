package api

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/patchsensor/patchsensor/internal/sinktest"
	"github.com/patchsensor/patchsensor/sensor"
)

// BenchmarkClient is what a question costs the one who asks and the sensor
// together, with a report of about 1 MB: unchanged since the last question, and
// new each time.
func BenchmarkClient(b *testing.B) {
	report := sinktest.Report(400)
	document, err := encode(report)
	if err != nil {
		b.Fatal(err)
	}
	l := &sinktest.Live{Report: report}
	s := serve(b, l, nil)
	fresh := serve(b, &changing{Live: l}, nil)
	unchanged, changed := sensor.NewClient(s.opts.Socket), sensor.NewClient(fresh.opts.Socket)
	for _, test := range []struct {
		name string
		size int
		ask  func() error
	}{
		{"raw", len(document), func() error { _, err := unchanged.StaleRaw(b.Context(), true); return err }},
		{"raw, changed", len(document), func() error { _, err := changed.StaleRaw(b.Context(), true); return err }},
		{"decoded", len(document), func() error { _, err := unchanged.Stale(b.Context(), true); return err }},
		{"status", 0, func() error { _, err := unchanged.Status(b.Context()); return err }},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.SetBytes(int64(test.size))
			b.ReportAllocs()
			for b.Loop() {
				if err := test.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("json.Unmarshal alone", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		for b.Loop() {
			var r sensor.Report
			if err := json.Unmarshal(document, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// changing gives out another report each time.
type changing struct{ *sinktest.Live }

func (c *changing) Stale(context.Context) (*sensor.Report, error) {
	r := *c.Report
	return &r, nil
}
