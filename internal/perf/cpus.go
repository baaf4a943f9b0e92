package perf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

var errCPUs = errors.New("not a list of CPUs")

// onlineCPUs are the numbers of the CPUs that run now, ascending.
func onlineCPUs() ([]int, error) {
	const name = "/sys/devices/system/cpu/online"
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return nil, err
	}
	cpus, err := parseCPUs(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cpus, nil
}

// parseCPUs reads the list format of Documentation/admin-guide/cputopology.rst,
// such as "0-3,5,7-8".
func parseCPUs(s string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%w: %.100q", errCPUs, s)
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil || to < from || (len(cpus) > 0 && int(from) <= cpus[len(cpus)-1]) {
			return nil, fmt.Errorf("%w: %.100q", errCPUs, s)
		}
		for n := from; n <= to; n++ {
			cpus = append(cpus, int(n))
		}
	}
	return cpus, nil
}
