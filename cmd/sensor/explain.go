package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

// explainOptions are what "sensor explain" was asked.
type explainOptions struct {
	target string
	output string
	all    bool
	ask
}

func (a *app) explainCommand() *cobra.Command {
	output := choice{"text", []string{"text", "json"}}
	var look askFlags
	var opts explainOptions
	cmd := &cobra.Command{
		Use:   "explain PID|UNIT|CONTAINER|PATH",
		Short: "Show the evidence: what runs, what is on disk, and which rule decided",
		Long: `explain shows how sensor judged one process (by its PID), one workload (by its
name, such as ssh.service), one container (by its name or the beginning of its ID) or
every process that has loaded one file (by its path, with a leading /). For each loaded file it prints what is mapped and what the same
path holds now (identity, build ID, times), who owns it, which version runs and
how that is known, which rule decided, and how sure that is.

Of a container it draws the layers that its root is made of, topmost first, with the
instruction that made each. Beneath a layer, "runs" names the stale files whose loaded
code is of that layer, and "now" those that stand there now and replace loaded ones.

Files that are what is installed are only counted, unless --all is given. With
-o json (schema sensor.explanation/v1) all of them are always there.

What a file of no package says that it was built from, Go modules and Rust crates, is
its own claim. The first is the program itself.

The running sensor ("sensor run") answers where there is one, as with "sensor stale".

The exit codes are those of "sensor stale": 0 nothing stale, 1 something stale or
missing, 2 usage, 3 could not tell (or nothing that runs belongs to the target).`,
		Example: `  sensor explain ssh.service
  sensor explain 4711 --all
  sensor explain web-1
  sensor explain shop/cart-0/app
  sensor explain /usr/lib/x86_64-linux-gnu/libssl.so.3
  sensor explain nginx.service -o json | jq '.workloads[].processes[].loads[].rule'`,
		Args: exactly(1, "PID, UNIT, CONTAINER or PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.target, opts.output = args[0], output.value
			if opts.target == "" {
				return misuse("", "the target is empty")
			}
			c, err := loadConfig(a.config)
			if err != nil {
				return err
			}
			if err := look.settle(cmd.Flags(), c); err != nil {
				return err
			}
			opts.ask = look.ask()
			if opts.scan.Log, err = a.logger(); err != nil {
				return err
			}
			return runExplain(cmd.Context(), a.environment, opts, a.screen(cmd.Flags(), c))
		},
	}
	output.add(cmd, cmd.Flags(), "output", "o", "form of the output")
	cmd.Flags().BoolVar(&opts.all, "all", false, "also show files that are what is installed")
	look.add(cmd)
	addAdvisories(cmd, &look.advisories)
	return cmd
}

// runExplain asks for the evidence and prints it.
func runExplain(ctx context.Context, env *environment, opts explainOptions, out *screen) error {
	x, err := answer(ctx, env, opts.ask, func(ctx context.Context, d daemon) (*sensor.Explanation, error) {
		return d.Explain(ctx, opts.target)
	}, func(scan sensor.Options) (*sensor.Explanation, error) {
		progress := newProgress(env)
		defer progress.clear()
		scan.Progress = progress.report()
		return env.scanner.Explain(ctx, scan, opts.target)
	})
	if err != nil {
		return err
	}
	if opts.output == "json" {
		err = writeJSON(out.w, x)
	} else {
		(&evidence{x, opts.all, env.zone, out}).write()
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return fmt.Errorf("writing the explanation: %w", err)
	}
	if code := explained(x); code != exitFine {
		return exitStatus(code)
	}
	return nil
}

// explained is the exit code that an explanation deserves.
func explained(x *sensor.Explanation) int {
	code := exitFine
	if !x.Complete || len(x.Workloads) == 0 {
		code = exitUnsure
	}
	for _, w := range x.Workloads {
		switch w.State {
		case sensor.Stale, sensor.Missing:
			return exitStale
		case sensor.Effective, sensor.Ignored:
		default:
			code = exitUnsure
		}
	}
	return code
}

// evidence prints an explanation as a tree.
type evidence struct {
	*sensor.Explanation
	all  bool
	zone *time.Location
	*screen
}

func (e *evidence) write() {
	if len(e.Workloads) == 0 {
		e.printf("%s\n", styled{cyan, "Nothing that runs belongs to " + e.Target + "."})
		e.printf("A target is a PID, the name of a workload as \"sensor stale -o names\" prints it, the name or ID of a container, or an absolute path.\n")
	}
	for i := range e.Workloads {
		if i > 0 {
			e.printf("\n")
		}
		e.workload(&e.Workloads[i])
	}
	if !e.Complete {
		e.printf("\n%s\n", styled{bold, "The evidence is incomplete:"})
	} else if len(e.Warnings) > 0 {
		e.printf("\n%s\n", styled{bold, "Notes:"})
	}
	for _, w := range e.Warnings {
		e.printf("  %s\n", warningText(w))
	}
	if e.Source == sourceDaemon {
		e.printf("\nsource: daemon, as of %s\n", e.ScannedAt.In(e.zone).Format(time.DateTime))
	}
}

