package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/sensor"
)

// daemon is a running sensor that can be asked.
type daemon interface {
	Stale(ctx context.Context, withSeen bool) (*sensor.Report, error)
	StaleRaw(ctx context.Context, withSeen bool) ([]byte, error)
	Explain(ctx context.Context, target string) (*sensor.Explanation, error)
	Status(context.Context) (*sensor.Status, error)
	Diagnose(context.Context) (*sensor.Diagnosis, error)
	Events(ctx context.Context, after uint64, follow bool) iter.Seq2[sensor.Event, error]
}

// order says when the running sensor is asked.
type order int

const (
	never order = iota
	first       // and if it does not answer, the machine is looked at
	only
)

// ask is whom a command asks, and with what.
type ask struct {
	daemon order
	socket string
	scan   sensor.Options
	// advice is what the machine is looked at with; scan does not hold it.
	advice advice
}

// answer asks the running sensor, else the machine, as a says.
func answer[T any](ctx context.Context, env *environment, a ask, ofDaemon func(context.Context, daemon) (T, error), ofMachine func(sensor.Options) (T, error)) (T, error) {
	if a.daemon != never {
		x, err := query(ctx, env, a.socket, ofDaemon)
		if err == nil || a.daemon == only || ctx.Err() != nil {
			return x, err
		}
		if !errors.Is(err, sensor.ErrNoDaemon) {
			a.scan.Log.Warn("the running sensor is not asked, each process is looked at instead", zap.Error(err))
		}
	}
	var err error
	if a.scan.Advisories, err = a.advice.ready(ctx, a.scan.Log); err != nil {
		var none T
		return none, err
	}
	return ofMachine(a.scan)
}

// query asks the running sensor one thing.
func query[T any](ctx context.Context, env *environment, socket string, ask func(context.Context, daemon) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, env.patience)
	defer cancel()
	x, err := ask(limited, env.daemon(socket))
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s: no answer within %v", socket, env.patience)
	}
	return x, advised(err)
}

// advised adds to an error of the running sensor what to do about it.
func advised(err error) error {
	var refused *sensor.AnswerError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sensor.ErrNoDaemon):
		return &helpedError{err, `start it with "systemctl start sensor", or "sensor run" in the foreground; --socket names another socket`}
	case errors.Is(err, sensor.ErrUntrusted):
		return &helpedError{err, "only root and yourself are believed: see who made the socket, or name another with --socket"}
	case errors.As(err, &refused) && refused.Help != "":
		return &helpedError{err, refused.Help}
	case errors.Is(err, sensor.ErrForbidden):
		return &helpedError{err, "root may ask, and so may the members of the group that socket_group names in " + defaultConfig}
	}
	return err
}
