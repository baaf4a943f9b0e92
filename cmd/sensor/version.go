package main

import (
	"cmp"
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build says what this binary was made from.
type build struct {
	Schema  string `json:"schema"`
	Version string `json:"version"`
	// Commit and Time are of the source; Modified says that the source differed
	// from the commit. All are empty where the build did not record them.
	Commit   string `json:"commit"`
	Time     string `json:"time"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// buildVersion takes the version set at link time, else what the Go toolchain
// recorded, else "devel".
func buildVersion() build {
	b := build{
		Schema:   "sensor.version/v1",
		Version:  version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "(devel)" {
			b.Version = cmp.Or(b.Version, info.Main.Version)
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	b.Version = cmp.Or(b.Version, "devel")
	return b
}

func (a *app) versionCommand() *cobra.Command {
	output := choice{"text", []string{"text", "json"}}
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version and what the binary was built from",
		Example: "  sensor version -o json",
		Args:    exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runVersion(cmd.Context(), output.value, a.screen(cmd.Flags(), &config{}))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	return cmd
}

func runVersion(_ context.Context, output string, out *screen) error {
	b := buildVersion()
	if output == "json" {
		if err := writeJSON(out.w, b); err != nil {
			return err
		}
		return out.flush()
	}
	out.printf("sensor %s (%s, %s", b.Version, b.Go, b.Platform)
	if b.Commit != "" {
		out.printf(", commit %s", b.Commit)
	}
	if b.Modified {
		out.printf(" with changes")
	}
	out.printf(")\n")
	return out.flush()
}
