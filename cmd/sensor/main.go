// Command sensor tells which running code on this host is older than what is
// installed, and what to restart. This package holds the command line: one file
// for each command, the forms of output, and the exit codes. It decides nothing.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/patchsensor/patchsensor/sensor"
)

// version is set at link time: -ldflags "-X main.version=1.2.3".
var version = ""

// scanner answers the questions that the commands ask.
type scanner interface {
	Scan(context.Context, sensor.Options) (*sensor.Report, error)
	Explain(ctx context.Context, opts sensor.Options, target string) (*sensor.Explanation, error)
	Doctor(context.Context, sensor.Options) (*sensor.Diagnosis, error)
	Packages(context.Context, sensor.Options) (*sensor.PackageList, error)
	HostPage(context.Context, sensor.Options) (*sensor.HostReport, error)
	// Run is the running sensor itself; it returns when ctx has ended.
	Run(context.Context, sensor.Options) error
}

func main() { os.Exit(start()) }

// start lets deferred calls run before the process exits.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], system(host{}))
}

// host answers from the machine.
type host struct{}

func (host) Scan(ctx context.Context, opts sensor.Options) (*sensor.Report, error) {
	return sensor.New(opts).Scan(ctx)
}

func (host) Explain(ctx context.Context, opts sensor.Options, target string) (*sensor.Explanation, error) {
	return sensor.New(opts).Explain(ctx, target)
}

func (host) Doctor(ctx context.Context, opts sensor.Options) (*sensor.Diagnosis, error) {
	return sensor.New(opts).Diagnose(ctx)
}

func (host) Packages(ctx context.Context, opts sensor.Options) (*sensor.PackageList, error) {
	return sensor.New(opts).Packages(ctx)
}

func (host) HostPage(ctx context.Context, opts sensor.Options) (*sensor.HostReport, error) {
	return sensor.New(opts).HostPage(ctx)
}

func (host) Run(ctx context.Context, opts sensor.Options) error {
	return sensor.New(opts).Run(ctx)
}
