package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchsensor/patchsensor/internal/filter"
	"github.com/patchsensor/patchsensor/sensor"
)

// packagesOptions are what "sensor packages" was asked.
type packagesOptions struct {
	output string
	loaded bool
	stale  bool
	names  list[filter.Glob]
	places list[func(string) bool]
	scan   sensor.Options
}

var packagesFormats = []string{"table", "wide", "json", "jsonl", "csv", "names", "cyclonedx", "spdx"}

func (a *app) packagesCommand() *cobra.Command {
	output := choice{"table", packagesFormats}
	var look lookFlags
	opts := packagesOptions{
		names:  list[filter.Glob]{parse: filter.ParseGlob, kind: "PATTERN"},
		places: list[func(string) bool]{parse: parsePlace, kind: "PATTERN"},
	}
	cmd := &cobra.Command{
		Use:   "packages",
		Short: "List what is installed, what of it runs, and whether its last patch is effective",
		Long: `packages lists all packages that this host has installed, those of containers and
chroots of which something is loaded, and what programs that no package ships say they
were built from (Go modules, Rust crates, package notes). For each it tells how many
processes have loaded something of it, and how many of these run another version than
the one installed: as long as there are any, the last patch is not effective.

It looks at every process once, and does not ask the running sensor.

Columns:
  LOADED      processes that have loaded something of the package
  STALE       those of them that run code which is not what is installed
  LAST PATCH  the last change in the package manager's history, "?" if it tells of none
  WHERE       --root for this host, else "container NAME", "image NAME" where several
              containers share a database, or the root of a process

Output (-o):
  table      for people
  wide       the same with manager, source package, vendor, running versions and files
  json       the whole list, schema sensor.packages/v1
  jsonl      one package a line, each with the host and the time
  csv        one row a package; a cell that a spreadsheet would take for a formula gets
             a leading '
  names      one package name a line, each once
  cyclonedx  a bill of materials, CycloneDX 1.6 as JSON
  spdx       a bill of materials, SPDX 2.3 as JSON
A bill of materials holds each package URL once, with the roots and files that it is in
and whether it runs. It tells of no licences.
With all but table, wide and json, warnings go to standard error.

Exit codes:
  0  nothing of what is listed is stale
  1  something is
  2  the command line or the configuration is wrong
  3  could not tell: an error, something could not be read and nothing is stale, or no
     package has such a name or is in such a place`,
		Example: `  sensor packages
  sensor packages --stale-only
  sensor packages --package 'libssl*' -o wide
  sensor packages --where / --loaded-only
  sensor packages --where 'image **' -o json | jq '.packages[] | select(.stale > 0)'
  sensor packages -o cyclonedx > host.cdx.json
  sensor packages --loaded-only -o spdx > running.spdx.json`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := look.settle(cmd.Flags(), c.looking()); err != nil {
				return err
			}
			opts.output, opts.scan = output.value, look.options()
			if opts.scan.Log, err = a.logger(); err != nil {
				return err
			}
			return runPackages(cmd.Context(), a.environment, &opts, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	opts.add(cmd.Flags())
	look.add(cmd, sources, "how mappings are read")
	return cmd
}

func (o *packagesOptions) add(flags *pflag.FlagSet) {
	flags.BoolVar(&o.loaded, "loaded-only", false, "only packages of which something is loaded")
	flags.BoolVar(&o.stale, "stale-only", false, "only packages of which another version runs than is installed")
	flags.Var(&o.names, "package", "only binary or source packages of this name (repeatable)")
	flags.Var(&o.places, "where", "only what is in this place, as WHERE names it (repeatable)")
}

// runPackages gets the list, narrows it and prints it.
func runPackages(ctx context.Context, env *environment, opts *packagesOptions, out *screen) error {
	progress := newProgress(env)
	opts.scan.Progress = progress.report()
	l, err := env.scanner.Packages(ctx, opts.scan)
	progress.clear()
	if err != nil {
		return err
	}
	sure := l.Complete && l.Summary.Loaded > 0
	l, named := opts.narrow(l)
	if err := errors.Join(writePackages(out, l, opts.output, sure && named, env.zone), out.flush()); err != nil {
		return fmt.Errorf("writing the packages: %w", err)
	}
	switch opts.output {
	case "table", "wide", "json":
	default:
		for _, w := range l.Warnings {
			complain(env.stderr, "sensor", errors.New("warning: "+escape(warningText(w))))
		}
	}
	switch {
	case l.Summary.Stale > 0:
		return exitStatus(exitStale)
	case !named:
		return &helpedError{errors.New("no package has such a name or is in such a place"), `"sensor packages -o names" lists the names, the column WHERE the places`}
	case !sure:
		return exitStatus(exitUnsure)
	}
	return nil
}

// narrow returns what was asked for, and whether there is any of that name and place.
func (o *packagesOptions) narrow(l *sensor.PackageList) (out *sensor.PackageList, named bool) {
	narrowed := *l
	narrowed.Packages, narrowed.Summary = []sensor.ListedPackage{}, sensor.PackageSummary{}
	for i := range l.Packages {
		p := &l.Packages[i]
		if !o.isNamed(p) || !o.isIn(p.Where) {
			continue
		}
		named = true
		if o.loaded && p.Processes == 0 || o.stale && p.Stale == 0 {
			continue
		}
		narrowed.Packages = append(narrowed.Packages, *p)
		narrowed.Summary.Packages++
		if p.Processes > 0 {
			narrowed.Summary.Loaded++
		}
		if p.Stale > 0 {
			narrowed.Summary.Stale++
		}
	}
	return &narrowed, named || len(o.names.values)+len(o.places.values) == 0
}

func (o *packagesOptions) isNamed(p *sensor.ListedPackage) bool {
	return len(o.names.values) == 0 || slices.ContainsFunc(o.names.values, func(g filter.Glob) bool {
		return g.Match(p.Name) || g.Match(p.Source)
	})
}

func (o *packagesOptions) isIn(where string) bool {
	return len(o.places.values) == 0 || slices.ContainsFunc(o.places.values, func(is func(string) bool) bool { return is(where) })
}

// parsePlace takes a pattern of places; "/" is the host alone, and not all below.
func parsePlace(s string) (func(string) bool, error) {
	if s == "/" {
		return func(where string) bool { return where == s }, nil
	}
	g, err := filter.ParseGlob(s)
	return g.Match, err
}
