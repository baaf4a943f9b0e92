package main

import (
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchsensor/patchsensor/sensor"
)

// runFlags are the flags of "sensor run".
type runFlags struct {
	lookFlags
	socket      typed[string]
	socketMode  typed[fs.FileMode]
	socketGroup typed[string]
	stateDir    typed[string]
	tier        choice
	ring        typed[int]
	sweep       typed[time.Duration]
	settled     typed[time.Duration]
	retention   typed[time.Duration]
	sentinel    typed[string]
	metrics     typed[string]
	// keep is for looking at a daemon with a debugger.
	keep bool
}

// runOptions are what "sensor run" was asked.
type runOptions struct {
	socket      string
	socketMode  fs.FileMode
	socketGroup string
	metrics     string
	keep        bool
	// dumps is the directory that the index of advisories is made from, "" for none.
	dumps string
	run   sensor.Options
}

var tiers = []string{"auto", "lsm", "fentry", "kprobe", "perf", "syscall", "exec", "poll"}

func (a *app) runCommand() *cobra.Command {
	format := choice{"text", logFormats}
	var given runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Follow what runs, and answer at once",
		Long: `run follows every process and every package database until it is told to end. It
knows which version of a package each file was when it was loaded, sees code that runs
only for a moment, tells the moment at which code goes stale and the moment at which a
restart has made the patch effective, and answers "sensor stale", "explain", "doctor",
"status" and "watch" at once on a unix socket. It changes nothing and runs nothing.

run stays in the foreground and logs to standard error. It starts in this order: take
the lock in --state-dir, so that there is one at a time; make the socket; open the
store; attach to the kernel; give up every privilege that reading does not take; look
at all that runs; be ready. What happened while it did not run is kept as a gap.

Tiers (--tier), by which it learns that a process maps code, best first; auto takes the
first that works, "sensor status" says why not a better one:
  lsm, fentry, kprobe   a BPF program where the kernel checks each mapping
  perf                  the kernel's perf side-band
  syscall               a tracepoint of mmap, which slows every system call a little;
                        auto never takes it
  exec                  only that programs start and end; the rest by --sweep
  poll                  nothing but --sweep
Whatever the tier, what was missed is found at the next look, and said.

Signals:
  SIGHUP            read the configuration again, import advisories that have changed,
                    and look at everything anew; sweep takes effect at once, of other
                    keys the log says that they wait
  SIGTERM, SIGINT   end; a second one ends at once

Under systemd, run tells when it is ready and serves the watchdog (Type=notify or
notify-reload). The log is at level info unless --log-level says otherwise.

Containers are named, and compared with what their images are now, as the runtimes tell
that listen where Docker, Podman, containerd, k3s and CRI-O usually do; --runtime-socket
names other ones, or none. They are only asked, and need not be believed.

If --advisories is a directory, the dumps in it are imported into advisories.db in
--state-dir, at the start and on SIGHUP, while all else goes on: the user that run runs
as, or its CAP_DAC_READ_SEARCH, must be able to read them. A file is used as it is, and
a newer one in its place at the next look.

Times are written 300ms, 90s, 12h or 30d. Each flag but --log-format is also a key of
the configuration file, with "_" for "-"; runtime_sockets there is a list.

Exit codes: 0 it was told to end, 2 usage, 3 it could not go on.`,
		Example: `  sensor run
  sensor run --socket /run/sensor/sensor.sock --socket-group adm
  sensor run --metrics 127.0.0.1:9911 --sweep 1h
  sensor run --tier perf --log-level debug
  sensor run --runtime-socket /run/docker.sock --runtime-socket cri:/run/other/cri.sock
  sensor run --advisories /srv/advisories
  systemctl enable --now sensor`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The configuration is read again while the daemon runs.
			read := func() (runOptions, error) {
				c, err := loadConfig(a.config)
				if err != nil {
					return runOptions{}, err
				}
				return given.settle(cmd.Flags(), c)
			}
			opts, err := read()
			if err != nil {
				return err
			}
			if opts.run.Log, err = a.daemonLogger(format.value, cmd.Flags().Changed("log-level")); err != nil {
				return err
			}
			return runDaemon(cmd.Context(), a.scanner, opts, read)
		},
	}
	given.add(cmd)
	format.add(cmd, cmd.Flags(), "log-format", "", "form of the log")
	return cmd
}

