package dpkg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
	"github.com/patchsensor/patchsensor/internal/owner/lines"
)

// tzif makes a TZif file (RFC 9636) of which all is in the footer.
func tzif(rule string) string {
	block := func(version byte) string {
		b := append([]byte("TZif"), version)
		b = append(b, make([]byte, 15)...)
		for _, count := range []uint32{0, 0, 0, 0, 1, 4} { // isut, isstd, leap, time, type, char
			b = binary.BigEndian.AppendUint32(b, count)
		}
		return string(b) + "\x00\x00\x00\x00\x00\x00UTC\x00"
	}
	return block('2') + block('2') + "\n" + rule + "\n"
}

const berlin = "CET-1CEST,M3.5.0,M10.5.0/3"

func show(changes []owner.Change) []string {
	var out []string
	for _, c := range changes {
		end := "?"
		if !c.End.IsZero() {
			end = c.End.UTC().Format(time.DateTime)
		}
		out = append(out, fmt.Sprintf("%s:%s %q>%q %s..%s", c.Name, c.Arch, c.From, c.To, c.Begin.UTC().Format(time.DateTime), end))
	}
	return out
}

func TestHistory(t *testing.T) {
	d := fixture(t, "bookworm")
	got, err := d.History()
	if err != nil {
		t.Fatal(err)
	}
	noProblems(t, d)
	want := []string{
		`libssl3:amd64 "">"3.0.18-1~deb12u1" 2026-09-01 08:00:00..2026-09-01 08:00:02`,
		// The replaced files were being removed until the log went on.
		`libssl3:amd64 "3.0.18-1~deb12u1">"3.0.18-1~deb12u2" 2026-10-01 08:00:00..2026-10-01 08:00:06`,
		`old-daemon:amd64 "0.9-1">"" 2026-10-01 08:00:07..2026-10-01 08:00:09`,
		`libssl3:amd64 "3.0.18-1~deb12u2">"3.0.19-1~deb12u2" 2026-11-01 08:00:00..2026-11-01 08:00:01`,
		`libcap2:amd64 "1:2.66-4+deb12u1">"1:2.66-4+deb12u2+b2" 2026-11-01 08:00:00..?`,
	}
	if !slices.Equal(show(got), want) {
		t.Errorf("history:\n%s\nwant:\n%s", strings.Join(show(got), "\n"), strings.Join(want, "\n"))
	}
	at := time.Date(2026, 10, 1, 8, 0, 4, 0, time.UTC)
	if v, ok := owner.LoadedVersion(got, "libssl3", "amd64", "3.0.19-1~deb12u2", at.AddDate(0, 0, -1), at); v != "3.0.18-1~deb12u1" || !ok {
		t.Errorf("loaded version %s, %v", v, ok)
	}
	for _, name := range []string{"distroless", "trixie"} {
		if got, err := fixture(t, name).History(); len(got) != 0 || err != nil {
			t.Errorf("%s: history %v, %v without a log", name, got, err)
		}
	}
}

