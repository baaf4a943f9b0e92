package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/host"
	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/dpkg"
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
	// Source is SourceAuto, SourceBPF, SourceProcmap or SourceMaps; empty
	// means auto.
	Source string
	// Runtimes are the sockets of container runtimes to ask, each a path or
	// "docker:PATH", "containerd:PATH" or "cri:PATH"; the usual ones if empty, and none
	// if NoRuntimes is the only one.
	Runtimes []string
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

// database is the seam to a package database: who shipped a file in one root.
type database interface {
	// Owners answers for canonical paths inside the root; a path that no
	// package owns is absent.
	Owners(paths []string) (map[string]owner.Owned, error)
	// Providers lists the packages that ship a file of a base name.
	Providers(bases []string) (map[string][]owner.Owned, error)
	// Checksum is the content that the package recorded for a file.
	Checksum(owner.Owned) (owner.Checksum, bool, error)
	// History lists the changes of packages, oldest first.
	History() ([]owner.Change, error)
	// Changelog lists what is newer than version after in the package.
	Changelog(p owner.Package, after string) (owner.Changelog, error)
	// Packages lists what may have files in the root, by name and architecture.
	Packages() []owner.Package
	// Problems are the defects met so far; all else is still answered.
	Problems() []error
}

// tree is a root directory: that of a view, or an image's layers put together.
type tree interface {
	Open(name string) (*os.File, error)
	Stat(name string) (file.Info, error)
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string, limit int) ([]string, error)
	Readlink(name string) (string, error)
}

// manager opens one kind of package database.
type manager struct {
	name string
	// marks are the files of which one exists in a root that has such a
	// database; their identity is that of the database.
	marks []string
	// journals are files that change with the database as well.
	journals []string
	open     func(tree) (database, error)
	// newer reports whether version a is newer than b.
	newer func(a, b string) bool
	// busy reports whether the package manager is at work in a root.
	busy func(*file.Root) (bool, error)
}

// managers are all kinds of package databases.
func managers() []manager {
	return []manager{
		{
			name:     "dpkg",
			marks:    []string{"var/lib/dpkg/status", "var/lib/dpkg/status.d"},
			journals: []string{"var/lib/dpkg/updates", "var/lib/dpkg/diversions"},
			open:     func(r tree) (database, error) { return dpkg.Open(r) },
			newer: func(a, b string) bool {
				order, err := dpkg.Compare(a, b)
				return err == nil && order > 0
			},
			busy: dpkg.Busy,
		},
	}
}

// recogniser is the seam to a kind of workload.
type recogniser interface {
	Identify(workload.Process) (workload.Workload, bool)
}

// recognisers are all kinds of workloads, most specific first. A process that
// none of them claims stands for itself.
func (sc *scan) recognisers(users func(uint32) (string, bool)) []recogniser {
	return []recogniser{
		// It leaves the containers of engines alone, and knows the units of machines.
		systemd.New(users),
		container.New(sc.findContainer),
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
	sc, err := s.judge(ctx)
	if err != nil {
		return nil, err
	}
	defer sc.close()
	r := sc.report(ctx)
	r.ScannedAt = began.UTC()
	r.DurationSeconds = time.Since(began).Seconds()
	return r, nil
}

// judge takes a snapshot and decides on every load in it.
func (s *Sensor) judge(ctx context.Context) (sc *scan, err error) {
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
	sc.inventory = inv
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

// noDatabase reports whether err only says that a root has no package database.
func noDatabase(err error) bool { return errors.Is(err, owner.ErrNoDatabase) }
