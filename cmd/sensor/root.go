package main

import (
	"context"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/patchsensor/patchsensor/sensor"
)

// environment is what the commands get from the world around them.
type environment struct {
	scanner scanner
	// daemon reaches the running sensor, if there is one.
	daemon func(socket string) daemon
	// patience is how long it may take to answer one question.
	patience       time.Duration
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	zone           *time.Location
	// pause is the time between the first two tries to reach one that has ended.
	pause time.Duration
	// uidOf and userName translate between users and their numbers; userName
	// returns "" for a number without a name.
	uidOf    func(name string) (uint32, error)
	userName func(uid uint32) string
}

// system is the environment of a real run.
func system(s scanner) *environment {
	return &environment{
		scanner: s,
		daemon:  func(socket string) daemon { return sensor.NewClient(socket) },
		// It judges what it has not judged yet first, which takes as long as a scan.
		patience: 30 * time.Second,
		pause:    200 * time.Millisecond,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		getenv:   os.Getenv,
		now:      time.Now,
		zone:     time.Local,
		uidOf: func(name string) (uint32, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return 0, err
			}
			uid, err := strconv.ParseUint(u.Uid, 10, 32)
			return uint32(uid), err
		},
		userName: func(uid uint32) string {
			u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
			if err != nil {
				return ""
			}
			return u.Username
		},
	}
}

// app is one run of the program.
type app struct {
	*environment
	// started says that the command line was understood.
	started bool

	config   string
	color    choice
	noColor  bool
	logLevel choice
}

var colorModes = []string{"auto", "always", "never"}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, env *environment) int {
	a := &app{environment: env}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return finish(err, a.started, cmd.CommandPath(), env.stderr)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sensor",
		Short: "Tell which running code is older than what is installed",
		Long: `sensor tells which running code on this host is older than what is installed,
and what makes the installed patches effective: which service to restart, and why.

A patch has three states on a machine: pending (available, not installed),
installed (on disk), and effective (no running code predates it). Package managers
know the first two; sensor knows the third. It reads which files every process runs,
compares them with what the same paths hold now, and names the versions, the CVEs
in between, and since when. It changes nothing and runs nothing.

Start with "sensor stale". Run it as root: what it may not read, it reports as
unknown, never as fine. "sensor run" is the same as a service: it follows what
runs, answers at once, and tells the moment at which code goes stale or a patch has
become effective. stale, explain and doctor ask it where it runs.

Exit codes of stale, explain, host and packages:
  0  nothing stale
  1  something is stale or missing
  2  the command line or the configuration is wrong
  3  could not tell: an error, or something is unknown and nothing stale`,
		Example: `  sensor stale                        what must be restarted, and why
  sensor stale -o json                the same for a machine
  sensor explain ssh.service          the evidence, file by file
  sensor host                         kernel, modules, microcode, end of life
  sensor packages --loaded-only       what runs, and whether its last patch is effective
  sensor doctor                       what this machine lets the sensor see
  sensor run                          follow what runs, as a service
  sensor watch                        what goes stale and what is resolved, as it happens
  sensor status                       how the service is doing
  sensor advisories import DIR        learn how severe vulnerabilities are`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse(`start with "sensor stale"`, "no command given")
			}
			cmd.SuggestionsMinimumDistance = 2
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + strconv.Quote(near[0]) + "?"
			}
			return misuse(hint, "unknown command %q", args[0])
		},
		PersistentPreRun: func(*cobra.Command, []string) { a.started = true },
		Version:          buildVersion().Version,
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)

	a.color = choice{"auto", colorModes}
	a.logLevel = choice{"warn", []string{"debug", "info", "warn", "error"}}
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", "", "configuration `FILE` (default "+defaultConfig+" if it exists)")
	a.color.add(root, flags, "color", "", "colours, NO_COLOR is honoured")
	flags.BoolVar(&a.noColor, "no-color", false, "the same as --color=never")
	a.logLevel.add(root, flags, "log-level", "", "what to log to standard error")

	root.AddCommand(
		a.staleCommand(),
		a.explainCommand(),
		a.hostCommand(),
		a.packagesCommand(),
		a.doctorCommand(),
		a.runCommand(),
		a.watchCommand(),
		a.statusCommand(),
		a.advisoriesCommand(),
		a.versionCommand(),
		a.manCommand(),
	)
	// cobra's own command prints its help, and no error, for any other word.
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.RunE = func(*cobra.Command, []string) error { return misuse("", "name a shell: bash, zsh or fish") }
	}
	return root
}

// flagError adds the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := err.(*pflag.NotExistError)
	if !ok {
		return &usageError{err: err}
	}
	given, best, least := unknown.GetSpecifiedName(), "", 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := distance(given, f.Name); d < least && !f.Hidden {
			best, least = f.Name, d
		}
	})
	if best == "" || len(given) < 2 {
		return &usageError{err: err}
	}
	return &usageError{err, "did you mean --" + best + "?"}
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	line := make([]int, len(b)+1)
	for j := range line {
		line[j] = j
	}
	for i := range a {
		diagonal := line[0]
		line[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, line[j+1] = line[j+1], min(line[j+1]+1, line[j]+1, diagonal+cost)
		}
	}
	return line[len(b)]
}

// screen is where a command writes for people.
type screen struct {
	*printer
	width int // columns, 0 when standard output is not a terminal
}

// screen prepares standard output, coloured as flags, environment
// (no-color.org) and configuration say.
func (a *app) screen(flags *pflag.FlagSet, c *config) *screen {
	mode := a.color.value
	take(flags, "color", &mode, c.Color)
	if a.noColor {
		mode = "never"
	}
	fd, tty := terminal(a.stdout)
	s := &screen{}
	if tty {
		s.width = 80
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			s.width = w
		}
	}
	color := mode == "always" || mode == "auto" && tty && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
	s.printer = newPrinter(a.stdout, color)
	return s
}

// terminal returns the descriptor behind w and whether it is a terminal.
func terminal(w io.Writer) (fd int, tty bool) {
	f, ok := w.(*os.File)
	if !ok {
		return -1, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// exactly refuses any other number of arguments than n.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < n:
			return misuse("", "%s is missing", names)
		case n == 0 && len(args) > 0:
			return misuse("", "unexpected argument %q", args[0])
		case len(args) > n:
			return misuse("", "one %s at a time, not also %q", names, slices.Clone(args)[n])
		}
		return nil
	}
}
