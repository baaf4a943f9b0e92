package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "gen-man DIR",
		Short:  "Write the man pages into a directory",
		Hidden: true,
		Args:   exactly(1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMan(cmd.Context(), cmd.Root(), args[0])
		},
	}
}

// runMan writes one page for each command that help shows.
func runMan(ctx context.Context, root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, cmd := range documented(root) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if cmd != root && !cmd.IsAvailableCommand() {
			continue
		}
		name := filepath.Join(dir, pageName(cmd)+".1")
		if err := os.WriteFile(name, manPage(cmd), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// documented lists a command and those below it, but for the shells of completion, which
// its own page names.
func documented(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	if cmd.Name() != "completion" {
		for _, sub := range cmd.Commands() {
			list = append(list, documented(sub)...)
		}
	}
	return list
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage writes the help of a command as a page for man(7). It has no date,
// so that the same source gives the same bytes. cobra's own generator takes
// help texts for Markdown, which would eat their layout.
func manPage(cmd *cobra.Command) []byte {
	var b bytes.Buffer
	name := pageName(cmd)
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"sensor %s\" \"User Commands\"\n", roff(strings.ToUpper(name)), roff(buildVersion().Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(cmd.UseLine()))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, ".br\n.B %s\n", roff(cmd.CommandPath()+" COMMAND [flags]"))
	}
	b.WriteString(".SH DESCRIPTION\n")
	if cmd.Long != "" {
		manText(&b, cmd.Long)
	} else {
		manText(&b, cmd.Short+".")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
			}
		}
	}
	// Help is otherwise declared only when it is asked for.
	cmd.InitDefaultHelpFlag()
	manFlags(&b, "OPTIONS", cmd.NonInheritedFlags())
	manFlags(&b, "GLOBAL OPTIONS", cmd.InheritedFlags())
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	fmt.Fprintf(&b, ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nWhen not empty, output is not coloured unless %s says so.\n", roff("--color=always"))
	fmt.Fprintf(&b, ".SH FILES\n.TP\n.B %s\nConfiguration, if it exists.\n", roff(defaultConfig))
	b.WriteString(".SH SEE ALSO\n")
	var also []string
	for _, other := range documented(cmd.Root()) {
		if other != cmd && (other == cmd.Root() || other.IsAvailableCommand()) {
			also = append(also, fmt.Sprintf("\\fB%s\\fR(1)", roff(pageName(other))))
		}
	}
	b.WriteString(strings.Join(also, ",\n") + "\n")
	return b.Bytes()
}

// manText fills paragraphs and keeps indented lines as they are.
func manText(b *bytes.Buffer, text string) {
	kept := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if kept {
				b.WriteString(".fi\n")
				kept = false
			}
			b.WriteString(".PP\n")
			continue
		}
		if indented := line[0] == ' '; indented != kept {
			kept = indented
			if kept {
				b.WriteString(".nf\n")
			} else {
				b.WriteString(".fi\n")
			}
		}
		b.WriteString(roff(line) + "\n")
	}
	if kept {
		b.WriteString(".fi\n")
	}
}

func manFlags(b *bytes.Buffer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		names := "--" + f.Name
		if f.Shorthand != "" {
			names = "-" + f.Shorthand + ", " + names
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			value = " \\fI" + roff(value) + "\\fR"
		}
		if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR%s\n%s\n", roff(names), value, roff(usage))
	})
}

// roff escapes text for man(7): backslashes, hyphens that must stay ASCII, and
// lines that would be requests.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(s)
	if s != "" && (s[0] == '.' || s[0] == '\'') {
		s = `\&` + s
	}
	return strings.NewReplacer("\n.", "\n\\&.", "\n'", "\n\\&'").Replace(s)
}
