package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/api"
	"github.com/patchsensor/patchsensor/internal/lock"
	"github.com/patchsensor/patchsensor/internal/privilege"
	"github.com/patchsensor/patchsensor/internal/sink/metrics"
	"github.com/patchsensor/patchsensor/sensor"
)

// runDaemon starts the running sensor, in the order in which this file reads, and
// returns when it has ended.
func runDaemon(ctx context.Context, s scanner, opts runOptions, reread func() (runOptions, error)) error {
	log := opts.run.Log
	// Garbage is collected when the heap has doubled. The sensor's is small, and is
	// filled by every process that starts: memory that is never touched, and so never
	// resident, makes the collector wait for more.
	reserve := make([]byte, 12<<20)
	defer runtime.KeepAlive(reserve)
	// A hangup that comes before anybody reads it waits, instead of ending all.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	svc := newService(log, hangups, reread, opts)
	watchdog, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return err
	}
	log.Info("starting", zap.String("version", opts.run.Version))

	// One at a time.
	svc.status("Starting")
	held, err := takeLock(opts.run.Live.StateDir)
	if err != nil {
		return err
	}
	defer held.Release()

	// The doors are made while there are the rights to make them.
	var door *api.Server
	measures := metrics.New(metrics.Options{
		Version: opts.run.Version, Address: opts.metrics, Log: log,
		Door: func() metrics.Door { return metrics.Door(door.Stats()) },
	})
	door = api.New(api.Options{
		Socket: opts.socket, Mode: opts.socketMode, Group: opts.socketGroup, Metrics: measures.Handler(), Log: log,
	})
	if err := measures.Listen(); err != nil {
		return err
	}
	if err := door.Listen(); err != nil {
		return permitted(err)
	}
	defer door.Close()
	opts.run.Live.Sinks = []sensor.Sink{door, measures}

	// Within Run: the store is opened, and the kernel side attached.
	opts.run.Live.Attached = func() error {
		if !opts.keep {
			if err := dropPrivileges(log); err != nil {
				return err
			}
		}
		svc.status("Looking at all that runs")
		return nil
	}
	var tending sync.WaitGroup
	defer tending.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	opts.run.Live.Ready = func(live *sensor.Live) {
		m := live.Measure()
		svc.running = fmt.Sprintf("Running; code is seen by %s, mappings are read by %s", m.Tier, m.Source)
		svc.ready(svc.running)
		svc.renew(&opts)
		tending.Go(func() { svc.advise(ctx, importDumps) })
		tending.Go(func() { svc.tend(ctx, live) })
		tending.Go(func() { svc.guard(ctx, live, watchdog) })
	}
	stopping := sync.OnceFunc(func() { svc.notify(systemd.SdNotifyStopping) })
	context.AfterFunc(ctx, stopping)
	err = s.Run(ctx, opts.run)
	stopping()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		log.Info("ended, as it was told")
		return nil
	}
	return err
}

// takeLock makes the directory, for the sensor alone, if it is missing.
func takeLock(dir string) (*lock.Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, permitted(err)
	}
	held, err := lock.Take(filepath.Join(dir, "lock"))
	if errors.Is(err, lock.ErrHeld) {
		return nil, &helpedError{err, `"sensor status" says how it is; another --state-dir and --socket make it possible to run two`}
	}
	return held, permitted(err)
}

// permitted adds to an error what to do where rights are missing.
func permitted(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &helpedError{err, "run it as root, or name a --state-dir and a --socket of your own"}
	}
	return err
}

// dropPrivileges leaves what it takes to follow what runs. A binary that cannot do
// so works all the same.
func dropPrivileges(log *zap.Logger) error {
	kept, err := privilege.Drop(privilege.Tracking())
	if errors.Is(err, privilege.ErrCgo) {
		log.Warn("all privileges are kept", zap.Error(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("giving up privileges: %w", err)
	}
	log.Info("gave up all other privileges", zap.Stringer("kept", kept))
	return nil
}
