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

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "WORD" }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("want one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}

// add declares the flag, with its words for completion.
func (c *choice) add(cmd *cobra.Command, flags *pflag.FlagSet, name, short, usage string) {
	flags.VarP(c, name, short, usage+": "+strings.Join(c.allowed, ", "))
	completeWords(cmd, name, c.allowed)
}

// list is a repeatable flag; each value is parsed when it is given.
type list[T any] struct {
	values []T
	texts  []string
	parse  func(string) (T, error)
	kind   string
}

func (l *list[T]) String() string { return strings.Join(l.texts, ",") }
func (l *list[T]) Type() string   { return l.kind }

func (l *list[T]) Set(s string) error {
	v, err := l.parse(s)
	if err != nil {
		return err
	}
	l.values = append(l.values, v)
	l.texts = append(l.texts, s)
	return nil
}

// oneOf parses a word of a vocabulary.
func oneOf[T ~string](allowed ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if !slices.Contains(allowed, T(s)) {
			words := make([]string, len(allowed))
			for i, w := range allowed {
				words[i] = string(w)
			}
			return "", fmt.Errorf("want one of %s", strings.Join(words, ", "))
		}
		return T(s), nil
	}
}

// completeWords offers words for a flag's value in the shell. The only error
// is a flag that does not exist, which every test of the command would show.
func completeWords(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

var sources = []string{"auto", "bpf", "procmap", "maps"}

// scanFlags are the flags of every command that looks at the machine.
type scanFlags struct {
	root, proc string
	source     choice
}

func (f *scanFlags) add(cmd *cobra.Command) {
	f.source = choice{"auto", sources}
	cmd.Flags().StringVar(&f.root, "root", "/", "`DIR` where the host's root file system is seen")
	cmd.Flags().StringVar(&f.proc, "proc", "/proc", "`DIR` where the host's proc file system is seen")
	f.source.add(cmd, cmd.Flags(), "source", "", "how to read what processes have mapped")
	for _, name := range []string{"root", "proc"} {
		_ = cmd.MarkFlagDirname(name)
	}
}

// settle takes over what the configuration file says where no flag does, and
// checks the result.
func (f *scanFlags) settle(flags *pflag.FlagSet, c *config) error {
	take(flags, "root", &f.root, c.Root)
	take(flags, "proc", &f.proc, c.Proc)
	take(flags, "source", &f.source.value, c.Source)
	for _, d := range []struct{ flag, dir string }{{"root", f.root}, {"proc", f.proc}} {
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

func (f *scanFlags) options() sensor.Options {
	return sensor.Options{Root: f.root, Proc: f.proc, Source: f.source.value, Version: buildVersion().Version}
}

// take sets a flag's value from the configuration file, unless the flag was
// given or the file is silent.
func take(flags *pflag.FlagSet, name string, value *string, from entry) {
	if from.Line > 0 && !flags.Changed(name) {
		*value = from.Value
	}
}
