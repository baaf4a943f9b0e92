package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/sensor"
)

// TestMain lets scripts run the command line with answers from files.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sensor": func() {
			env := scripted(answers{os.Getenv("ANSWERS"), os.Getenv("ANSWER")})
			env.daemon = func(socket string) daemon {
				return canned{answers{os.Getenv("ANSWERS"), os.Getenv("DAEMON")}, socket}
			}
			env.now = func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }
			env.uidOf = func(name string) (uint32, error) {
				if name != "www-data" {
					return 0, fmt.Errorf("unknown user %s", name)
				}
				return 33, nil
			}
			env.userName = func(uid uint32) string { return map[uint32]string{0: "root", 33: "www-data"}[uid] }
			os.Exit(run(context.Background(), os.Args[1:], env))
		},
	})
}

// scripted is an environment in which no daemon runs, whatever this machine has.
func scripted(s scanner) *environment {
	env := system(s)
	env.daemon = func(socket string) daemon { return canned{socket: socket} }
	env.pause = time.Millisecond
	return env
}

func TestScripts(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "answers"))
	if err != nil {
		t.Fatal(err)
	}
	deploy, err := filepath.Abs(filepath.Join("..", "..", "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ANSWERS", dir)
			env.Setenv("DEPLOY", deploy)
			env.Setenv("TZ", "UTC")
			env.Setenv("TERM", "xterm")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": exitCode},
	})
}

// exitCode is the script command "code N COMMAND…": it runs the command and
// wants exit code N.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// answers is a scanner that reads what it found from files in a directory.
type answers struct{ dir, name string }

func (a answers) read(kind string, document any) error {
	text, err := os.ReadFile(filepath.Join(a.dir, a.name+"."+kind+".json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, document)
}

func (a answers) Scan(_ context.Context, opts sensor.Options) (*sensor.Report, error) {
	opts.Log.Debug("asked for the source " + opts.Source)
	opts.Log.Debug("of the runtimes " + strings.Join(opts.Runtimes, " "))
	opts.Log.Debug("with the advisories in " + opts.Advisories)
	opts.Log.Warn("a name like \x1b[31m\nthis")
	r := &sensor.Report{}
	return r, a.read("report", r)
}

func (a answers) Explain(_ context.Context, opts sensor.Options, target string) (*sensor.Explanation, error) {
	x := &sensor.Explanation{}
	return x, a.read("explanation", x)
}

func (a answers) Packages(_ context.Context, opts sensor.Options) (*sensor.PackageList, error) {
	opts.Log.Debug("asked for the source " + opts.Source)
	l := &sensor.PackageList{}
	return l, a.read("packages", l)
}

func (a answers) HostPage(_ context.Context, opts sensor.Options) (*sensor.HostReport, error) {
	opts.Log.Debug("asked for the source " + opts.Source)
	p := &sensor.HostReport{}
	return p, a.read("host", p)
}

func (a answers) Doctor(context.Context, sensor.Options) (*sensor.Diagnosis, error) {
	d := &sensor.Diagnosis{}
	return d, a.read("diagnosis", d)
}

// Run says what it was asked, does what the start has to do, and ends.
func (a answers) Run(_ context.Context, opts sensor.Options) error {
	l := opts.Live
	names := make([]string, 0, len(l.Sinks))
	for _, s := range l.Sinks {
		names = append(names, s.Name())
	}
	opts.Log.Info("asked to run", zap.String("root", opts.Root), zap.String("source", opts.Source), zap.String("state", filepath.Base(l.StateDir)),
		zap.String("tier", l.Tier), zap.Int("ring", l.RingBytes), zap.Duration("sweep", l.Sweep), zap.Duration("settle", l.Settle),
		zap.Duration("retention", l.Retention), zap.Strings("sinks", names), zap.Strings("runtimes", opts.Runtimes), zap.String("advisories", opts.Advisories), zap.String("odd", "\x1b\n\u202e\x7f\U000e0001"))
	return l.Attached()
}
