package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

// running is a "sensor run" that is measured.
type running struct {
	*sensor.Client
	pid    int
	socket string
	cmd    *exec.Cmd
	log    bytes.Buffer
	// start is how long it took to be ready.
	start time.Duration
}

// startTimeout bounds how long a sensor may take to be ready.
const startTimeout = 2 * time.Minute

// run starts a sensor with its state in the directory dir and waits until it is
// ready.
func (b *bench) run(dir string) (*running, error) {
	r := &running{socket: filepath.Join(dir, "sock")}
	r.Client = sensor.NewClient(r.socket)
	r.cmd = exec.Command(b.sensor, "run", "--config", os.DevNull, "--tier", b.tier, "--socket", r.socket, "--state-dir", filepath.Join(dir, "state"), "--sweep", "off")
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	// Its collector of garbage is to be the one that people have.
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	began := time.Now()
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.pid = r.cmd.Process.Pid
	for {
		status, err := r.Status(context.Background())
		if err == nil && status.Ready {
			r.start = time.Since(began)
			return r, nil
		}
		if time.Since(began) > startTimeout || !alive(r.pid) {
			r.stop()
			return nil, fmt.Errorf("the sensor does not become ready: %w\n%s", errors.Join(err, r.cmd.Err), r.log.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// alive reports whether a child runs: one that has ended and was not waited for is a
// zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(rest, []byte("Z"))
}

// stop ends the sensor.
func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	_ = r.cmd.Wait()
}

// cpu is the processor time that the sensor has taken so far: the first number of
// schedstat (sched-stats in the kernel's documentation), in nanoseconds, of each of
// its threads. Go's threads as a rule do not end.
func (r *running) cpu() time.Duration {
	var sum time.Duration
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.pid))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if f := strings.Fields(string(text)); len(f) > 0 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// memory are the sensor's resident set and the largest that it ever was, in bytes
// (VmRSS and VmHWM in proc_pid_status(5)).
func (r *running) memory() (now, peak int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		var kib int64
		if _, err := fmt.Sscan(value, &kib); err != nil {
			continue
		}
		switch key {
		case "VmRSS":
			now = kib << 10
		case "VmHWM":
			peak = kib << 10
		}
	}
	return now, peak
}
