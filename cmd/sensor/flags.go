package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// take sets the values from the configuration file, as take does.
func (l *list[T]) take(flags *pflag.FlagSet, name string, from []entry) error {
	if len(from) == 0 || flags.Changed(name) {
		return nil
	}
	// Another copy of the flag may hold these values too.
	l.values, l.texts = nil, nil
	for _, e := range from {
		if err := l.Set(e.Value); err != nil {
			return err
		}
	}
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

// typed is a flag whose value is parsed when it is given. Its text is what the
// configuration file would hold.
type typed[T any] struct {
	value T
	text  string
	parse func(string) (T, error)
	kind  string
}

func (f *typed[T]) String() string { return f.text }
func (f *typed[T]) Type() string   { return f.kind }

func (f *typed[T]) Set(s string) error {
	v, err := f.parse(s)
	if err != nil {
		return err
	}
	f.value, f.text = v, s
	return nil
}

// take sets the value from the configuration file, as take does. What the file
// holds was parsed when it was read, in the same way.
func (f *typed[T]) take(flags *pflag.FlagSet, name string, from entry) error {
	if from.Line > 0 && !flags.Changed(name) {
		return f.Set(from.Value)
	}
	return nil
}

// take sets a flag's value from the configuration file, unless the flag was
// given or the file is silent.
func take(flags *pflag.FlagSet, name string, value *string, from entry) {
	if from.Line > 0 && !flags.Changed(name) {
		*value = from.Value
	}
}