func (e *evidence) workload(w *sensor.ExplainedWorkload) {
	e.printf("%s (%s) is %s\n", styled{bold, w.Workload.Name}, w.Workload.Kind, styled{stateStyle(w.State), string(w.State)})
	if w.Workload.Cgroup != "" {
		e.printf("  cgroup  %s\n", w.Workload.Cgroup)
	}
	if w.Remedy.Action != "" && w.Remedy.Action != sensor.None {
		e.printf("  remedy  %s\n", remedyCell(&w.Remedy).text)
	}
	if w.Remedy.Why != "" {
		e.printf("  why     %s\n", w.Remedy.Why)
	}
	if c := w.Workload.Container; c != nil {
		if image := words(c.Image, c.ImageID); image != "" {
			e.printf("  image   %s\n", image)
		}
	}
	for i := range w.Packages {
		e.changes(&w.Packages[i])
	}
	for _, hint := range w.Hints {
		e.printf("  hint    %s\n", hint)
	}
	e.layers(w)
	for i := range w.Processes {
		e.process(&w.Processes[i])
	}
}

// changes says which version of a package runs, and what was fixed since.
func (e *evidence) changes(p *sensor.Package) {
	loaded := p.Loaded.Version
	if loaded == "" {
		loaded = "(version not known)"
	}
	line := p.Name + " " + loaded
	if p.Installed.Version != "" {
		line += " → " + p.Installed.Version
	}
	switch more := unadvised(p); {
	case p.CVEs == nil:
		line += ": CVEs not known"
	case len(more) > 0:
		line += ": " + strings.Join(more, " ")
	}
	e.printf("  package %s\n", line)
	for i := range p.Vulnerabilities {
		e.printf("          %s\n", vulnerabilityText(&p.Vulnerabilities[i]))
	}
}

func (e *evidence) process(p *sensor.ExplainedProcess) {
	e.printf("\n  %s %s", styled{bold, fmt.Sprintf("PID %d", p.PID)}, p.Comm)
	if !p.StartTime.IsZero() {
		e.printf(", started %s", e.moment(p.StartTime))
	}
	if p.Exe != "" {
		e.printf(": %s", p.Exe)
	}
	e.printf("\n")
	loads := slices.Clone(p.Loads)
	slices.SortStableFunc(loads, func(a, b sensor.ExplainedLoad) int {
		return cmp.Compare(severity(a.State), severity(b.State))
	})
	fine := map[sensor.State]int{}
	for i := range loads {
		if l := &loads[i]; !e.all && (l.State == sensor.Effective || l.State == sensor.Ignored) {
			fine[l.State]++
			continue
		}
		e.load(&loads[i])
	}
	if n := fine[sensor.Effective]; n > 0 {
		e.printf("    %s what is installed (--all shows them)\n", count(n, "loaded file is", "loaded files are"))
	}
	if n := fine[sensor.Ignored]; n > 0 {
		e.printf("    %s temporary and of no package, ignored (--all shows them)\n", count(n, "loaded file is", "loaded files are"))
	}
	if len(p.Loads) == 0 {
		e.printf("    nothing could be read of what it has loaded\n")
	}
}

func (e *evidence) load(l *sensor.ExplainedLoad) {
	e.printf("    %s %s: %s", styled{stateStyle(l.State), string(l.State)}, l.Path, string(l.Reason))
	if l.Certainty != "" {
		e.printf(", %s", string(l.Certainty))
	}
	e.printf("\n")
	e.fact("rule", l.Rule)
	if as := slices.DeleteFunc(slices.Clone(l.LoadedAs), func(s string) bool { return s == l.Path }); len(as) > 0 {
		e.fact("loaded as", strings.Join(as, ", "))
	}
	if l.LoadedVersion != "" {
		e.fact("version", l.LoadedVersion+" ("+string(l.Evidence)+")")
	} else if l.Owner != "" {
		e.fact("version", "not known which one runs")
	}
	if l.Owner != "" {
		e.fact("owner", l.Owner)
	} else {
		e.fact("owner", "no package known")
	}
	modules := l.Modules
	if more := len(modules) - maxShown; more > 0 && !e.all {
		modules = append(slices.Clone(modules[:maxShown]), fmt.Sprintf("and %d more (--all shows them)", more))
	}
	e.fact("built of", strings.Join(modules, ", "))
	e.file("mapped", &l.Mapped, l.Path)
	if l.OnDisk == nil {
		e.fact("on disk", "nothing that could be compared")
	} else {
		e.file("on disk", l.OnDisk, l.Path)
	}
	for _, step := range l.Steps {
		e.printf("        - %s\n", step)
	}
}

func (e *evidence) fact(label, text string) {
	if text != "" {
		e.printf("      %s %s\n", styled{dim, fmt.Sprintf("%-9s", label)}, text)
	}
}

// file prints what was seen of a file; its path only where it is not judged.
func (e *evidence) file(label string, f *sensor.FileFacts, judged string) {
	var parts []string
	if f.Path != "" && f.Path != judged {
		parts = append(parts, f.Path)
	}
	if f.Deleted {
		parts = append(parts, "no name left")
	}
	if f.Identity != "" {
		parts = append(parts, "inode "+f.Identity)
	}
	if f.BuildID != "" {
		parts = append(parts, "build ID "+f.BuildID)
	}
	if f.SHA256 != "" {
		parts = append(parts, "SHA-256 "+f.SHA256)
	}
	if f.Size > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", f.Size))
	}
	for _, t := range []struct {
		what string
		at   *time.Time
	}{{"changed", f.Changed}, {"modified", f.Modified}, {"born", f.Born}} {
		if t.at != nil {
			parts = append(parts, t.what+" "+e.moment(*t.at))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing could be read"}
	}
	e.fact(label, strings.Join(parts, ", "))
}

// moment keeps the fraction: change times are compared to the nanosecond.
func (e *evidence) moment(t time.Time) string {
	return t.In(e.zone).Format("2006-01-02 15:04:05.999999999")
}
