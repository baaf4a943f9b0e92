package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

func (a *app) statusCommand() *cobra.Command {
	output := choice{"text", []string{"text", "json"}}
	var socket typed[string]
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the running sensor is doing",
		Long: `status shows how the running sensor ("sensor run") is doing: by which tier it sees code
and why not by a better one, how much it follows, what it found, which of the last
patches are effective and how many workloads each still waits for, what was lost, when
nothing was observed, and what it costs.

Losses and gaps cost no finding: what was missed is judged at the next look. They say
when the sensor may have been late, or may not have seen something that was there only
for a moment.

Exit codes: 0 it runs and has looked at everything, 2 usage, 3 it does not answer or is
not ready yet.`,
		Example: `  sensor status
  sensor status -o json | jq '.patches[] | select(.stale > 0)'
  until sensor status >/dev/null; do sleep 1; done`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := socket.take(cmd.Flags(), "socket", c.Socket); err != nil {
				return err
			}
			return runStatus(cmd.Context(), a.environment, socket.value, output.value, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	addSocket(cmd, &socket, "unix socket of the running sensor")
	return cmd
}

// runStatus asks the running sensor how it is and prints the answer.
func runStatus(ctx context.Context, env *environment, socket, output string, out *screen) error {
	s, err := query(ctx, env, socket, func(ctx context.Context, d daemon) (*sensor.Status, error) { return d.Status(ctx) })
	if err != nil {
		return err
	}
	if output == "json" {
		err = writeJSON(out.w, s)
	} else {
		(&condition{s, env.zone, out}).write()
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	if !s.Ready {
		return exitStatus(exitUnsure)
	}
	return nil
}
