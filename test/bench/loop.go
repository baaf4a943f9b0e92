package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// lap is one run of the loop, in seconds; own is the sensor's, and others is what
// everybody else had the machine's processors do meanwhile.
type lap struct{ wall, cpu, own, others float64 }

// disturbed says that others took a part of the lap.
func (l lap) disturbed() bool { return l.others > l.wall/10 }

// The loop is run in many short laps, with a sensor that runs and without, so that
// what else the machine does falls on both alike.
const (
	lapCount  = 1000 // processes
	lapWarm   = 50   // before these: what is seen for the first time is looked up once
	lapSettle = 500 * time.Millisecond
)

// slowdown measures by how much a sensor that runs slows down what starts processes:
// small ones that load one small library, which is the worst case, and such that load
// what a service of the network does, and end.
func (b *bench) slowdown(pairs int) {
	b.loops("a small library", pairs, func(dir string) (string, error) {
		lib := filepath.Join(dir, "lib.so")
		return lib, install(b.forge.oldLib, lib)
	})
	const tls = "libssl.so.3"
	if err := exec.CommandContext(b.ctx, b.forge.loop, tls).Run(); err != nil {
		fmt.Fprintf(b.out, "%s is not installed and left out\n", tls)
		return
	}
	b.loops(tls, pairs, func(string) (string, error) { return tls, nil })
}

// loops measures a loop of processes that load one library.
func (b *bench) loops(title string, pairs int, library func(dir string) (string, error)) {
	b.section(func(dir string) error {
		lib, err := library(dir)
		if err != nil {
			return err
		}
		var ratios, cpus, own []float64
		var with, without []lap
		tier, tries := "", 0
		for len(ratios) < pairs && tries < 10*pairs {
			tries++
			var off, on lap
			var err error
			// Without, with, with, without, …
			for _, running := range []bool{tries%2 == 1, tries%2 == 0} {
				if !running {
					off, err = b.lap(lib, nil)
				} else {
					on, tier, err = b.lapWith(dir, lib)
				}
				if err != nil {
					return err
				}
			}
			if on.disturbed() || off.disturbed() {
				continue
			}
			with, without = append(with, on), append(without, off)
			ratios, cpus = append(ratios, on.wall/off.wall), append(cpus, on.cpu/off.cpu)
			own = append(own, on.own*1000/lapCount)
		}
		fmt.Fprintf(b.out, "\nfork, exec and dlopen of %s, with a sensor that runs (tier %s) against without: %d pairs of laps of %d processes, %d pairs were disturbed\n",
			title, tier, len(ratios), lapCount, tries-len(ratios))
		if len(ratios) < 10 {
			_, err := fmt.Fprintln(b.out, "too few to tell: the machine does other things")
			return err
		}
		w := tabwriter.NewWriter(b.out, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "median of\twithout\twith\tratio\t95 % from\tto\t")
		row := func(name string, of func(lap) float64, ratios []float64) {
			lo, mid, hi := interval(ratios)
			fmt.Fprintf(w, "%s\t%.1f µs\t%.1f µs\t%.3f\t%.3f\t%.3f\t\n", name, 1e6/lapCount*middle(without, of), 1e6/lapCount*middle(with, of), mid, lo, hi)
		}
		row("wall time of a process", func(l lap) float64 { return l.wall }, ratios)
		row("its CPU time, and its parent's", func(l lap) float64 { return l.cpu }, cpus)
		if err := w.Flush(); err != nil {
			return err
		}
		lo, mid, hi := interval(own)
		_, err = fmt.Fprintf(b.out, "the sensor's own CPU time for 1,000 processes: median %.1f ms (95 %%: %.1f to %.1f)\n", 1e3*mid, 1e3*lo, 1e3*hi)
		return err
	})
}

// lapWith starts a sensor for one lap.
func (b *bench) lapWith(dir, lib string) (lap, string, error) {
	r, err := b.run(dir)
	if err != nil {
		return lap{}, "", err
	}
	defer r.stop()
	status, err := r.Status(b.ctx)
	if err != nil {
		return lap{}, "", err
	}
	l, err := b.lap(lib, r)
	return l, status.Tracking.Tier, err
}

// lap runs the loop once; r is nil where no sensor runs.
func (b *bench) lap(lib string, r *running) (lap, error) {
	if _, err := b.loop(lapWarm, lib); err != nil {
		return lap{}, err
	}
	// Neither is what it does after its start what is measured.
	time.Sleep(lapSettle)
	var before time.Duration
	if r != nil {
		before = r.cpu()
	}
	all := busy()
	l, err := b.loop(lapCount, lib)
	if err != nil {
		return lap{}, err
	}
	l.others = busy() - all - l.cpu
	if r != nil {
		l.others -= (r.cpu() - before).Seconds()
	}
	if r != nil {
		// With the look that follows.
		time.Sleep(lapSettle)
		l.own = (r.cpu() - before).Seconds()
	}
	return l, nil
}

// busy is for how long the machine's processors have worked altogether, in seconds: the
// first line of /proc/stat (proc_stat(5)), in ticks of 10 ms, without idle and iowait.
func busy() (seconds float64) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line) {
		if n, err := strconv.ParseFloat(field, 64); err == nil && i != 4 && i != 5 && i < 9 {
			seconds += n / 100
		}
	}
	return seconds
}

func (b *bench) loop(count int, lib string) (lap, error) {
	cmd := exec.CommandContext(b.ctx, b.forge.loop, fmt.Sprint(count), b.forge.loop, lib)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return lap{}, fmt.Errorf("%q: %w", cmd.Args, err)
	}
	var l lap
	if _, err := fmt.Sscan(string(out), &l.wall, &l.cpu); err != nil {
		return lap{}, fmt.Errorf("%q says %q: %w", cmd.Args, out, err)
	}
	return l, nil
}

func middle(laps []lap, of func(lap) float64) float64 {
	var list []float64
	for _, l := range laps {
		list = append(list, of(l))
	}
	_, mid, _ := interval(list)
	return mid
}

// interval is the median and its confidence interval of 95 %, by order statistics:
// it assumes nothing of how the values are distributed but that they are
// independent.
func interval(values []float64) (lo, median, hi float64) {
	s := slices.Clone(values)
	slices.Sort(s)
	n := len(s)
	median = (s[(n-1)/2] + s[n/2]) / 2
	// The number of values below the true median is binomial (n, 1/2); the normal
	// approximation is good enough from ten values on.
	k := max(0, int(math.Floor((float64(n)-1.96*math.Sqrt(float64(n)))/2)))
	return s[k], median, s[n-1-k]
}
