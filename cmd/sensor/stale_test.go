package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		stale, missing, unknown, processes int
		complete                           bool
		want                               int
	}{
		{0, 0, 0, 9, true, exitFine},
		{1, 0, 0, 9, true, exitStale},
		{0, 1, 0, 9, true, exitStale},
		{1, 0, 1, 9, false, exitStale},
		{0, 0, 1, 9, true, exitUnsure},
		{0, 0, 0, 9, false, exitUnsure},
		{0, 0, 0, 0, true, exitUnsure},
	} {
		r := &sensor.Report{Complete: c.complete, Summary: sensor.Summary{
			Stale: c.stale, Missing: c.missing, Unknown: c.unknown, Processes: c.processes,
		}}
		if got := outcome(r); got != c.want {
			t.Errorf("%+v: %d, want %d", c, got, c.want)
		}
	}
}

func TestExplained(t *testing.T) {
	for _, c := range []struct {
		states   []sensor.State
		complete bool
		want     int
	}{
		{nil, true, exitUnsure},
		{[]sensor.State{sensor.Effective, sensor.Ignored}, true, exitFine},
		{[]sensor.State{sensor.Effective}, false, exitUnsure},
		{[]sensor.State{sensor.Unknown, sensor.Effective}, true, exitUnsure},
		{[]sensor.State{sensor.Unknown, sensor.Stale}, false, exitStale},
		{[]sensor.State{sensor.Missing}, true, exitStale},
		{[]sensor.State{"new"}, true, exitUnsure},
	} {
		x := &sensor.Explanation{Complete: c.complete}
		for _, s := range c.states {
			x.Workloads = append(x.Workloads, sensor.ExplainedWorkload{State: s})
		}
		if got := explained(x); got != c.want {
			t.Errorf("%+v: %d, want %d", c, got, c.want)
		}
	}
}

func TestBestPossible(t *testing.T) {
	ok := sensor.Check{OK: true, Level: sensor.LevelOK}
	warn := sensor.Check{Level: sensor.LevelWarn}
	fail := sensor.Check{Level: sensor.LevelFail}
	for _, c := range []struct {
		checks, sources []sensor.Check
		want            bool
	}{
		{[]sensor.Check{ok, warn}, []sensor.Check{warn, ok}, true},
		{[]sensor.Check{ok, fail}, []sensor.Check{ok}, false},
		{[]sensor.Check{ok}, []sensor.Check{fail, ok}, true},
		{[]sensor.Check{ok}, []sensor.Check{warn, fail}, false},
		{[]sensor.Check{ok}, nil, false},
		{[]sensor.Check{{}}, []sensor.Check{ok}, false},
	} {
		if got := bestPossible(&sensor.Diagnosis{Checks: c.checks, Sources: c.sources}); got != c.want {
			t.Errorf("%+v: %v, want %v", c, got, c.want)
		}
	}
}

