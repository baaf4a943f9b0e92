package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// cost is what one run of a program took: CPU time of the program and all its
// children, user and system, and the largest resident set of any of them
// (getrusage(2)), which is never less than the benchmark's own few megabytes.
type cost struct {
	cpu, wall time.Duration
	peak      int64 // bytes
	cut       bool  // it was stopped at the limit, and would have cost more
}

// measure runs a program several times and returns the run of median CPU time.
// A program that takes as long as a tenth of the limit runs once.
func measure(argv []string, runs int, limit time.Duration) (cost, error) {
	var all []cost
	for range runs {
		c, err := once(argv, limit)
		if err != nil {
			return cost{}, err
		}
		all = append(all, c)
		if c.wall > limit/10 {
			break
		}
	}
	slices.SortFunc(all, func(a, b cost) int { return int(a.cpu - b.cpu) })
	return all[len(all)/2], nil
}

func once(argv []string, limit time.Duration) (cost, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// The program's children go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	began := time.Now()
	err := cmd.Run()
	c := cost{wall: time.Since(began), cut: ctx.Err() != nil}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) && !c.cut {
		return cost{}, fmt.Errorf("%q: %w", argv, err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return cost{}, fmt.Errorf("%q: no resource usage", argv)
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.peak = usage.Maxrss << 10 // KiB on Linux
	return c, nil
}
