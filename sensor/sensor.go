package sensor

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/proc"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/workload"
	"github.com/patchsensor/patchsensor/internal/workload/container"
	"github.com/patchsensor/patchsensor/internal/workload/systemd"
)

// Options say where to look and how. The zero value is this machine.
type Options struct {
	// Root is the host's root directory as the sensor sees it; "/" if empty.
	Root string
	// Proc is where a procfs is mounted; "/proc" if empty. The BPF source
	// sees the running kernel, whatever stands here.
	Proc string
	// Sys is where sysfs is mounted; what is beside Proc, else "/sys", if empty.
	Sys string
	// Source is SourceAuto, SourceBPF, SourceProcmap or SourceMaps; empty
	// means auto.
	Source string
	// Runtimes are the sockets of container runtimes to ask, each a path or
	// "docker:PATH", "containerd:PATH" or "cri:PATH"; the usual ones if empty, and none
	// if NoRuntimes is the only one.
	Runtimes []string
	// Advisories is the index of advisories to use, as ImportAdvisories makes it;
	// DefaultAdvisories, if that exists, if empty.
	Advisories string
	// RebootAbove says from when on so much is stale that a reboot is advised.
	RebootAbove RebootAdvice
	// Version is the program's own version, for the report.
	Version string
	// Progress is called now and then with how far a scan has come. It may be
	// nil.
	Progress func(done, total int, what string)
	// Live says how Run works; Scan, Explain and Diagnose do not use it.
	Live LiveOptions
	// Log may be nil.
	Log *zap.Logger
}

// recogniser is the seam to a kind of workload.
type recogniser interface {
	Identify(workload.Process) (workload.Workload, bool)
}

// kind is a kind of workload.
type kind struct {
	recogniser
	// shared says that it looks at nothing of a process but its cgroups: what it says of
	// one holds for all that are in the same.
	shared bool
}

// recognisers are all kinds of workloads, most specific first. A process that
// none of them claims stands for itself.
func (sc *scan) recognisers(users func(uint32) (string, bool), sessions func(string) (systemd.Session, bool)) []kind {
	return []kind{
		// It leaves the containers of engines alone, and knows the units of machines.
		{systemd.New(users).WithSessions(sessions), false},
		{container.New(sc.findContainer), true},
	}
}

// Sensor looks at one machine.
type Sensor struct {
	opts  Options
	log   *zap.Logger
	cache *file.Cache
}

// New makes a sensor.
func New(opts Options) *Sensor {
	if opts.Root == "" {
		opts.Root = "/"
	}
	if opts.Proc == "" {
		opts.Proc = "/proc"
	}
	opts.Sys = sysOf(opts.Sys, opts.Proc)
	if opts.Source == "" {
		opts.Source = SourceAuto
	}
	if opts.Progress == nil {
		opts.Progress = func(int, int, string) {}
	}
	log := opts.Log
	if log == nil {
		log = zap.NewNop()
	}
	return &Sensor{opts: opts, log: log, cache: file.NewCache(0)}
}

// Scan looks at every process once and reports what is not known to be current.
// A scan that could look at nothing is an error; one that could not look at
// everything is a report that says so.
func (s *Sensor) Scan(ctx context.Context) (*Report, error) {
	began := time.Now()
	sc, err := s.judge(ctx, false)
	if err != nil {
		return nil, err
	}
	defer sc.close()
	r := sc.report(ctx)
	r.ScannedAt = began.UTC()
	r.DurationSeconds = time.Since(began).Seconds()
	return r, nil
}

// judge takes a snapshot and decides on every load in it. Owners are asked for where
// something depends on them, or of everything.
func (s *Sensor) judge(ctx context.Context, owners bool) (sc *scan, err error) {
	fs, err := proc.NewFS(s.opts.Proc)
	if err != nil {
		return nil, err
	}
	inv, err := s.openInventory()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			inv.Close()
		}
	}()
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		inv.Refresh(ctx)
	}()
	s.opts.Progress(0, 0, "reading processes")
	list, source, err := s.snapshot(ctx, fs)
	if err != nil {
		return nil, err
	}
	boot, err := bootTime()
	if err != nil {
		return nil, err
	}
	root, err := file.OpenRoot(s.opts.Root)
	if err != nil {
		return nil, err
	}
	sc = newScan(s, fs, root, source, boot)
	<-listed
	sc.inventory, sc.allOwners = inv, owners
	sc.keepHostAway()
	if err = sc.run(ctx, inputsOf(list)); err != nil {
		sc.close()
		return nil, err
	}
	return sc, nil
}

// keepHostAway makes the host's root avoid mounts that need not answer.
func (sc *scan) keepHostAway() {
	self, err := sc.fs.Process(os.Getpid())
	if err != nil {
		return
	}
	defer self.Close()
	if mounts, err := self.Mounts(); err == nil {
		keepAway(sc.root, sc.opts.Root, mounts)
	}
}

// bootTime reads both clocks, close together.
func bootTime() (snapshot.BootTime, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return snapshot.BootTime{}, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return snapshot.BootTime(time.Now().Round(0).Add(-time.Duration(boot.Nano()))), nil
}

// describe names the machine, as far as it can be named.
func (sc *scan) describe() Host {
	h, err := host.Describe(sc.root)
	if err != nil {
		sc.log.Info("host is not fully described", zap.Error(err))
	}
	return Host{Name: text(h.Name), MachineID: text(h.MachineID), Kernel: text(h.Kernel), OS: text(h.OS)}
}
