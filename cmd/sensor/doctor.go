package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

// doctorOptions are what "sensor doctor" was asked.
type doctorOptions struct {
	output string
	ask
}

func (a *app) doctorCommand() *cobra.Command {
	output := choice{"text", []string{"text", "json"}}
	var look askFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine lets the sensor see, and what would let it see more",
		Long: `doctor tries everything that a scan needs and prints the result of each: kernel,
BTF, privileges, package databases, container runtimes, and the ways to read what processes have mapped
(bpf, procmap, maps; "auto" takes the first that works). Beside what is missing
stands what would mend it. The running sensor ("sensor run"), where there is one, says
what it is able to see itself; --source=auto with another --root, --proc or
--runtime-socket, or any of bpf, procmap and maps, looks from here.

Levels:
  ok     nothing to do
  warn   the verdicts are the same but cost more, or say less beside the verdict
  fail   some verdicts will be unknown

Exit codes: 0 the best answer is possible, 2 usage, 3 it is not (something failed,
or no way to read mappings works).`,
		Example: `  sensor doctor
  sensor doctor --runtime-socket containerd:/run/k0s/containerd.sock
  sensor doctor -o json | jq '.checks[] | select(.ok | not)'`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := look.settle(cmd.Flags(), c); err != nil {
				return err
			}
			opts := doctorOptions{output.value, look.ask()}
			if opts.scan.Log, err = a.logger(); err != nil {
				return err
			}
			return runDoctor(cmd.Context(), a.environment, opts, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	look.add(cmd)
	return cmd
}

// runDoctor tries what a scan needs and prints the results.
func runDoctor(ctx context.Context, env *environment, opts doctorOptions, out *screen) error {
	d, err := answer(ctx, env, opts.ask, func(ctx context.Context, d daemon) (*sensor.Diagnosis, error) {
		return d.Diagnose(ctx)
	}, func(scan sensor.Options) (*sensor.Diagnosis, error) {
		return env.scanner.Doctor(ctx, scan)
	})
	if err != nil {
		return err
	}
	if opts.output == "json" {
		err = writeJSON(out.w, d)
	} else {
		writeDiagnosis(out.printer, d)
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return fmt.Errorf("writing the diagnosis: %w", err)
	}
	if !bestPossible(d) {
		return exitStatus(exitUnsure)
	}
	return nil
}

// bestPossible reports whether a scan could judge everything. Which source it
// reads from changes only the cost.
func bestPossible(d *sensor.Diagnosis) bool {
	failed := func(c sensor.Check) bool { return level(c) == sensor.LevelFail }
	works := func(c sensor.Check) bool { return c.OK }
	return !slices.ContainsFunc(d.Checks, failed) && slices.ContainsFunc(d.Sources, works)
}

// level is the check's level; one that did not pass and does not say how much
// it matters counts as failed.
func level(c sensor.Check) sensor.Level {
	switch {
	case c.Level == sensor.LevelWarn || c.Level == sensor.LevelFail:
		return c.Level
	case !c.OK:
		return sensor.LevelFail
	}
	return sensor.LevelOK
}

func writeDiagnosis(p *printer, d *sensor.Diagnosis) {
	btf := "with BTF"
	if !d.BTF {
		btf = "without BTF"
	}
	p.printf("Kernel %s, %s\n\n", orUnknown(d.Kernel), btf)
	writeChecks(p, d.Checks)
	if len(d.Sources) > 0 {
		p.printf("\n%s\n", styled{bold, "Ways to read mappings, best first:"})
		writeChecks(p, d.Sources)
	}
	if t := d.Tracking; t != nil {
		p.printf("\n%s\n", styled{bold, "Ways to see code as it is mapped, best first:"})
		writeChecks(p, t.Tiers)
	}
	p.printf("\n")
	switch t := d.Tracking; {
	case t != nil:
		p.printf("The running sensor sees code by %s and reads mappings by %s. ", orUnknown(t.Tier), orUnknown(t.Source))
	case d.Source != "":
		p.printf("A scan takes %s. ", d.Source)
	}
	if bestPossible(d) {
		p.printf("%s\n", styled{green, "The best answer is possible."})
	} else {
		p.printf("%s\n", styled{red, "Not everything can be judged here; see the remedies above."})
	}
	// Only a running sensor tracks.
	if d.Tracking != nil {
		p.printf("source: daemon\n")
	}
}

func writeChecks(p *printer, checks []sensor.Check) {
	longest := 0
	for _, c := range checks {
		longest = max(longest, columns(escape(c.Name)))
	}
	for _, c := range checks {
		name := escape(c.Name)
		p.printf("  %s  %s%s  %s\n", styled{levelStyle(level(c)), fmt.Sprintf("%-4s", level(c))}, name, pad(longest-columns(name)), c.Found)
		if c.Remedy != "" {
			p.printf("        %s  → %s\n", pad(longest), c.Remedy)
		}
	}
}

func levelStyle(l sensor.Level) style {
	switch l {
	case sensor.LevelOK:
		return green
	case sensor.LevelWarn:
		return yellow
	}
	return red
}
