package track

import (
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

// A program that makes place for another is told as one that ended is, with what it
// mapped by itself and not with what it was forked with.
func TestRetired(t *testing.T) {
	const second = time.Second
	old, theirs := &snapshot.File{ID: file.LayerID(1, 10)}, &snapshot.File{ID: file.LayerID(1, 11)}
	for _, c := range []struct {
		name   string
		events []trace.Event
		want   int // loads of the program that made place; 0 for no such
	}{
		{"mapped by itself", []trace.Event{
			{Kind: trace.Map, At: 12 * second, PID: 7, File: old, Name: "/lib/old"},
			{Kind: trace.Image, At: 13 * second, PID: 7},
			{Kind: trace.Exec, At: 14 * second, PID: 7, Process: &snapshot.Process{PID: 7, TID: 7, PPID: 6, Start: 11 * second}},
		}, 1},
		{"its parent's", []trace.Event{
			{Kind: trace.Image, At: 13 * second, PID: 7},
			{Kind: trace.Exec, At: 14 * second, PID: 7, Process: &snapshot.Process{PID: 7, TID: 7, PPID: 6, Start: 11 * second}},
		}, 0},
	} {
		s := New(Limits{})
		s.Seed([]snapshot.Process{{PID: 6, TID: 6, PPID: 1, Start: 2 * second}}, 8*second, 9*second)
		s.Apply(trace.Event{Kind: trace.Map, At: 10 * second, PID: 6, File: theirs, Name: "/lib/theirs"})
		s.Apply(trace.Event{Kind: trace.Fork, At: 11 * second, PID: 7, Start: 11 * second,
			Process: &snapshot.Process{PID: 7, TID: 7, PPID: 6, Start: 11 * second, ForkNoExec: true}})
		for _, e := range c.events {
			s.Apply(e)
		}
		ended := s.Ended()
		got := 0
		for _, e := range ended {
			got += len(e.Process.Mappings)
			if e.Process.PID != 7 || e.At != 13*second || e.Process.Mappings[0].File.ID != old.ID || len(e.Names) != 1 || e.Names[0] != "/lib/old" {
				t.Errorf("%s: %+v", c.name, e)
			}
		}
		if got != c.want {
			t.Errorf("%s: %d loads, want %d", c.name, got, c.want)
		}
	}
}