func (f *runFlags) add(cmd *cobra.Command) {
	f.lookFlags.add(cmd, sources, "how mappings are read")
	addAdvisories(cmd, &f.advisories)
	addSocket(cmd, &f.socket, "unix socket on which to answer")
	f.socketMode = typed[fs.FileMode]{0o660, "0660", parseMode, "MODE"}
	f.socketGroup = typed[string]{"", "", parseGroup, "GROUP"}
	f.stateDir = typed[string]{defaultStateDir, defaultStateDir, parseAbsolute, "DIR"}
	f.tier = choice{"auto", tiers}
	f.ring = typed[int]{0, "0", parseRing, "BYTES"}
	f.sweep = typed[time.Duration]{5 * time.Minute, "5m", parseSweep, "TIME"}
	f.settled = typed[time.Duration]{300 * time.Millisecond, "300ms", parseSpan, "TIME"}
	f.retention = typed[time.Duration]{90 * 24 * time.Hour, "90d", parseSpan, "TIME"}
	f.sentinel = typed[string]{"", "", parseSentinel, "DIR"}
	f.metrics = typed[string]{"", "", parseAddress, "HOST:PORT"}
	flags := cmd.Flags()
	flags.Var(&f.socketMode, "socket-mode", "permissions of the socket, in octal")
	flags.Var(&f.socketGroup, "socket-group", "group that may ask, by name or number (default none: only root)")
	flags.Var(&f.stateDir, "state-dir", "where the store is kept")
	f.tier.add(cmd, flags, "tier", "", "by what it learns that code is mapped")
	flags.Var(&f.ring, "ring-bytes", "size of each of the kernel's buffers of events, a power of two; 0 leaves it open")
	flags.Var(&f.sweep, "sweep", "how often all is judged although nothing was told of a change, or off")
	flags.Var(&f.settled, "settle", "how long a package database has to be quiet before it is read")
	flags.Var(&f.retention, "retention", "how long events, patches and closed exposures are kept")
	flags.Var(&f.sentinel, "reboot-sentinel", "keep reboot-required in this directory as long as a reboot is needed (default none)")
	flags.Var(&f.metrics, "metrics", "also serve Prometheus metrics at http://HOST:PORT/metrics (default none)")
	flags.BoolVar(&f.keep, "keep-privileges", false, "give up no privilege, for debugging")
	_ = flags.MarkHidden("keep-privileges")
	_ = cmd.MarkFlagDirname("state-dir")
}

// settle returns what flags and configuration say together. It works on a copy, so
// that it can be asked again with another configuration.
func (f runFlags) settle(flags *pflag.FlagSet, c *config) (runOptions, error) {
	c = c.looking()
	if err := f.lookFlags.settle(flags, c); err != nil {
		return runOptions{}, err
	}
	take(flags, "tier", &f.tier.value, c.Tier)
	for _, k := range []struct {
		flag  string
		typed interface {
			take(*pflag.FlagSet, string, entry) error
		}
		from entry
	}{
		{"socket", &f.socket, c.Socket},
		{"socket-mode", &f.socketMode, c.SocketMode},
		{"socket-group", &f.socketGroup, c.SocketGroup},
		{"state-dir", &f.stateDir, c.StateDir},
		{"ring-bytes", &f.ring, c.RingBytes},
		{"sweep", &f.sweep, c.Sweep},
		{"settle", &f.settled, c.Settle},
		{"retention", &f.retention, c.Retention},
		{"reboot-sentinel", &f.sentinel, c.RebootSentinel},
		{"metrics", &f.metrics, c.Metrics},
	} {
		if err := k.typed.take(flags, k.flag, k.from); err != nil {
			return runOptions{}, err
		}
	}
	o := runOptions{
		socket: f.socket.value, socketMode: f.socketMode.value, socketGroup: f.socketGroup.value,
		metrics: f.metrics.value, keep: f.keep, run: f.options(),
	}
	o.run.Advisories, o.dumps = advice{f.advisories.value, f.stateDir.value}.place()
	o.run.Live = sensor.LiveOptions{
		StateDir: f.stateDir.value, Tier: f.tier.value, RingBytes: f.ring.value,
		Sweep: f.sweep.value, Settle: f.settled.value, Retention: f.retention.value,
		SentinelDir: f.sentinel.value,
	}
	return o, nil
}

// waiting names the keys whose values differ and that take effect only when the
// sensor starts.
func (o *runOptions) waiting(anew *runOptions) []string {
	var keys []string
	for _, k := range []struct {
		key  string
		same bool
	}{
		{"root", o.run.Root == anew.run.Root},
		{"proc", o.run.Proc == anew.run.Proc},
		{"sys", o.run.Sys == anew.run.Sys},
		{"reboot_percent", o.run.RebootAbove == anew.run.RebootAbove},
		{"reboot_sentinel", o.run.Live.SentinelDir == anew.run.Live.SentinelDir},
		{"source", o.run.Source == anew.run.Source},
		{"runtime_sockets", slices.Equal(o.run.Runtimes, anew.run.Runtimes)},
		{"advisories", o.run.Advisories == anew.run.Advisories},
		{"socket", o.socket == anew.socket},
		{"socket_mode", o.socketMode == anew.socketMode},
		{"socket_group", o.socketGroup == anew.socketGroup},
		{"state_dir", o.run.Live.StateDir == anew.run.Live.StateDir},
		{"tier", o.run.Live.Tier == anew.run.Live.Tier},
		{"ring_bytes", o.run.Live.RingBytes == anew.run.Live.RingBytes},
		{"settle", o.run.Live.Settle == anew.run.Live.Settle},
		{"retention", o.run.Live.Retention == anew.run.Live.Retention},
		{"metrics", o.metrics == anew.metrics},
	} {
		if !k.same {
			keys = append(keys, k.key)
		}
	}
	return keys
}
