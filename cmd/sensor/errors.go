package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// The exit codes of every command.
const (
	exitFine   = 0 // nothing stale
	exitStale  = 1 // something is stale or missing
	exitUsage  = 2 // the command line or the configuration is wrong
	exitUnsure = 3 // could not tell: an error, or something unknown and nothing stale
)

// exitStatus is the outcome of a command that did its work and has said
// everything.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake in the command line or in the configuration file.
type usageError struct {
	err  error
	hint string // what to do instead; may be empty
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func misuse(hint, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...), hint}
}

// helpedError is a failure that somebody can do something about.
type helpedError struct {
	err  error
	hint string
}

func (e *helpedError) Error() string { return e.err.Error() }
func (e *helpedError) Unwrap() error { return e.err }

// finish says what went wrong and returns the exit code. Before a command has
// started, any error is a mistake in the command line.
func finish(err error, started bool, command string, stderr io.Writer) int {
	var status exitStatus
	var usage *usageError
	var helped *helpedError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage) || errors.Is(err, sensor.ErrRuntime) || !started:
		complain(stderr, command, err)
		help := fmt.Sprintf("%q explains the command", command+" --help")
		if usage != nil && usage.hint != "" {
			help = usage.hint + "; " + help
		}
		fmt.Fprintln(stderr, "hint:", escape(help))
		return exitUsage
	case errors.Is(err, context.Canceled):
		complain(stderr, command, errors.New("interrupted"))
		return exitUnsure
	default:
		complain(stderr, command, err)
		if errors.As(err, &helped) {
			fmt.Fprintln(stderr, "hint:", escape(helped.hint))
		}
		return exitUnsure
	}
}

// complain prints an error, which may hold several lines.
func complain(stderr io.Writer, command string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "%s: %s\n", command, escape(line))
	}
}