func TestAgeText(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                     "0s",
		119 * time.Second:     "119s",
		2 * time.Minute:       "2min",
		2 * time.Hour:         "2h",
		47 * time.Hour:        "47h",
		2 * day:               "2d",
		729 * day:             "729d",
		730 * day:             "2y",
		90*time.Minute + 1:    "90min",
		9*day + 9*time.Minute: "9d",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"packge", "package", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// failing is a scanner that cannot.
type failing struct{ err error }

func (f failing) Scan(context.Context, sensor.Options) (*sensor.Report, error) { return nil, f.err }

func (f failing) Explain(context.Context, sensor.Options, string) (*sensor.Explanation, error) {
	return nil, f.err
}

func (f failing) Doctor(context.Context, sensor.Options) (*sensor.Diagnosis, error) {
	return nil, f.err
}

func (f failing) Packages(context.Context, sensor.Options) (*sensor.PackageList, error) {
	return nil, f.err
}

func (f failing) HostPage(context.Context, sensor.Options) (*sensor.HostReport, error) {
	return nil, f.err
}

func (f failing) Run(context.Context, sensor.Options) error { return f.err }

func TestErrorsAreUnsure(t *testing.T) {
	for err, says := range map[error]string{
		errors.New("no\nsuch\x1bthing"): ": no\n",
		context.Canceled:                ": interrupted\n",
	} {
		state := t.TempDir()
		for _, args := range [][]string{
			{"stale"}, {"explain", "1"}, {"doctor"}, {"packages"}, {"host"},
			{"run", "--log-level", "error", "--keep-privileges", "--state-dir", state, "--socket", state + "/s"},
		} {
			var stderr strings.Builder
			env := scripted(failing{err})
			env.stdout, env.stderr = io.Discard, &stderr
			if code := run(context.Background(), append(args, "--config", "/dev/null"), env); code != exitUnsure {
				t.Errorf("%v: exit code %d, want %d", args, code, exitUnsure)
			}
			if !strings.Contains(stderr.String(), says) || strings.Contains(stderr.String(), "\x1b") {
				t.Errorf("%v: %q", args, stderr.String())
			}
		}
	}
}

// What the sensor says of a runtime's socket is a mistake in what was given.
func TestErrRuntimeIsMisuse(t *testing.T) {
	state := t.TempDir()
	for _, args := range [][]string{{"stale"}, {"explain", "1"}, {"doctor"}, {"run", "--keep-privileges", "--state-dir", state, "--socket", state + "/s"}} {
		env := scripted(failing{fmt.Errorf("%w: odd", sensor.ErrRuntime)})
		env.stdout, env.stderr = io.Discard, io.Discard
		if code := run(context.Background(), append(args, "--config", "/dev/null"), env); code != exitUsage {
			t.Errorf("%v: exit code %d, want %d", args, code, exitUsage)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// An answer that could not be written is no answer.
func TestWriteErrors(t *testing.T) {
	for _, args := range [][]string{
		{"stale"}, {"stale", "-o", "wide"}, {"stale", "-o", "json"}, {"stale", "-o", "jsonl"},
		{"stale", "-o", "csv"}, {"stale", "-o", "names"}, {"version"}, {"version", "-o", "json"},
		{"stale", "--source", "daemon"}, {"stale", "-o", "json", "--source", "daemon"}, {"status"}, {"status", "-o", "json"},
		{"watch", "--no-follow", "--since", "0"}, {"watch", "--no-follow", "--since", "0", "-o", "jsonl"},
	} {
		var stderr strings.Builder
		env := scripted(answers{"testdata/answers", "mixed"})
		env.daemon = func(socket string) daemon { return canned{answers{"testdata/answers", "mixed"}, socket} }
		env.stdout, env.stderr = full{}, &stderr
		code := run(context.Background(), append(args, "--config", "/dev/null"), env)
		if code != exitUnsure || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr.String())
		}
	}
}

func TestConfigIsBounded(t *testing.T) {
	_, err := parseConfig(strings.NewReader(strings.Repeat("#", maxConfig+1)), "f")
	if err == nil || !strings.Contains(err.Error(), "f: larger than") {
		t.Errorf("%v, want an error about the size", err)
	}
}

// Whatever the file holds, the parser gives a config that is usable or an error
// that names the file.
func FuzzParseConfig(f *testing.F) {
	for _, s := range []string{
		"", "exclude: [a, 'uid:0']\nsource: maps\n", "exclude: &a [*a]", "source: {", "- x", "a: b", "source: ~",
		"sweep: off\nsettle: 1s\nretention: 7d\nring_bytes: 4096\ntier: perf\n", "socket: /run/x\nsocket_mode: 0600\nsocket_group: adm\nstate_dir: /x\nmetrics: '[::1]:1'\n",
		"runtime_sockets: [none]", "runtime_sockets: [docker:/a, /b]\n", "runtime_sockets: [none, none]", "exclude: [&x a, *x]", "<<: {source: maps}", "source: !!binary aGk=", "\xff", "---\n---\n", "output: csv\nroot: /x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig(strings.NewReader(text), "FILE")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "FILE:") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		for _, e := range append(append(c.Exclude, c.RuntimeSockets...), c.Source, c.Color, c.Root, c.Proc, c.Output, c.Socket, c.SocketMode, c.SocketGroup,
			c.StateDir, c.Tier, c.RingBytes, c.Sweep, c.Settle, c.Retention, c.Metrics) {
			if e.Line < 0 || e.Line == 0 && e.Value != "" {
				t.Fatalf("%+v stands on no line", e)
			}
		}
		// What was accepted makes a daemon; only whether directories exist is
		// looked at later.
		c.Root, c.Proc = entry{}, entry{}
		cmd, flags := &cobra.Command{}, runFlags{}
		flags.add(cmd)
		o, err := flags.settle(cmd.Flags(), c)
		if err != nil {
			t.Fatal(err)
		}
		live := o.run.Live
		if live.Sweep == 0 || live.Settle <= 0 || live.Retention <= 0 || !filepath.IsAbs(live.StateDir) || !filepath.IsAbs(o.socket) ||
			len(o.socket) > maxSocketName || len(o.run.Runtimes) != len(c.RuntimeSockets) || o.socketMode&^0o666 != 0 || !slices.Contains(tiers, live.Tier) {
			t.Fatalf("accepted %+v", o)
		}
	})
}
