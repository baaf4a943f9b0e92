package main

import (
	"fmt"
	"os"
	"text/tabwriter"
	"time"
)

// filesEach is how many files each process of a crowd has mapped.
const filesEach = 30

// memory shows how a running sensor's memory grows with what runs: with processes
// that all have the same files mapped, and with files.
func (b *bench) memory(most int) {
	if b.err != nil {
		return
	}
	fmt.Fprintf(b.out, "\nresident memory of a sensor that runs, beside processes of %d files each\n", filesEach)
	w := tabwriter.NewWriter(b.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "processes\tfiles in all\tloads\tMB\tpeak MB\tbytes a load\tready after s\tanswer ms\t")
	var none int64
	for _, c := range []struct{ processes, pool int }{
		{0, 1}, {most / 10, filesEach - 1}, {most * 3 / 10, filesEach - 1}, {most, filesEach - 1}, {most, max(filesEach, most/4)},
	} {
		b.section(func(dir string) error {
			return b.crowd(w, dir, c.processes, c.pool, &none)
		})
	}
	if b.err == nil {
		b.err = w.Flush()
	}
}

func (b *bench) crowd(w *tabwriter.Writer, dir string, processes, pool int, none *int64) error {
	if processes > 0 {
		h, err := b.forge.gather(dir, processes, filesEach, pool)
		if err != nil {
			return err
		}
		defer h.stop()
	}
	r, err := b.run(dir)
	if err != nil {
		return err
	}
	defer r.stop()
	var waits []float64
	for range 3 {
		began := time.Now()
		if _, err := r.StaleRaw(b.ctx, false); err != nil {
			return err
		}
		waits = append(waits, time.Since(began).Seconds())
		time.Sleep(2 * time.Second)
	}
	// What the collector of garbage has not given back yet is gone after its next
	// turns.
	time.Sleep(5 * time.Second)
	status, err := r.Status(b.ctx)
	if err != nil {
		return err
	}
	now, peak := r.memory()
	each := "–"
	if processes == 0 {
		*none = now
	} else {
		each = fmt.Sprintf("%.0f", float64(now-*none)/float64(status.Loads))
	}
	_, mid, _ := interval(waits)
	_, err = fmt.Fprintf(w, "%d\t%d\t%d\t%.1f\t%.1f\t%s\t%.2f\t%.0f\t\n", status.Processes, status.Files, status.Loads, float64(now)/1e6, float64(peak)/1e6, each, r.start.Seconds(), 1e3*mid)
	return err
}

// section calls f with an empty directory that is removed afterwards.
func (b *bench) section(f func(dir string) error) {
	if b.err == nil {
		b.err = b.within(f)
	}
}

func (b *bench) within(f func(dir string) error) error {
	dir, err := os.MkdirTemp(b.dir, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return f(dir)
}
