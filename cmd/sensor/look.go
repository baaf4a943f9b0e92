package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchsensor/patchsensor/sensor"
)

// sources are the ways to read what processes have mapped; sourceDaemon stands
// beside them where a running sensor may answer instead.
var sources = []string{sensor.SourceAuto, sensor.SourceBPF, sensor.SourceProcmap, sensor.SourceMaps}

const sourceDaemon = "daemon"

func askSources() []string { return slices.Insert(slices.Clone(sources), 1, sourceDaemon) }

// lookFlags are the flags of every command that looks at the machine.
type lookFlags struct {
	root, proc, sys string
	source          choice
	runtimes        list[string]
	reboot          sensor.RebootAdvice
	// advisories is only there where addAdvisories declared it.
	advisories typed[string]
}

func (f *lookFlags) add(cmd *cobra.Command, sources []string, usage string) {
	f.source = choice{sensor.SourceAuto, sources}
	cmd.Flags().StringVar(&f.root, "root", "/", "`DIR` where the host's root file system is seen")
	cmd.Flags().StringVar(&f.proc, "proc", "/proc", "`DIR` where the host's proc file system is seen")
	cmd.Flags().StringVar(&f.sys, "sys", "", "`DIR` where the host's sys file system is seen (default beside --proc, else /sys)")
	f.source.add(cmd, cmd.Flags(), "source", "", usage)
	f.runtimes = list[string]{parse: parseRuntime, kind: "SOCKET"}
	cmd.Flags().Var(&f.runtimes, "runtime-socket", "ask the container runtime at [docker:|containerd:|cri:]PATH instead of the usual ones (repeatable), or none")
	completeRuntimes(cmd, "runtime-socket")
	for _, name := range []string{"root", "proc", "sys"} {
		_ = cmd.MarkFlagDirname(name)
	}
}

// settle takes over what the configuration file says where no flag does, and
// checks the result.
func (f *lookFlags) settle(flags *pflag.FlagSet, c *config) error {
	take(flags, "root", &f.root, c.Root)
	take(flags, "proc", &f.proc, c.Proc)
	take(flags, "sys", &f.sys, c.Sys)
	take(flags, "source", &f.source.value, c.Source)
	f.reboot = c.rebootAdvice()
	if err := f.runtimes.take(flags, "runtime-socket", c.RuntimeSockets); err != nil {
		return err
	}
	if len(f.runtimes.values) > 1 && slices.Contains(f.runtimes.values, sensor.NoRuntimes) {
		return misuse("", "--runtime-socket: %q stands alone", sensor.NoRuntimes)
	}
	if flags.Lookup("advisories") != nil {
		if err := f.advisories.take(flags, "advisories", c.Advisories); err != nil {
			return err
		}
	}
	for _, d := range []struct{ flag, dir string }{{"root", f.root}, {"proc", f.proc}, {"sys", f.sys}} {
		if d.dir == "" {
			continue
		}
		fi, err := os.Stat(d.dir)
		if err != nil {
			return &usageError{fmt.Errorf("--%s: %w", d.flag, err), "in a container, mount the host's directory and name the place"}
		}
		if !fi.IsDir() {
			return misuse("name a directory", "--%s: %s is not a directory", d.flag, d.dir)
		}
	}
	return nil
}

func (f *lookFlags) options() sensor.Options {
	return sensor.Options{
		Root: f.root, Proc: f.proc, Sys: f.sys, Source: f.source.value, Runtimes: f.runtimes.values, Version: buildVersion().Version,
		RebootAbove: f.reboot,
	}
}

// askFlags are the flags of the commands that a running sensor answers or, where
// there is none, a look at the machine.
type askFlags struct {
	lookFlags
	socket typed[string]
	// others says that the command line names runtimes or advisories: those of the
	// configuration are the running sensor's too.
	others   bool
	stateDir string
}

func (f *askFlags) add(cmd *cobra.Command) {
	f.lookFlags.add(cmd, askSources(), "who answers, and how mappings are read")
	addSocket(cmd, &f.socket, "unix socket of the running sensor")
}

func (f *askFlags) settle(flags *pflag.FlagSet, c *config) error {
	if err := f.socket.take(flags, "socket", c.Socket); err != nil {
		return err
	}
	f.others = flags.Changed("runtime-socket") || flags.Changed("advisories")
	f.stateDir = c.stateDir()
	if err := f.lookFlags.settle(flags, c); err != nil || !flags.Changed("advisories") || f.advisories.value == "" {
		return err
	}
	if _, err := os.Stat(f.advisories.value); err != nil {
		return &usageError{fmt.Errorf("--advisories: %w", err), "name an index or a directory of dumps"}
	}
	return nil
}

// ask says whom to ask. The running sensor speaks for this machine as it sees it,
// so it is not asked about what was mounted elsewhere, nor what other runtimes or
// advisories than its own tell.
func (f *askFlags) ask() ask {
	a := ask{socket: f.socket.value, scan: f.options(), advice: advice{f.advisories.value, f.stateDir}}
	switch {
	case f.source.value == sourceDaemon:
		a.daemon, a.scan.Source = only, sensor.SourceAuto
	case f.source.value == sensor.SourceAuto && f.root == "/" && f.proc == "/proc" && f.sys == "" && !f.others:
		a.daemon = first
	}
	return a
}

// completeRuntimes offers the ways to speak to a runtime, and else names of files.
func completeRuntimes(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if strings.HasPrefix(begun, "/") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		words := []cobra.Completion{sensor.NoRuntimes}
		for _, p := range runtimeProtocols {
			words = append(words, p+":")
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// addSocket declares --socket.
func addSocket(cmd *cobra.Command, f *typed[string], usage string) {
	*f = typed[string]{sensor.DefaultSocket, sensor.DefaultSocket, parseSocket, "SOCKET"}
	cmd.Flags().Var(f, "socket", usage)
}
