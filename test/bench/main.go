// Bench measures what "sensor stale" costs beside the programs that answer a
// similar question, on herds of stale daemons that it starts for the purpose.
// It prints tables and judges nothing: ratios within one run are to be
// compared, times depend on the machine.
//
// Run it as root: "make bench".
package main

import (
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
	flag.Parse()
	if err := bench(os.Stdout, *runs, *limit, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// tool is a program to be measured.
type tool struct {
	name string
	argv []string
}

func bench(out io.Writer, runs int, limit time.Duration, scale int) (err error) {
	dir, err := lab.NewScratch()
	if err != nil {
		return err
	}
	defer func() {
		if e := lab.RemoveScratch(dir); err == nil {
			err = e
		}
	}()
	forge, err := build(dir)
	if err != nil {
		return err
	}
	sensor, err := lab.NewSensor(dir)
	if err != nil {
		return err
	}
	self := tool{"sensor stale -o json", []string{sensor.Path, "stale", "-o", "json"}}
	others := installed([]tool{
		{"lsof -nP", []string{"lsof", "-nP"}},
		{"needrestart -b -r l", []string{"needrestart", "-b", "-r", "l"}},
		{"checkrestart", []string{"checkrestart"}},
	}, out)

	b := &run{out: out, forge: forge, dir: dir, runs: runs, limit: limit}
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
		sources = append(sources, tool{"--source " + source, append(append([]string{}, self.argv...), "--source", source)})
	}
	b.table("sources of mappings", size{processes: scale}, sources)
	return b.err
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

// run is one run of the benchmark. After an error it does nothing more.
type run struct {
	out   io.Writer
	forge forge
	dir   string
	runs  int
	limit time.Duration
	herds int
	err   error
}

// with starts a herd, calls f, and ends the herd.
func (b *run) with(s size, f func(h *herd) error) {
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
func (b *run) table(title string, s size, tools []tool) {
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
func (b *run) growth(t tool, scale int, distinct bool) {
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
