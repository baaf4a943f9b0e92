package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

func (a *app) hostCommand() *cobra.Command {
	output := choice{"table", []string{"table", "json"}}
	var look lookFlags
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Tell whether this host needs a reboot: kernel, modules, microcode, end of life",
		Long: `host tells all that there is to say of the machine itself: whether it needs a reboot
and why, the running kernel beside those that are installed and the one that will boot,
live patches, the loaded modules and the microcode beside what is installed, who asks for
a reboot, when each package manager last changed something, and the release with its end
of life, also those of the images that containers run.

It looks at everything once, and does not ask the running sensor.

The running kernel is held against the newest one of the same flavour (cloud-amd64,
generic, x86_64, …) and told from another build of the same release by its version text
and its build ID. One that is installed but that the boot loader would not choose is
warned of. In a container the kernel is not this root's, and is left out.

A reboot is
  needed   when something is installed that only a reboot makes effective
  advised  when live patches cover what a newer kernel fixes, when a file like
           /run/reboot-required asks for it, or when so much is to be restarted that it
           is the cheaper way (reboot_percent in the configuration)
  unknown  when it could not be told

End of life is what the distribution says: distro-info-data, or SUPPORT_END of
os-release. Where neither is there it is not known.

Output (-o):
  table  for people
  json   the whole page, schema sensor.host/v1

Exit codes:
  0  no reboot is needed
  1  a reboot is needed or advised, or a module is to be loaded anew
  2  the command line or the configuration is wrong
  3  could not tell: an error, or something could not be read`,
		Example: `  sensor host
  sensor host -o json | jq .reboot
  sensor host --root /host --proc /host/proc --sys /host/sys`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := look.settle(cmd.Flags(), c.looking()); err != nil {
				return err
			}
			opts := look.options()
			if opts.Log, err = a.logger(); err != nil {
				return err
			}
			return runHost(cmd.Context(), a.environment, opts, output.value, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	look.add(cmd, sources, "how mappings are read")
	return cmd
}

// runHost gets the page and prints it.
func runHost(ctx context.Context, env *environment, opts sensor.Options, output string, out *screen) error {
	progress := newProgress(env)
	opts.Progress = progress.report()
	p, err := env.scanner.HostPage(ctx, opts)
	progress.clear()
	if err != nil {
		return err
	}
	if output == "json" {
		err = writeJSON(out.w, p)
	} else {
		(&page{p, env.zone, out}).write()
	}
	if err := errors.Join(err, out.flush()); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if code := hostOutcome(p); code != exitFine {
		return exitStatus(code)
	}
	return nil
}

// hostOutcome is the exit code of a page.
func hostOutcome(p *sensor.HostReport) int {
	for i := range p.Causes {
		if p.Causes[i].State == sensor.Stale {
			return exitStale
		}
	}
	switch {
	case p.Reboot.Need == sensor.NeedReboot || p.Reboot.Need == sensor.NeedAdvised:
		return exitStale
	case p.Reboot.Need != sensor.NeedNone || !p.Complete:
		return exitUnsure
	}
	return exitFine
}
