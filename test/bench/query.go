package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"text/tabwriter"
	"time"
)

// queries compares the answer of a sensor that runs with that of one that looks once.
func (b *bench) queries(title string, s size) {
	b.with(s, func(h *herd) error {
		return b.within(func(dir string) error {
			r, err := b.run(dir)
			if err != nil {
				return err
			}
			defer r.stop()
			fmt.Fprintf(b.out, "\n%d %s: a sensor that runs against one that looks once\n", s.processes, title)
			w := tabwriter.NewWriter(b.out, 0, 0, 3, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "question\twall ms\tCPU ms, who asks\tCPU ms, the sensor\twall\tCPU\t")
			stale := func(more ...string) func() (cost, error) {
				argv := append([]string{b.sensor, "stale", "-o", "json", "--config", os.DevNull}, more...)
				return func() (cost, error) { return once(argv, b.limit) }
			}
			get := func(ask func() error) func() (cost, error) {
				return func() (cost, error) {
					began := time.Now()
					err := ask()
					return cost{wall: time.Since(began)}, err
				}
			}
			// The one that looks once first; the others as a part of it.
			questions := []struct {
				name string
				ask  func() (cost, error)
			}{
				{"sensor stale, looking once", stale("--source", "auto")},
				{"sensor stale, asking", stale("--source", "daemon", "--socket", r.socket)},
				{"GET /v1/stale", get(func() error { _, err := r.StaleRaw(b.ctx, false); return err })},
				{"GET /v1/status", get(func() error { _, err := r.Status(b.ctx); return err })},
			}
			// Who cannot ask answers all the same, and looks.
			asking := []string{"stale", "-o", "json", "--config", os.DevNull, "--source", "daemon", "--socket", r.socket}
			if out, _ := exec.Command(b.sensor, asking...).Output(); !bytes.Contains(out, []byte(`"source": "daemon"`)) && !bytes.Contains(out, []byte(`"source":"daemon"`)) {
				return fmt.Errorf("the sensor that runs does not answer: %.200q", out)
			}
			var first answered
			for i, q := range questions {
				a, err := b.question(r, q.ask)
				if err != nil {
					return fmt.Errorf("%s: %w", q.name, err)
				}
				if i == 0 {
					a.own = 0 // it asks nobody
					first = a
				}
				fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.3f\t%.3f\t\n", q.name, 1e3*a.wall, 1e3*a.cpu, 1e3*a.own, a.wall/first.wall, (a.cpu+a.own)/(first.cpu+first.own))
			}
			return w.Flush()
		})
	})
}

// answered are the medians of one question, in seconds.
type answered struct{ wall, cpu, own float64 }

// question asks the same several times, with a pause in between: a sensor that runs
// makes those wait that ask without one.
func (b *bench) question(r *running, ask func() (cost, error)) (answered, error) {
	var wall, cpu, own []float64
	for range max(b.runs, 9) {
		time.Sleep(500 * time.Millisecond)
		before := r.cpu()
		c, err := ask()
		if err != nil {
			return answered{}, err
		}
		wall, cpu, own = append(wall, c.wall.Seconds()), append(cpu, c.cpu.Seconds()), append(own, (r.cpu()-before).Seconds())
	}
	mid := func(list []float64) float64 {
		slices.Sort(list)
		return list[len(list)/2]
	}
	return answered{mid(wall), mid(cpu), mid(own)}, nil
}
