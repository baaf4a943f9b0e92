// Bench measures what "sensor stale" costs beside the programs that answer a
// similar question, on herds of stale daemons that it starts for the purpose, and
// what a sensor that runs costs the machine and those who ask it.
// It prints tables and judges nothing: ratios within one run are to be
// compared, times depend on the machine.
//
// Run it as root: "make bench".
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/patchsensor/patchsensor/test/lab"
)

func main() {
	runs := flag.Int("runs", 5, "runs of each program, of which the median counts")
	limit := flag.Duration("limit", time.Minute, "longest time for one run of a program")
	scale := flag.Int("scale", 2000, "size of the largest herd")
	crowd := flag.Int("crowd", 10000, "size of the largest crowd")
	pairs := flag.Int("pairs", 40, "pairs of laps with and without a sensor that runs")
	part := flag.String("part", "", "only this part: once, loop, query, memory or containers")
	tier := flag.String("tier", "auto", "how a sensor that runs sees mappings")
	flag.Parse()
	b := &bench{ctx: context.Background(), out: os.Stdout, runs: *runs, limit: *limit, tier: *tier}
	if err := b.all(*part, *scale, *crowd, *pairs); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// tool is a program to be measured.
type tool struct {
	name string
	argv []string
}

// all runs the parts of the benchmark, or one of them.
func (b *bench) all(part string, scale, crowd, pairs int) (err error) {
	if b.dir, err = lab.NewScratch(); err != nil {
		return err
	}
	defer func() {
		if e := lab.RemoveScratch(b.dir); err == nil {
			err = e
		}
	}()
	if b.forge, err = build(b.dir); err != nil {
		return err
	}
	sensor, err := lab.NewSensor(b.dir)
	if err != nil {
		return err
	}
	b.sensor = sensor.Path
	for _, p := range []struct {
		name string
		run  func()
	}{
		{"once", func() { b.once(scale) }},
		{"loop", func() { b.slowdown(pairs) }},
		{"query", func() {
			b.queries("current services", size{processes: scale, current: true, executed: true})
			b.queries("stale services", size{processes: scale, executed: true})
			b.queries("current daemons", size{processes: scale, current: true})
			b.queries("stale daemons", size{processes: scale})
			b.queries("current services, a library for each", size{processes: scale, current: true, executed: true, distinct: true})
		}},
		{"memory", func() { b.memory(crowd) }},
		{"containers", func() { b.containers(scale / flockSize) }},
	} {
		if part == "" || part == p.name {
			p.run()
		}
	}
	return b.err
}

// once measures a sensor that looks once, beside other programs.
func (b *bench) once(scale int) {
	self := tool{"sensor stale -o json", []string{b.sensor, "stale", "-o", "json", "--source", "auto"}}
	others := installed([]tool{
		{"lsof -nP", []string{"lsof", "-nP"}},
		{"needrestart -b -r l", []string{"needrestart", "-b", "-r", "l"}},
		{"checkrestart", []string{"checkrestart"}},
	}, b.out)
	all := append([]tool{self}, others...)
	b.table("stale daemons, one replaced library", size{processes: scale}, all)
	b.table("stale daemons of many mappings", size{processes: max(1, scale*3/100), pieces: 2000}, all)
	// Growth: with processes, and with distinct files.
	for _, distinct := range []bool{false, true} {
		b.growth(self, scale, distinct)
	}
	// The same by each source of mappings.
	var sources []tool
	for _, source := range lab.Sources {
		sources = append(sources, tool{"--source " + source, []string{b.sensor, "stale", "-o", "json", "--source", source}})
	}
	b.table("sources of mappings", size{processes: scale}, sources)
}

// installed are the tools that this machine has; the others are named.
func installed(tools []tool, out io.Writer) []tool {
	var have []tool
	for _, t := range tools {
		if _, err := exec.LookPath(t.argv[0]); err != nil {
			fmt.Fprintf(out, "%s is not installed and left out (test/install-deps --bench)\n", t.argv[0])
			continue
		}
		have = append(have, t)
	}
	return have
}

// bench is one run of the benchmark. After an error it does nothing more.
type bench struct {
	ctx    context.Context
	out    io.Writer
	forge  forge
	sensor string
	tier   string // of sensors that run
	dir    string
	runs   int
	limit  time.Duration
	herds  int
	err    error
}

// with starts a herd, calls f, and ends the herd.
func (b *bench) with(s size, f func(h *herd) error) {
	if b.err != nil {
		return
	}
	b.herds++
	dir := filepath.Join(b.dir, strconv.Itoa(b.herds))
	if b.err = os.Mkdir(dir, 0o755); b.err != nil {
		return
	}
	h, err := b.forge.start(dir, s)
	if err != nil {
		b.err = err
		return
	}
	defer h.stop()
	b.err = f(h)
}

// table compares programs on one herd; the ratio is of CPU time, to the first.
func (b *bench) table(title string, s size, tools []tool) {
	b.with(s, func(h *herd) error {
		fmt.Fprintf(b.out, "\n%d %s, %d mappings each\n", s.processes, title, h.mappings)
		w := tabwriter.NewWriter(b.out, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "program\tCPU s\twall s\tpeak MB\tratio\t")
		var first cost
		for i, t := range tools {
			c, err := measure(t.argv, b.runs, b.limit)
			if err != nil {
				return err
			}
			if i == 0 {
				first = c
			}
			more := ""
			if c.cut {
				more = "> "
			}
			fmt.Fprintf(w, "%s\t%s%.3f\t%s%.3f\t%.1f\t%s%.2f\t\n", t.name, more, c.cpu.Seconds(), more, c.wall.Seconds(),
				float64(c.peak)/1e6, more, c.cpu.Seconds()/first.cpu.Seconds())
		}
		return w.Flush()
	})
}

// growth shows how the cost grows with the number of processes.
func (b *bench) growth(t tool, scale int, distinct bool) {
	what := "one library for all"
	if distinct {
		what = "a library for each"
	}
	fmt.Fprintf(b.out, "\n%s: growth with stale processes, %s\n", t.name, what)
	w := tabwriter.NewWriter(b.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "processes\tCPU s\tms per process\tpeak MB\t")
	for _, n := range []int{scale / 4, scale / 2, scale} {
		b.with(size{processes: n, distinct: distinct}, func(*herd) error {
			c, err := measure(t.argv, b.runs, b.limit)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%d\t%.3f\t%.3f\t%.1f\t\n", n, c.cpu.Seconds(), 1e3*c.cpu.Seconds()/float64(n), float64(c.peak)/1e6)
			return err
		})
	}
	if b.err == nil {
		b.err = w.Flush()
	}
}
