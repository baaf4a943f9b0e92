package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/internal/advisory"
	"github.com/patchsensor/patchsensor/sensor"
)

func (a *app) advisoriesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "advisories",
		Short: "Import published advisories, and show what is known of them",
		Long: `advisories keeps the index from which sensor tells, offline, how severe a
vulnerability is, in which version it was fixed, and whether it is known to be
exploited. It is made from files that somebody has put on this machine: sensor never
fetches anything.

What is read (by its content, whatever its name; .gz, .zst and .zip as well):
  OSV records         one a file, many in one, or the all.zip of an ecosystem
                      (osv.dev) for Debian, Ubuntu, Alpine, Red Hat, AlmaLinux, Rocky
                      Linux, SUSE, Go, crates.io …
  Debian's tracker    security-tracker.debian.org/tracker/data/json
  CISA's catalogue    known_exploited_vulnerabilities.json
Without an index, CVEs are those of the packages' changelogs alone.`,
		Example: `  sensor advisories import /srv/advisories
  sensor advisories status
  sensor stale --advisories /srv/advisories`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse("", "say what to do: import or status")
			}
			return misuse("the commands are import and status", "unknown command %q", args[0])
		},
	}
	cmd.AddCommand(a.importCommand(), a.indexStatusCommand())
	return cmd
}

// addIndex declares --index.
func addIndex(cmd *cobra.Command, f *typed[string]) {
	*f = typed[string]{sensor.DefaultAdvisories, sensor.DefaultAdvisories, parseIndex, "FILE"}
	cmd.Flags().Var(f, "index", "the index")
	_ = cmd.MarkFlagFilename("index")
}

func parseIndex(s string) (string, error) {
	if s == "" {
		return "", errors.New("want the name of a file")
	}
	return parseAdvisories(s)
}

// settleIndex takes the index that the configuration names where no flag does.
func settleIndex(cmd *cobra.Command, f *typed[string], c *config) error {
	if cmd.Flags().Changed("index") || c.Advisories.Value == "" {
		return nil
	}
	index, _ := advice{c.Advisories.Value, c.stateDir()}.place()
	return f.Set(index)
}

func (a *app) importCommand() *cobra.Command {
	output := choice{"text", []string{"text", "json"}}
	var index typed[string]
	cmd := &cobra.Command{
		Use:   "import PATH...",
		Short: "Make the index of advisories from files and directories",
		Long: `import makes the index anew from all files at and below each PATH; hidden files are
left out. The old index is replaced at once when the new one is complete, and stays as
it is if that fails. If every file is as it was at the last import, nothing is done.
A running sensor takes the new index at its next look.

What cannot be understood in a file is counted and the first of it is shown, with its
place; all the rest is imported.

The index is --index, else that of the key "advisories" in the configuration file, else
` + sensor.DefaultAdvisories + `.

Exit codes: 0 all was imported, or was already; 2 usage; 3 nothing was imported, or
something could not be understood.`,
		Example: `  sensor advisories import /srv/advisories
  sensor advisories import debian-tracker.json known_exploited_vulnerabilities.json
  sensor advisories import --index ~/advisories.db osv/Debian/all.zip
  sensor advisories import /srv/advisories -o json | jq .malformed`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse("name files or directories", "PATH is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := settleIndex(cmd, &index, c); err != nil {
				return err
			}
			for _, path := range args {
				if _, err := os.Stat(path); err != nil {
					return &usageError{err, "name files or directories"}
				}
			}
			return runImport(cmd.Context(), args, index.value, output.value, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	addIndex(cmd, &index)
	return cmd
}

// runImport makes the index and says what is in it.
func runImport(ctx context.Context, paths []string, index, output string, out *screen) error {
	if err := writable(index); err != nil {
		return err
	}
	stats, err := advisory.Import(ctx, paths, index)
	if err != nil {
		return importFailed(err)
	}
	if output == "json" {
		err = writeJSON(out.w, imported(index, &stats))
	} else {
		writeImported(out.printer, index, &stats)
	}
	if err := errors.Join(err, out.flush()); err != nil {
		return fmt.Errorf("writing what was imported: %w", err)
	}
	if stats.Malformed > 0 {
		return exitStatus(exitUnsure)
	}
	return nil
}

// writable says in one sentence that an index cannot be made. The directory of the
// running sensor is made if it is missing, as that does itself.
func writable(index string) error {
	dir := filepath.Dir(index)
	var err error
	if index == sensor.DefaultAdvisories {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = unix.Access(dir+"/", unix.W_OK|unix.X_OK)
	}
	if err == nil {
		return nil
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return &helpedError{fmt.Errorf("the index cannot be made in %s: %w", dir, err), "run it as root, or name a file of your own with --index"}
}

func (a *app) indexStatusCommand() *cobra.Command {
	output := choice{"text", []string{"text", "json"}}
	var index typed[string]
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the index of advisories holds",
		Long: `status shows from which files the index of advisories was made and when, how old the
newest advisory is, and of which distributions and languages it knows.

The index is --index, else that of the key "advisories" in the configuration file, else
` + sensor.DefaultAdvisories + `.

Exit codes: 0 there is an index, 2 usage, 3 there is none, or it is not sound.`,
		Example: `  sensor advisories status
  sensor advisories status --index ~/advisories.db
  sensor advisories status -o json | jq '.ecosystems[].ecosystem'`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := settleIndex(cmd, &index, c); err != nil {
				return err
			}
			return a.runIndexStatus(cmd.Context(), index.value, output.value, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	addIndex(cmd, &index)
	return cmd
}

// runIndexStatus says what the index holds.
func (a *app) runIndexStatus(ctx context.Context, index, output string, out *screen) error {
	x, err := advisory.Open(index)
	if err != nil {
		return unusable(err)
	}
	defer x.Close()
	status, err := x.Status(ctx)
	if err != nil {
		return unusable(err)
	}
	if output == "json" {
		err = writeJSON(out.w, indexed(index, &status))
	} else {
		writeIndexed(out, index, &status, a.zone)
	}
	if err := errors.Join(err, out.flush()); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}

// unusable adds to an error of opening an index what to do about it.
func unusable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &helpedError{err, `make one with "sensor advisories import PATH", or name another with --index`}
	case errors.Is(err, advisory.ErrCorrupt), errors.Is(err, advisory.ErrSchema):
		return &helpedError{err, `make it anew with "sensor advisories import PATH"`}
	case errors.Is(err, fs.ErrPermission):
		return &helpedError{err, "run it as root, or name another with --index"}
	}
	return err
}