func TestParseLog(t *testing.T) {
	tests := []struct{ name, log, want, problem string }{
		{"the same version again", `
2026-01-01 10:00:00 upgrade a:amd64 1 1
2026-01-01 10:00:01 status half-configured a:amd64 1
2026-01-01 10:00:01 status unpacked a:amd64 1
2026-01-01 10:00:02 status half-installed a:amd64 1
2026-01-01 10:00:03 status unpacked a:amd64 1
`, `a:amd64 "1">"1" 2026-01-01 10:00:00..2026-01-01 10:00:04`, ""},
		{"undone", `
2026-01-01 10:00:00 upgrade a:amd64 1 2
2026-01-01 10:00:01 status half-configured a:amd64 1
2026-01-01 10:00:01 status unpacked a:amd64 1
2026-01-01 10:00:02 status half-installed a:amd64 1
2026-01-01 10:00:03 status installed a:amd64 1
`, "", ""},
		{"installation undone", `
2026-01-01 10:00:00 install a:amd64 <none> 2
2026-01-01 10:00:02 status half-installed a:amd64 2
2026-01-01 10:00:03 status not-installed a:amd64 <none>
`, "", ""},
		{"second try", `
2026-01-01 10:00:00 upgrade a:amd64 1 2
2026-01-01 10:00:02 status half-installed a:amd64 1
2026-01-01 11:00:00 upgrade a:amd64 1 2
2026-01-01 11:00:01 status unpacked a:amd64 2
`, `a:amd64 "1">"2" 2026-01-01 10:00:00..2026-01-01 11:00:02`, ""},
		{"configuration files had remained", `
2026-01-01 10:00:00 install a:amd64 1 2
2026-01-01 10:00:00 status half-installed a:amd64 1
2026-01-01 10:00:00 status unpacked a:amd64 2
`, `a:amd64 "">"2" 2026-01-01 10:00:00..2026-01-01 10:00:01`, ""},
		{"next run much later", `
2026-01-01 10:00:00 upgrade a:amd64 1 2
2026-01-01 10:00:00 status unpacked a:amd64 2
2026-01-02 10:00:00 startup packages configure
`, `a:amd64 "1">"2" 2026-01-01 10:00:00..2026-01-01 10:00:01`, ""},
		{"purge", `
2026-01-01 10:00:00 remove a:amd64 1 <none>
2026-01-01 10:00:00 status half-installed a:amd64 1
2026-01-01 10:00:01 status config-files a:amd64 1
2026-01-01 10:00:01 purge a:amd64 1 <none>
2026-01-01 10:00:02 status not-installed a:amd64 <none>
`, `a:amd64 "1">"" 2026-01-01 10:00:00..2026-01-01 10:00:02`, ""},
		{"before multi-arch", `
2011-01-01 10:00:00 upgrade a 1 2
2011-01-01 10:00:00 status unpacked a 2
`, `a: "1">"2" 2011-01-01 10:00:00..2011-01-01 10:00:01`, ""},
		{"being written", "2026-01-01 10:00:00 upgrade a:amd64 1 2", "", ""},
		{"garbage", `
nonsense
2026-13-01 10:00:00 upgrade a:amd64 1 2
2026-01-01 10:00:00 upgrade a:amd64 1
2026-01-01 10:00:00 upgrade b:amd64 1 2
`, `b:amd64 "1">"2" 2026-01-01 10:00:00..?`, "/var/log/dpkg.log: offset 0: not a line"},
		{"long line", "2026-01-01 10:00:00 " + strings.Repeat("x", 3*lines.Max) + "\n2026-01-01 10:00:00 upgrade b:amd64 1 2\n",
			`b:amd64 "1">"2" 2026-01-01 10:00:00..?`, "/var/log/dpkg.log: offset 0: not a line"},
		{"too large", "2026-01-01 10:00:00 upgrade b:amd64 1 2\n" + strings.Repeat("2026-01-01 10:00:00 startup archives unpack\n", 1<<14),
			`b:amd64 "1">"2" 2026-01-01 10:00:00..?`, "larger than allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, size, err := parseLog("var/log/dpkg.log", strings.NewReader(strings.TrimPrefix(tt.log, "\n")), clock.Clock{Zone: time.UTC}, 1<<18)
			if s := strings.Join(show(got), "\n"); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
			if (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("error %v, want %q", err, tt.problem)
			}
			if size > 1<<18+lines.Max {
				t.Errorf("read %d bytes", size)
			}
		})
	}
}

