package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchsensor/patchsensor/sensor"
)

func TestParseSpan(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 30 * day, "1d12h": 36 * time.Hour, "2d1.5s": 2*day + 1500*time.Millisecond,
		"36500d": 36500 * day, "1ns": 1,
		"": 0, "0": 0, "0d": 0, "0s": 0, "d": 0, "5": 0, "-1s": 0, "-1d": 0, "1d-1s": 0, "1.5d": 0, "1h1d": 0, "1dd": 0, "1d1d": 0,
		"36501d": 0, "99999999999999999999d": 0, "9999999h": 0, "1w": 0, " 1s": 0, "1d ": 0, "+1d": 0,
	} {
		got, err := parseSpan(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("parseSpan(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func FuzzParseSpan(f *testing.F) {
	for _, s := range []string{"90s", "1d12h", "off", "36500d2562047h", "1d-1h", "0.1ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseSpan(s)
		if (err == nil) != (d > 0) {
			t.Fatalf("%q: %v, %v", s, d, err)
		}
		if err == nil {
			if again, err := parseSpan(d.String()); err != nil || again != d {
				t.Fatalf("%q is %v, which reads as %v, %v", s, d, again, err)
			}
			if sweep, err := parseSweep(s); err != nil || sweep != d {
				t.Fatalf("a sweep of %q is %v, %v", s, sweep, err)
			}
		}
	})
}

func TestParseSettings(t *testing.T) {
	for _, c := range []struct {
		name      string
		takes     func(string) error
		good, bad []string
	}{
		{"socket", takes(parseSocket), []string{"/run/s", "/" + strings.Repeat("x", 102)}, []string{"", "s", "@s", "/a\x00b", "/" + strings.Repeat("x", 103)}},
		{"mode", takes(parseMode), []string{"0660", "600", "0666", "0640"}, []string{"", "0400", "0661", "777", "1660", "0x1b0", "-1", "rw-rw----"}},
		{"group", takes(parseGroup), []string{"", "adm", "1000", "domain-admins"}, []string{"a:b", "a b", "a\n", "/a"}},
		{"ring", takes(parseRing), []string{"0", "4096", "1073741824"}, []string{"", "1", "2048", "4097", "12288", "2147483648", "-4096", "4k", "0x1000"}},
		{"runtime", takes(parseRuntime), []string{"none", "/run/docker.sock", "docker:/s", "containerd:/run/c.sock", "cri:/run/a:b"},
			[]string{"", "docker", "docker:", "cri:s", "podman:/run/podman.sock", "docker:none", "None", "unix:///run/docker.sock", "/a\x00b"}},
		{"sweep", takes(parseSweep), []string{"off", "1s", "7d"}, []string{"", "never", "0", "-1s", "OFF"}},
		{"address", takes(parseAddress), []string{"", "127.0.0.1:9911", "127.1.2.3:1", "[::1]:80", "[::ffff:127.0.0.1]:80", "localhost:0"},
			[]string{"9911", ":9911", "0.0.0.0:1", "[::]:1", "10.0.0.1:80", "example.org:80", "[::1%lo]:", "localhost", "::1", "a:b", "a:65536", "a:-1", "a:"}},
	} {
		for _, s := range c.good {
			if err := c.takes(s); err != nil {
				t.Errorf("%s %q: %v", c.name, s, err)
			}
		}
		for _, s := range c.bad {
			if c.takes(s) == nil {
				t.Errorf("%s %q was accepted", c.name, s)
			}
		}
	}
}

// What help shows as a default is what stands there without a flag.
func TestRunDefaults(t *testing.T) {
	cmd, flags := &cobra.Command{}, runFlags{}
	flags.add(cmd)
	want, err := flags.settle(cmd.Flags(), &config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"socket", "socket-mode", "socket-group", "state-dir", "tier", "ring-bytes", "sweep", "settle", "retention", "metrics",
		"source", "root", "proc",
	} {
		cmd, flags := &cobra.Command{}, runFlags{}
		flags.add(cmd)
		f := cmd.Flags().Lookup(name)
		if f == nil {
			t.Fatalf("there is no flag --%s", name)
		}
		if err := f.Value.Set(f.DefValue); err != nil {
			t.Errorf("--%s: its default %q is wrong: %v", name, f.DefValue, err)
		}
		got, err := flags.settle(cmd.Flags(), &config{})
		if err != nil || len(want.waiting(&got)) > 0 || got.run.Live.Sweep != want.run.Live.Sweep {
			t.Errorf("--%s: given as its default %q it makes %+v, %v", name, f.DefValue, got, err)
		}
	}
}

// A key that a later configuration does not hold is at its default again, and a
// flag stays what it is.
func TestSettleAgain(t *testing.T) {
	cmd, flags := &cobra.Command{}, runFlags{}
	flags.add(cmd)
	if err := cmd.ParseFlags([]string{"--sweep", "1h"}); err != nil {
		t.Fatal(err)
	}
	first, err := parseConfig(strings.NewReader("sweep: 2h\ntier: perf\nsettle: 1s\nsocket: /s\nsource: maps\nruntime_sockets: [/a, cri:/b]\n"), "f")
	if err != nil {
		t.Fatal(err)
	}
	before, err := flags.settle(cmd.Flags(), first)
	if err != nil || before.run.Live.Sweep != time.Hour || before.run.Live.Tier != "perf" || before.run.Source != sensor.SourceMaps ||
		!slices.Equal(before.run.Runtimes, []string{"/a", "cri:/b"}) {
		t.Fatalf("%+v, %v", before, err)
	}
	after, err := flags.settle(cmd.Flags(), &config{})
	if err != nil || after.run.Live.Sweep != time.Hour || after.socket != sensor.DefaultSocket || len(after.run.Runtimes) > 0 {
		t.Fatalf("%+v, %v", after, err)
	}
	if got := strings.Join(before.waiting(&after), " "); got != "source runtime_sockets socket tier settle" {
		t.Errorf("waiting: %s", got)
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	parse := parseSince(func() time.Time { return now }, time.FixedZone("", 3600))
	for text, want := range map[string]since{
		"0":                         {},
		"17":                        {after: 17},
		"18446744073709551614":      {after: sensor.OnlyNew - 1},
		"90s":                       {time: now.Add(-90 * time.Second)},
		"2d":                        {time: now.Add(-48 * time.Hour)},
		"2026-11-20":                {time: time.Date(2026, 11, 19, 23, 0, 0, 0, time.UTC)},
		"2026-11-20T10:00":          {time: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)},
		"2026-11-20 10:00:01":       {time: time.Date(2026, 11, 20, 9, 0, 1, 0, time.UTC)},
		"2026-11-20T10:00:01.5Z":    {time: time.Date(2026, 11, 20, 10, 0, 1, 5e8, time.UTC)},
		"2026-11-20T10:00:00+05:00": {time: time.Date(2026, 11, 20, 5, 0, 0, 0, time.UTC)},
	} {
		if got, err := parse(text); err != nil || got.after != want.after || !got.time.Equal(want.time) {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "18446744073709551615", "18446744073709551616", "today", "10:00", "2026-13-01", "-5m", "1e3"} {
		if got, err := parse(text); err == nil {
			t.Errorf("%q was taken for %+v", text, got)
		}
	}
}

func TestSpanText(t *testing.T) {
	for seconds, want := range map[float64]string{
		-1: "0.0s", 0: "0.0s", 0.35: "0.3s", 9.94: "9.9s", 10: "10s", 59.9: "59s", 60: "1m0s", 3599: "59m59s", 3600: "1h0m",
		11520: "3h12m", 86399: "23h59m", 86400: "1d0h", 100 * 86400: "100d0h",
	} {
		if got := spanText(seconds); got != want {
			t.Errorf("%v: %s, want %s", seconds, got, want)
		}
	}
}
