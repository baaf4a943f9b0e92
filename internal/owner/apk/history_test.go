package apk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
)

func describeChanges(changes []owner.Change) []string {
	var out []string
	for _, c := range changes {
		end := "-"
		if !c.End.IsZero() {
			end = c.End.UTC().Format(time.DateTime)
		}
		out = append(out, strings.Join([]string{c.Name, c.Arch, c.From, "->", c.To, c.Begin.UTC().Format(time.DateTime), end}, " "))
	}
	return out
}

func TestHistory(t *testing.T) {
	d := fixture(t, "alpine-3.23")
	got, err := d.History()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"musl aarch64 1.2.5-r9 -> 1.2.5-r10 2026-01-02 10:00:00 2026-01-02 10:20:01",
		"libcrypto3 aarch64 3.5.2-r0 -> 3.5.0-r0 2026-01-02 10:00:00 2026-01-02 10:20:01",
		"third-party aarch64  -> 2.0.0-r0 2026-01-02 10:00:00 2026-01-02 10:20:01",
		"old-library  0.9-r0 ->  2026-01-02 10:00:00 2026-01-02 10:20:01",
		"same-version  1.0-r0 -> 1.0-r0 2026-01-02 10:00:00 2026-01-02 10:20:01",
		"third-party aarch64 2.0.0-r0 -> 2.0.0-r0 2026-01-02 10:20:00 2026-01-02 11:20:00",
		"libcrypto3 aarch64 3.5.0-r0 -> 3.5.1-r0 2026-01-03 10:00:00 -",
		"third-party aarch64 2.0.0-r0 -> 2.0.0-r1 2026-01-03 10:00:00 -",
	}
	if have := describeChanges(got); !slices.Equal(have, want) {
		t.Errorf("history\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	started := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	if v, ok := owner.LoadedVersion(got, "libcrypto3", "aarch64", "3.5.1-r0", started, time.Date(2026, 1, 3, 10, 0, 2, 0, time.UTC)); v != "3.5.0-r0" || !ok {
		t.Errorf("loaded version %q, %v", v, ok)
	}
	noProblems(t, d)
}

// TestLastRun: the last run ended before the database was written.
func TestLastRun(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, places[0], "P:a\nV:2\nA:x86\n\n")
	write(t, dir, logName, "\nRunning `apk upgrade` at 2026-01-02 10:00:00\n(1/1) Upgrading a (1 -> 2)\nOK: 1 MiB in 1 packages\n")
	written := time.Date(2026, 1, 2, 10, 0, 7, 5e8, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, places[0]), written, written); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, dir).History()
	if want := []string{"a x86 1 -> 2 2026-01-02 10:00:00 2026-01-02 10:00:08"}; err != nil || !slices.Equal(describeChanges(got), want) {
		t.Errorf("%q, %v", describeChanges(got), err)
	}
}

func TestLogDamage(t *testing.T) {
	const sound = "\nRunning `apk add b` at 2026-01-02 10:00:00\n(1/1) Installing b (1)\nOK: 1 MiB in 1 packages\n"
	tests := []struct {
		name, log string
		offset    int // -1: nothing is told
	}{
		{"rotated within a run", "(3/3) Installing a (1)\nOK: 1 MiB in 1 packages\n", -1},
		{"no time", "Running `apk add a` at noon\n(1/1) Installing a (1)\nOK: 1 MiB\n", 0},
		{"no such day", "\nRunning `apk add a` at 2026-02-30 10:00:00\n(1/1) Installing a (1)\n", 1},
		{"before apk", "Running `apk add a` at 0001-01-01 00:00:00\n(1/1) Installing a (1)\n", 0},
		{"no changes", "Running `x` at 2026-01-01 10:00:00\n(1/1) Installing a\n(1/1) Installing a ()\n(1/1) Upgrading a (1)\n(1/1) Installing a (1 -> 2)\n(x/1) Installing a (1)\n() \n(1/1) Installing a\x00b (1)\n", -1},
		{"a long line", "Running `apk add " + strings.Repeat("p ", 1<<17) + "` at 2026-01-01 10:00:00\n", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLog("f", strings.NewReader(tt.log+sound), 0, maxLog)
			if want := []string{"b   -> 1 2026-01-02 10:00:00 2026-01-02 11:00:00"}; !slices.Equal(describeChanges(got), want) {
				t.Errorf("changes %q", describeChanges(got))
			}
			var oe *owner.Error
			if tt.offset < 0 != (err == nil) || err != nil && (!errors.As(err, &oe) || oe.Offset != int64(tt.offset) || oe.File != "/f") {
				t.Errorf("error %v, want one at %d", err, tt.offset)
			}
		})
	}
	// What is being written is not looked at, and what is too long is cut.
	for n := range len(sound) {
		if got, err := parseLog("f", strings.NewReader(sound[:n]), 0, maxLog); err != nil || len(got) > 1 {
			t.Errorf("cut at %d: %v, %v", n, got, err)
		}
	}
	if _, err := parseLog("f", strings.NewReader(sound), 0, 10); err == nil {
		t.Error("a log beyond the limit")
	}
}

// TestLongLog: of a log that is too long the end is read.
func TestLongLog(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, places[0], "P:a\nV:2\nA:x86\n\n")
	write(t, dir, logName, "")
	f, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const end = "\nRunning `apk upgrade` at 2026-01-02 10:00:00\n(1/1) Upgrading a (1 -> 2)\n"
	if _, err := f.WriteAt([]byte(end), maxLog*2); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	if got, err := d.History(); err != nil || len(got) != 1 || got[0].To != "2" {
		t.Errorf("%v, %v", got, err)
	}
	noProblems(t, d)
}
