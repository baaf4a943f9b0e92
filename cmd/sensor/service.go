package main

import (
	"context"
	"fmt"
	"os"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/advisory"
	"github.com/patchsensor/patchsensor/sensor"
)

// service is what the service manager is told, and what it asks for. Without one
// nobody is told.
type service struct {
	log *zap.Logger
	// hangups are the requests to read the configuration again.
	hangups <-chan os.Signal
	reread  func() (runOptions, error)
	// now are the options that the sensor works with.
	now runOptions
	// running says in words that, and how, the sensor runs.
	running string
	// dumps are directories of advisories to import, advised tells that one was.
	dumps   chan string
	advised chan struct{}
}

func newService(log *zap.Logger, hangups <-chan os.Signal, reread func() (runOptions, error), now runOptions) *service {
	return &service{
		log: log, hangups: hangups, reread: reread, now: now,
		dumps: make(chan string, 1), advised: make(chan struct{}, 1),
	}
}

// tended is a running sensor, as far as the service manager is concerned.
type tended interface {
	Alive() error
	Reconfigure(context.Context, sensor.LiveOptions) error
}

// notify sends one message (sd_notify(3)); its lines are variables.
func (s *service) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		s.log.Warn("the service manager could not be told", zap.Error(err))
	}
}

// status says in words what goes on; "systemctl status" shows it.
func (s *service) status(text string) { s.notify("STATUS=" + escape(text)) }

// ready says that the start, or the reading of the configuration, is over.
func (s *service) ready(text string) { s.notify(systemd.SdNotifyReady + "\nSTATUS=" + escape(text)) }

// tend reads the configuration again when it is asked to, and has everything looked at
// anew when the advisories are others, until ctx ends.
func (s *service) tend(ctx context.Context, live tended) {
	options := s.now.run.Live
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
			if anew := s.reload(ctx, live); anew != nil {
				options = *anew
			}
		case <-s.advised:
			if err := live.Reconfigure(ctx, options); err != nil && ctx.Err() == nil {
				s.log.Error("what runs was not judged by the new advisories", zap.Error(err))
			}
		}
	}
}

// renew asks for the advisories of a configuration to be imported. What waits already
// is forgotten for it.
func (s *service) renew(o *runOptions) {
	if o.dumps == "" || o.run.Advisories != s.now.run.Advisories {
		return // There is nothing to import, or the sensor would not use it.
	}
	select {
	case <-s.dumps:
	default:
	}
	s.dumps <- o.dumps
}

// advise imports the advisories that it is asked to, until ctx ends.
func (s *service) advise(ctx context.Context, load func(ctx context.Context, dumps, index string) (advisory.Stats, error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case dir := <-s.dumps:
			index := s.now.run.Advisories
			stats, err := load(ctx, dir, index)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Error("the advisories are those of before", zap.String("directory", dir), zap.Error(err))
				continue
			}
			logImport(s.log, index, &stats)
			if !stats.Unchanged {
				select {
				case s.advised <- struct{}{}:
				default:
				}
			}
		}
	}
}

func importDumps(ctx context.Context, dumps, index string) (advisory.Stats, error) {
	return advisory.Import(ctx, []string{dumps}, index)
}

// guard serves the watchdog, if there is one, until ctx ends. allowed is the time
// between two messages, of which sd_watchdog_enabled(3) recommends half.
func (s *service) guard(ctx context.Context, live tended, allowed time.Duration) {
	if allowed <= 0 {
		return
	}
	t := time.NewTicker(allowed / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.watchdog(live)
		}
	}
}

// watchdog is only told of a sensor that gets on with its work, so that one that
// hangs is started anew.
func (s *service) watchdog(live tended) {
	if err := live.Alive(); err != nil {
		s.log.Error("the watchdog is not told, because the sensor does not get on", zap.Error(err))
		return
	}
	s.notify(systemd.SdNotifyWatchdog)
}

// reload reads the configuration again, and returns what it took over of it. One that
// is wrong changes nothing.
func (s *service) reload(ctx context.Context, live tended) *sensor.LiveOptions {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		s.log.Warn("CLOCK_MONOTONIC cannot be read", zap.Error(err))
	}
	// The time tells this reload from one before it (systemd.service(5), Type=notify-reload).
	s.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, at.Nano()/1000))
	anew, err := s.reread()
	if err == nil {
		err = live.Reconfigure(ctx, anew.run.Live)
	}
	if err != nil {
		s.log.Error("nothing of the configuration was taken over", zap.Error(err))
		s.ready(s.running + "; the configuration is that of before: " + err.Error())
		return nil
	}
	s.log.Info("the configuration was read again", zap.Duration("sweep", anew.run.Live.Sweep))
	if keys := s.now.waiting(&anew); len(keys) > 0 {
		s.log.Warn("these keys take effect when the sensor is started again", zap.Strings("keys", keys))
	}
	s.renew(&anew)
	s.ready(s.running)
	return &anew.run.Live
}
