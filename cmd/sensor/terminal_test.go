package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchsensor/patchsensor/sensor"
)

// pseudoterminal opens a terminal (pts(4)) of the given width; read closes it
// and returns what was written to it.
func pseudoterminal(t *testing.T, width uint16) (tty *os.File, read func() string) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: width}); err != nil {
		t.Fatal(err)
	}
	out := make(chan string)
	go func() {
		// The read ends with EIO when the last writer has gone.
		text, _ := io.ReadAll(control)
		control.Close()
		out <- strings.ReplaceAll(string(text), "\r\n", "\n")
	}()
	return tty, func() string {
		tty.Close()
		return <-out
	}
}

// onTerminal runs a command line with its output on a terminal.
func onTerminal(t *testing.T, width uint16, vars map[string]string, args ...string) string {
	t.Helper()
	tty, read := pseudoterminal(t, width)
	env := scripted(answers{"testdata/answers", "mixed"})
	env.stdout, env.stderr, env.zone = tty, io.Discard, time.UTC
	env.getenv = func(name string) string { return vars[name] }
	code := run(context.Background(), append(args, "--config", os.DevNull), env)
	out := read()
	if code != exitStale {
		t.Errorf("exit code %d, want %d", code, exitStale)
	}
	return out
}

func TestColour(t *testing.T) {
	for _, c := range []struct {
		vars map[string]string
		args []string
		want bool
	}{
		{nil, nil, true},
		{map[string]string{"NO_COLOR": "1"}, nil, false},
		{map[string]string{"TERM": "dumb"}, nil, false},
		{nil, []string{"--no-color"}, false},
		{nil, []string{"--color=never"}, false},
		{nil, []string{"--color=always", "--no-color"}, false},
		{map[string]string{"NO_COLOR": "1"}, []string{"--color=always"}, true},
		{nil, []string{"-o", "json"}, false},
		{nil, []string{"-o", "names"}, false},
	} {
		out := onTerminal(t, 200, c.vars, append([]string{"stale"}, c.args...)...)
		if got := strings.Contains(out, "\x1b["); got != c.want {
			t.Errorf("%v %v: coloured %v, want %v", c.vars, c.args, got, c.want)
		}
	}
}

// The table takes the width that is there.
func TestTerminalWidth(t *testing.T) {
	want := `STATE    WORKLOAD        REASON       PACKAGE                      CVES  SINCE
missing  backup.service  missing      libfoo2 → nothing            ?     ?
stale    dbus.service    replaced     libexpat1 → 2.5.0-1+deb12u5  ?     51d
stale    nginx.service   replaced     libssl3 → 3.0.22-1~deb12u1   3     9d
                                      libexpat1 → 2.5.0-1+deb12u5  1
stale    shop            replaced     libssl3 → 3.0.22-1~deb12u1   3     30min
stale    server          overwritten  /opt/app/server              ?     ?
`
	out := onTerminal(t, 80, nil, "stale", "--no-color")
	if got, _, _ := strings.Cut(out, "\n\n"); got+"\n" != want {
		t.Errorf("80 columns:\n%s\nwant\n%s", got, want)
	}
	for _, width := range []uint16{60, 80, 100, 120, 160, 300} {
		out := onTerminal(t, width, nil, "stale", "--no-color")
		table, _, _ := strings.Cut(out, "\n\n")
		for line := range strings.Lines(table) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > int(width) {
				t.Errorf("%d columns: a line of %d: %q", width, n, line)
			}
		}
	}
}

// With many packages and warnings, a terminal gets the first few and the
// number of the rest.
func TestTerminalBrief(t *testing.T) {
	r := &sensor.Report{Complete: true, Summary: sensor.Summary{Processes: 1, Workloads: 1, Stale: 1}}
	x := sensor.Finding{State: sensor.Stale, Workload: sensor.Workload{Name: "x"}}
	for i := range 9 {
		x.Packages = append(x.Packages, sensor.Package{Name: fmt.Sprintf("package-%d", i)})
		r.Warnings = append(r.Warnings, sensor.Warning{Subject: fmt.Sprintf("file-%d", i), Message: "bad"})
	}
	r.Findings = []sensor.Finding{x}
	r.Warnings = append(r.Warnings, sensor.Warning{Subject: "exclude", Message: "left out"})
	for width, want := range map[int]bool{100: false, 0: true} {
		var b strings.Builder
		s := &screen{newPrinter(&b, false), width}
		(&view{Report: r, zone: time.UTC}).write(s)
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		for _, last := range []string{"package-8", "file-8"} {
			if got := strings.Contains(b.String(), last); got != want {
				t.Errorf("width %d: %s shown %v, want %v", width, last, got, want)
			}
		}
		for _, more := range []string{"and 5 more (-o wide)", "and 4 more (-o wide)"} {
			if got := strings.Contains(b.String(), more); got == want {
				t.Errorf("width %d: %q said %v", width, more, got)
			}
		}
		if !strings.Contains(b.String(), "exclude: left out") {
			t.Errorf("width %d: what was excluded is not said", width)
		}
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	now := time.Unix(1000, 0)
	p := &progress{w: &b, now: func() time.Time { return now }, due: now.Add(progressAfter)}
	show := p.report()

	now = now.Add(progressAfter - 1)
	show(1, 10, "early")
	p.clear()
	if b.String() != "" {
		t.Errorf("wrote %q within the first second", b.String())
	}
	now = now.Add(1)
	show(2, 10, "processes\x1b")
	now = now.Add(progressEvery - 1)
	show(3, 10, "too soon")
	now = now.Add(1)
	show(4, 0, strings.Repeat("x", 100))
	p.clear()
	p.clear()
	want := "\r\x1b[Kprocesses\\x1b 2 of 10\r\x1b[K" + strings.Repeat("x", progressWidth-1) + "…\r\x1b[K"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	if (&progress{}).report() != nil {
		t.Error("a scan reports to nobody")
	}
}

func TestProgressNeedsTerminal(t *testing.T) {
	tty, read := pseudoterminal(t, 80)
	defer read()
	env := &environment{stderr: tty, now: time.Now, getenv: func(string) string { return "" }}
	if newProgress(env).report() == nil {
		t.Error("no progress on a terminal")
	}
	env.stderr = io.Discard
	if newProgress(env).report() != nil {
		t.Error("progress where there is no terminal")
	}
}
