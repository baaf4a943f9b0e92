package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/internal/filter"
	"github.com/patchsensor/patchsensor/sensor"
)

// staleOptions are what "sensor stale" was asked.
type staleOptions struct {
	output  string
	filter  filter.Filter
	asked   string // the filters, as given
	exclude *filter.Exclude
	ask
}

var staleFormats = []string{"table", "wide", "json", "jsonl", "csv", "names"}

func (a *app) staleCommand() *cobra.Command {
	output := choice{"table", staleFormats}
	var look askFlags
	var exclude []string
	filters := newFilterFlags()
	cmd := &cobra.Command{
		Use:   "stale",
		Short: "List what runs code older than what is installed, and what to restart",
		Long: `stale lists the workloads (services, sessions, containers, processes) that run code
older than what is installed.

The running sensor ("sensor run") answers, and the output says "source: daemon". Where
none runs, or it does not answer this user, stale looks at every process once; so it
does with another --root, --proc, --runtime-socket or --advisories. --source says otherwise: daemon asks
the running sensor or fails; bpf, procmap and maps look, each in its way.

States:
  missing   a file that runs is gone and nothing newer replaces it: do NOT restart
  stale     other code is installed than the code that runs: act on the remedy
  unknown   it cannot be told; never counted as fine
  effective a container whose image has a newer one under its name in which nothing
            that runs differs: no alarm, counted below the table and shown by wide

Containers are judged in their own root, with their own packages. Their runtimes tell
their names and what the references of their images name now (reason image-superseded).
"+drift" says that the newer code was put into the running container: it takes a new
image to keep it. --runtime-socket names the runtimes to ask, or none.

Output (-o):
  table     for people; fits the terminal, is complete in a pipe
  wide      the same with processes, files, build IDs, users, cgroups, images and
            layers, with each unknown workload, and with each superseded image
  json      the whole report, schema sensor.report/v1
  jsonl     one finding a line, each with the host and the time of the scan
  csv       one row for each workload and package, and one for its files that belong
            to no package; a cell that a spreadsheet would take for a formula gets
            a leading '
  names     one workload name a line, for scripts
With jsonl, csv and names, warnings go to standard error.

Filters may be repeated: one of the values must match, and each filter given.
A workload is listed as a whole when it matches. What may match but cannot be
told is counted, and then the exit code is not 0.
  --container  the name (in a pod, its own or NAMESPACE/POD/NAME), or 4 or more digits
               with which its ID begins
  --image      the reference, with or without tag, digest and docker.io/library/, or 4
               or more digits with which the image's ID begins

Advisories ("sensor advisories", --advisories) add to the CVEs that the changelogs of
packages name, and tell the severity, the version that fixes each, and which are
EXPLOITED in the wild. --advisories names another index than the usual one, or a
directory with dumps, which is imported first if anything in it has changed: into the
running sensor's index if that is made from it too, else into one in your cache directory.

Patterns (--exclude, and filters by names): "*" stands for any characters but "/",
"**" for any, "?" for one, "[a-z]" for one of a set, "\" takes the next character
as it is; a pattern that ends in "/" covers everything below. --exclude takes
  uid:N     the processes of that user
  PATTERN   workloads by name; with a "/" in it also files and cgroups by path
and adds to the patterns of the configuration file. What it leaves out is counted
in the output.

Exit codes:
  0  nothing stale
  1  something is stale or missing
  2  the command line or the configuration is wrong
  3  could not tell: an error, or something is unknown and nothing stale`,
		Example: `  sensor stale
  sensor stale -o wide --unit ssh
  sensor stale --package openssl --package 'libssl*'
  sensor stale --cve CVE-2026-12345 || echo "not yet safe"
  sensor stale --image nginx --namespace 'shop-*'
  sensor stale --container web-1 -o wide
  sensor stale --advisories /srv/advisories -o wide
  sensor stale -o json | jq '.findings[] | .workload.name'
  sensor stale -o names --action restart --unit '*.service' |
      xargs -r -d '\n' systemctl restart --
  sensor stale --exclude '/opt/java/' --exclude 'user@*.service' --exclude uid:1000
  sensor stale --root /host --proc /host/proc --runtime-socket /host/run/docker.sock`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := look.settle(cmd.Flags(), c); err != nil {
				return err
			}
			take(cmd.Flags(), "output", &output.value, c.Output)
			for _, e := range c.Exclude {
				exclude = append(exclude, e.Value)
			}
			opts := staleOptions{output: output.value, asked: filters.String(), ask: look.ask()}
			if opts.exclude, err = filter.ParseExclude(exclude); err != nil {
				return &usageError{err, "patterns are explained under Patterns in the help"}
			}
			if opts.filter, err = filters.filter(a.environment, look.root); err != nil {
				return err
			}
			if opts.scan.Log, err = a.logger(); err != nil {
				return err
			}
			return runStale(cmd.Context(), a.environment, opts, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	filters.add(cmd)
	cmd.Flags().StringArrayVar(&exclude, "exclude", nil, "leave out what matches `PATTERN` or uid:N (repeatable)")
	look.add(cmd)
	addAdvisories(cmd, &look.advisories)
	return cmd
}

// runStale gets the report, narrows it and prints it.
func runStale(ctx context.Context, env *environment, opts staleOptions, out *screen) error {
	found, err := answer(ctx, env, opts.ask, opts.ofDaemon, opts.ofMachine(ctx, env))
	if err != nil {
		return err
	}
	if found.raw != nil {
		return passOn(found, out)
	}
	report, excluded := opts.exclude.Apply(found.Report)
	report = opts.filter.Apply(report)
	// It served the filter; no document holds it.
	report.Seen = nil
	slices.SortStableFunc(report.Findings, bySeverity)

	v := &view{
		Report:   report,
		excluded: excluded,
		asked:    opts.asked,
		wide:     opts.output == "wide",
		unknown:  opts.output == "wide" || slices.Contains(opts.filter.States, sensor.Unknown),
		zone:     env.zone,
		userName: env.userName,
	}
	if opts.scan.Root != "/" {
		v.userName = func(uint32) string { return "" }
	}
	switch opts.output {
	case "json":
		err = writeJSON(out.w, report)
	case "jsonl":
		err = writeLines(out.w, report)
	case "csv":
		err = writeCSV(out.w, report)
	case "names":
		err = writeNames(out.w, report)
	default:
		v.write(out)
	}
	if err := errors.Join(err, out.flush()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	switch opts.output {
	case "jsonl", "csv", "names":
		for _, w := range report.Warnings {
			complain(env.stderr, "sensor", errors.New("warning: "+escape(warningText(w))))
		}
	}
	if code := outcome(report); code != exitFine {
		return exitStatus(code)
	}
	return nil
}

// outcome is the exit code that a report deserves. A report that is incomplete,
// or looked at nothing, cannot say that all is well.
func outcome(r *sensor.Report) int {
	switch s := r.Summary; {
	case s.Stale > 0 || s.Missing > 0:
		return exitStale
	case s.Unknown > 0 || !r.Complete || s.Processes == 0:
		return exitUnsure
	}
	return exitFine
}

// severity orders states, the worst first.
func severity(s sensor.State) int {
	order := []sensor.State{sensor.Missing, sensor.Stale, sensor.Unknown, sensor.Effective, sensor.Ignored}
	if i := slices.Index(order, s); i >= 0 {
		return i
	}
	return len(order)
}

// bySeverity orders findings by state, then the longest exposed first; a time
// that is not known comes last.
func bySeverity(x, y sensor.Finding) int {
	return cmp.Or(
		cmp.Compare(severity(x.State), severity(y.State)),
		compareTimes(x.Since, y.Since),
		cmp.Compare(x.Workload.Name, y.Workload.Name),
		cmp.Compare(x.ID, y.ID),
	)
}

func compareTimes(x, y *time.Time) int {
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	return x.Compare(*y)
}

func warningText(w sensor.Warning) string {
	text := w.Subject + ": " + w.Message
	if w.Help != "" {
		text += " (" + w.Help + ")"
	}
	return text
}