func TestClock(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "usr/share/zoneinfo/Europe/Berlin", tzif(berlin))
	link(t, dir, "etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")
	c, err := clock.Read(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ stamp, earliest, latest string }{
		{"2026-01-15 12:00:00", "2026-01-15 11:00:00", "2026-01-15 11:00:00"},
		{"2026-07-15 12:00:00", "2026-07-15 10:00:00", "2026-07-15 10:00:00"},
		{"2026-10-25 01:59:59", "2026-10-24 23:59:59", "2026-10-24 23:59:59"},
		{"2026-10-25 02:30:00", "2026-10-25 00:30:00", "2026-10-25 01:30:00"}, // twice
		{"2026-10-25 03:00:00", "2026-10-25 02:00:00", "2026-10-25 02:00:00"},
		{"2026-03-29 01:59:59", "2026-03-29 00:59:59", "2026-03-29 00:59:59"},
		{"2026-03-29 02:30:00", "2026-03-29 00:30:00", "2026-03-29 01:30:00"}, // never
		{"2026-03-29 03:00:00", "2026-03-29 01:00:00", "2026-03-29 01:00:00"},
	}
	for _, tt := range tests {
		a, b, ok := c.Stamp([]byte(tt.stamp))
		if !ok || a.Format(time.DateTime) != tt.earliest || b.Format(time.DateTime) != tt.latest {
			t.Errorf("%s is %v to %v, want %s to %s", tt.stamp, a, b, tt.earliest, tt.latest)
		}
	}

	dir = t.TempDir()
	write(t, dir, "etc/localtime", "not a zone")
	if c, err := clock.Read(openRoot(t, dir)); err == nil || c.Zone != time.UTC {
		t.Errorf("damaged zone: %v, %v", c.Zone, err)
	}
	link(t, dir, "etc/none/localtime", "/usr/share/zoneinfo/Europe/Berlin")
	if c, err := clock.Read(openRoot(t, dir+"/etc/none")); err != nil || c.Zone != time.UTC {
		t.Errorf("no zone: %v, %v", c.Zone, err)
	}
}

func TestOrderLogs(t *testing.T) {
	got := orderLogs([]string{"alternatives.log", "dpkg.log", "dpkg.log-20260101.gz", "dpkg.log-20260201", "dpkg.log.1", "dpkg.log.1.gz",
		"dpkg.log.10.gz", "dpkg.log.2.gz", "dpkg.log.bak", "dpkg.logs", "dpkg.log.3.xz", "dpkg.log.0"})
	want := []string{"dpkg.log", "dpkg.log.1", "dpkg.log.2.gz", "dpkg.log.10.gz", "dpkg.log-20260201", "dpkg.log-20260101.gz"}
	if !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestDamagedLogs(t *testing.T) {
	const upgrade = "2026-01-01 10:00:00 upgrade a:amd64 1 2\n2026-01-01 10:00:00 status unpacked a:amd64 2\n"
	const newer = "2026-02-01 10:00:00 upgrade a:amd64 2 3\n2026-02-01 10:00:00 status unpacked a:amd64 3\n"
	bomb := gzipped(strings.Repeat("2026-01-01 10:00:00 startup archives unpack\n", 1<<20))
	tests := []struct{ name, log, content, problem string }{
		{"not gzip", "dpkg.log.2.gz", upgrade, "/var/log/dpkg.log.2.gz: gzip: invalid header"},
		{"gzip cut off", "dpkg.log.2.gz", gzipped(upgrade)[:60], "/var/log/dpkg.log.2.gz: offset"},
		{"bomb", "dpkg.log.2.gz", bomb, "/var/log/dpkg.log.2.gz: offset 33554"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, admin+"status", "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
			write(t, dir, "var/log/dpkg.log", newer)
			write(t, dir, "var/log/"+tt.log, tt.content)
			d := open(t, dir)
			got, err := d.History()
			if err != nil || len(got) == 0 || got[len(got)-1].To != "3" {
				t.Errorf("history %v, %v", show(got), err)
			}
			if p := d.Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), tt.problem) {
				t.Errorf("problems %v, want %q", p, tt.problem)
			}
		})
	}

	t.Run("bombs", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, admin+"status", "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
		write(t, dir, "var/log/dpkg.log", newer)
		for i := range 8 {
			write(t, dir, fmt.Sprintf("var/log/dpkg.log.%d.gz", i+1), bomb)
		}
		d := open(t, dir)
		got, err := d.History()
		p := d.Problems()
		if len(got) != 1 || err != nil || len(p) == 0 || !errors.Is(p[len(p)-1], errLogsSize) {
			t.Errorf("history %v, %v, problems %v", show(got), err, p)
		}
	})
	t.Run("no log readable", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, admin+"status", "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
		write(t, dir, "var/log/dpkg.log/directory", "")
		if got, err := open(t, dir).History(); err == nil {
			t.Errorf("history %v, want an error", got)
		}
	})
}
