package perf

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkDrain is the cost of a record in user space, names known.
func BenchmarkDrain(b *testing.B) {
	for _, cpus := range []int{1, 64} {
		b.Run(fmt.Sprintf("cpus=%d", cpus), func(b *testing.B) {
			var rings []*ring
			records := 0
			for cpu := range cpus {
				var in [][]byte
				for i := range 400 {
					at := time.Duration(1000*i + cpu)
					in = append(in, rawMap(at, 10, 8, 1, uint64(i), fmt.Sprintf("/usr/lib/x86_64-linux-gnu/lib%d.so.6", i%50)))
				}
				records += len(in)
				rings = append(rings, fake(cpu, 1<<18, 1<<17, in...))
			}
			r := reader(rings...)
			var buf []Record
			b.ReportAllocs()
			for b.Loop() {
				for _, g := range rings {
					g.image.tail, g.time = 1<<17, 0
				}
				if buf = r.Drain(buf[:0], math.MaxInt64); len(buf) != records {
					b.Fatal(len(buf))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
		})
	}
}

// storm runs a dynamically linked program n times: fork, execve, and what the
// dynamic loader maps.
// It returns how long that took, and the processor time of these programs.
func storm(b *testing.B, n int) (wall, cpu time.Duration) {
	b.Helper()
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/ls -d / >/dev/null; i=$((i+1)); done", n))
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return time.Since(begin), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// drained reads as a daemon does, until stop, which returns the number of records.
func drained(b *testing.B, r *Reader) (stop func() int) {
	ctx, done, n := b.Context(), make(chan struct{}), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		var buf []Record
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := r.Wait(ctx, 20*time.Millisecond); err != nil {
				return
			}
			buf = r.Drain(buf[:0], Now()-time.Millisecond)
			n += len(buf)
		}
	})
	return func() int { close(done); wg.Wait(); return n }
}

// BenchmarkStorm is how many records come of programs one after the other.
func BenchmarkStorm(b *testing.B) {
	r := open(b, Options{Tasks: true})
	stop := drained(b, r)
	for b.Loop() {
		storm(b, 100)
	}
	n := stop()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(n)/float64(b.N*100), "records/exec")
	b.ReportMetric(float64(r.Stats().Lost), "lost")
}

// BenchmarkTax is what the side band, and reading it, costs programs: rounds with
// and without, in turn, and the medians of their ratios, of time and of processor
// time. The first depends on what else the machine does.
func BenchmarkTax(b *testing.B) {
	open(b, Options{}).Close()
	const execs = 200
	with := func() (wall, cpu time.Duration) {
		r, err := Open(Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		stop := drained(b, r)
		defer stop()
		return storm(b, execs)
	}
	without := func() (wall, cpu time.Duration) { return storm(b, execs) }
	var walls, cpus, plain []float64
	for i := 0; b.Loop(); i++ {
		rounds := []func() (wall, cpu time.Duration){without, with}
		var wall, cpu [2]time.Duration
		for k := range rounds {
			k := (k + i) % 2
			wall[k], cpu[k] = rounds[k]()
		}
		walls = append(walls, float64(wall[1])/float64(wall[0]))
		cpus = append(cpus, float64(cpu[1])/float64(cpu[0]))
		plain = append(plain, float64(cpu[0].Microseconds())/execs)
	}
	for _, m := range []struct {
		unit   string
		values []float64
	}{{"time-ratio", walls}, {"cpu-ratio", cpus}, {"cpu-µs/exec", plain}} {
		slices.Sort(m.values)
		b.ReportMetric(m.values[len(m.values)/2], m.unit)
	}
}

// BenchmarkMmap is the cost of one mapping and unmapping, with and without the
// side band: that of a mapping which is not executable as well, for the kernel
// finds out its name before it looks whether anybody wants it.
func BenchmarkMmap(b *testing.B) {
	f, err := os.Open(code(b, b.TempDir(), "lib"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, m := range []struct {
		what            string
		fd, prot, flags int
	}{
		{"code", int(f.Fd()), unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE},
		{"data", int(f.Fd()), unix.PROT_READ, unix.MAP_PRIVATE},
		{"anonymous", -1, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANON},
	} {
		run := func(b *testing.B) {
			for b.Loop() {
				p, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, uintptr(page), uintptr(m.prot), uintptr(m.flags), uintptr(m.fd), 0)
				if errno != 0 {
					b.Fatal(errno)
				}
				unix.Syscall(unix.SYS_MUNMAP, p, uintptr(page), 0)
			}
		}
		b.Run(m.what+"/without", run)
		b.Run(m.what+"/with", func(b *testing.B) {
			r := open(b, Options{})
			stop := drained(b, r)
			defer stop()
			run(b)
		})
	}
}
