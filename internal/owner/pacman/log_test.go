package pacman

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/owner"
	"github.com/patchsensor/patchsensor/internal/owner/clock"
)

func TestLogDamage(t *testing.T) {
	const sound = "[2026-01-02T10:00:00+0000] [ALPM] upgraded sound (1-1 -> 2-1)\n"
	tests := []struct {
		name, log string
		offset    int // -1: nothing is told
	}{
		{"nothing", "", -1},
		{"what scripts print", "upgraded a (1 -> 2)\n[\n[] \n[x] y\n>>> \x00\n[2026-01-01T10:00:00+0000] [ALPM-SCRIPTLET] upgraded a (1-1 -> 2-1)\n[2026-01-01T10:00:00+0000] [x] installed a (1-1)\n", -1},
		{"no changes", "[2026-01-01T10:00:00+0000] [ALPM] upgraded a (1-1)\n[2026-01-01T10:00:00+0000] [ALPM] installed a (1-1 -> 2-1)\n[2026-01-01T10:00:00+0000] [ALPM] removed a\n[2026-01-01T10:00:00+0000] [ALPM] upgrading a (1 -> 2)\n[2026-01-01T10:00:00+0000] [ALPM] installed a ()\n[2026-01-01T10:00:00+0000] [ALPM] installed a/b (1-1)\n", -1},
		{"no time", "[yesterday] [ALPM] installed a (1-1)\n", 0},
		{"no such day", "x\n[2026-02-30T10:00:00+0000] [ALPM] installed a (1-1)\n", 2},
		{"before pacman", "[0001-01-01 00:00] installed a (1-1)\n", 0},
		{"a time that does not matter", "[yesterday] [ALPM] transaction started\n", -1},
		{"a long line", "[2026-01-01T10:00:00+0000] [PACMAN] Running '" + strings.Repeat("x ", 1<<17) + "'\n", -1},
	}
	utc := clock.Clock{Zone: time.UTC}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLog("f", strings.NewReader(tt.log+sound), utc, 0, maxLog)
			if len(got) != 1 || got[0].Name != "sound" {
				t.Errorf("changes %v", got)
			}
			var oe *owner.Error
			if tt.offset < 0 != (err == nil) || err != nil && (!errors.As(err, &oe) || oe.Offset != int64(tt.offset) || oe.File != "/f") {
				t.Errorf("error %v, want one at %d", err, tt.offset)
			}
		})
	}
	for n := range len(sound) { // what is being written is not looked at
		if got, err := parseLog("f", strings.NewReader(sound[:n]), utc, 0, maxLog); err != nil || len(got) > 0 {
			t.Errorf("cut at %d: %v, %v", n, got, err)
		}
	}
	if _, err := parseLog("f", strings.NewReader(sound), utc, 0, 10); err == nil {
		t.Error("a log beyond the limit")
	}
}

// TestBounds: the files of a package change after what the log had before, and not
// long before its own line.
func TestBounds(t *testing.T) {
	log := "[2026-01-01T10:00:00+0000] [ALPM] installed a (1-1)\n" +
		"[2026-01-02T10:00:00+0000] [ALPM] installed b (1-1)\n" +
		"[2026-01-02T09:00:00+0000] [ALPM] installed c (1-1)\n" // the clock was set back
	got, err := parseLog("f", strings.NewReader(log), clock.Clock{Zone: time.UTC}, 0, maxLog)
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	b, c := got[1], got[2]
	if at := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC); !b.Begin.Equal(at.Add(-maxOperation)) || !b.End.Equal(at.Add(time.Second)) {
		t.Errorf("%+v", b)
	}
	if c.Begin.After(c.End) {
		t.Errorf("%+v", c)
	}
}

// TestLocalTime: of the hour that comes twice, both are meant.
func TestLocalTime(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	m, ok := momentOf(clock.Clock{Zone: zone}, "2015-10-25 02:30")
	if want := time.Date(2015, 10, 25, 0, 30, 0, 0, time.UTC); !ok || !m.earliest.Equal(want) || !m.latest.Equal(want.Add(time.Hour+time.Minute)) {
		t.Errorf("%+v, %v", m, ok)
	}
	m, ok = momentOf(clock.Clock{Zone: zone}, "2015-07-25 02:30")
	if want := time.Date(2015, 7, 25, 0, 30, 0, 0, time.UTC); !ok || !m.earliest.Equal(want) || !m.latest.Equal(want.Add(time.Minute)) {
		t.Errorf("%+v, %v", m, ok)
	}
}
