package probe

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/perf"
	"github.com/patchsensor/patchsensor/internal/trace"
)

func newSideband(rate int) *sideband {
	files := newInterner()
	return &sideband{marks: newMarks(nil, 100), files: &files, pace: newPacer(rate)}
}

// line is an event in short.
func line(e trace.Event) string {
	name := map[trace.Kind]string{trace.Fork: "fork", trace.Exec: "exec", trace.Map: "map", trace.Exit: "exit",
		trace.Dirty: "dirty", trace.Image: "image", syncing: "sync"}[e.Kind]
	return fmt.Sprintf("%d %s %d image=%d %s", e.At, name, e.PID, e.Image, e.Name)
}

func TestMerge(t *testing.T) {
	event := func(at int, kind trace.Kind, pid, image int) trace.Event {
		return trace.Event{Kind: kind, At: time.Duration(at), PID: pid, Image: uint32(image)}
	}
	record := func(at, pid int, name string) perf.Record {
		return perf.Record{Kind: perf.Map, Time: time.Duration(at), PID: pid, Ino: 1, Dev: 2, Name: name}
	}
	tests := []struct {
		name    string
		events  []trace.Event
		records []perf.Record
		want    []string
	}{
		{"nothing", nil, nil, nil},
		{"events alone", []trace.Event{event(1, trace.Fork, 5, 3), event(2, trace.Exit, 5, 3)}, nil,
			[]string{"1 fork 5 image=3 ", "2 exit 5 image=3 "}},
		{"records alone", nil, []perf.Record{record(1, 5, "a"), record(2, 6, "b")}, []string{"1 map 5 image=0 a", "2 map 6 image=0 b"}},
		{"an execve", []trace.Event{event(2, trace.Image, 5, 4), event(6, trace.Exec, 5, 4), event(9, trace.Exit, 5, 4)},
			[]perf.Record{record(1, 5, "old"), record(3, 5, "program"), record(4, 6, "other"), record(5, 5, "ld.so"), record(7, 5, "libc")},
			[]string{"1 map 5 image=0 old", "2 image 5 image=4 ", "3 map 5 image=0 program", "4 map 6 image=0 other", "5 map 5 image=0 ld.so",
				"6 exec 5 image=4 ", "7 map 5 image=0 libc", "9 exit 5 image=4 "}},
		{"an execve that fails late", []trace.Event{event(1, trace.Image, 5, 4), event(3, trace.Exit, 5, 4)},
			[]perf.Record{record(2, 5, "program"), record(4, 5, "heir")},
			[]string{"1 image 5 image=4 ", "2 map 5 image=0 program", "3 exit 5 image=4 ", "4 map 5 image=0 heir"}},
		{"at the same time", []trace.Event{event(2, trace.Image, 5, 4)}, []perf.Record{record(2, 5, "program")},
			[]string{"2 image 5 image=4 ", "2 map 5 image=0 program"}},
		{"not told which", nil, []perf.Record{{Kind: perf.Map, Time: 1, PID: 5}}, []string{"1 dirty 5 image=0 "}},
		{"other records", nil, []perf.Record{{Kind: perf.Lost, Time: 1, Lost: 7}, {Kind: perf.Exit, Time: 2, PID: 5}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// However it is cut in two, the result is the same.
			for cut := range 10 {
				b := newSideband(100)
				var got []string
				var all []trace.Event
				at := time.Duration(cut)
				i := slices.IndexFunc(append(slices.Clone(test.events), trace.Event{At: 99}), func(e trace.Event) bool { return e.At > at })
				j := slices.IndexFunc(append(slices.Clone(test.records), perf.Record{Time: 99}), func(r perf.Record) bool { return r.Time > at })
				all = b.merge(all, test.events[:i], test.records[:j])
				all = b.merge(all, test.events[i:], test.records[j:])
				for _, e := range all {
					got = append(got, line(e))
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("cut at %d:\ngot  %q\nwant %q", cut, got, test.want)
				}
			}
		})
	}
}

// TestMergeMarks holds that every record marks its process, told or not, until that
// ends.
func TestMergeMarks(t *testing.T) {
	b := newSideband(2)
	var records []perf.Record
	for i := range 5 {
		records = append(records, perf.Record{Kind: perf.Map, Time: time.Duration(i), PID: 5, Ino: 1, Name: "a"})
	}
	records = append(records, perf.Record{Kind: perf.Map, Time: 5, PID: 6, Ino: 1, Name: "a"})
	got := b.merge(nil, nil, records)
	if len(got) != 3 || b.limited.Load() != 3 || len(b.marks.own) != 2 {
		t.Errorf("%d told, %d limited, marks %v", len(got), b.limited.Load(), b.marks.own)
	}
	if got[0].File != got[2].File || got[0].File.Path != "a" {
		t.Errorf("files %p and %p", got[0].File, got[2].File)
	}
	b.merge(nil, []trace.Event{{Kind: trace.Exit, At: 9, PID: 5}}, nil)
	if _, ok := b.marks.own[6]; len(b.marks.own) != 1 || !ok {
		t.Errorf("marks %v", b.marks.own)
	}
}

func TestPacer(t *testing.T) {
	p := newPacer(3)
	at := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	// Seconds, and how many of ten records are told then.
	for _, step := range []struct {
		at   float64
		told int
	}{
		{1, 3}, {1.5, 0}, {1.9, 0}, // one second's pause
		{2.1, 3}, {3.5, 0}, {4.0, 0}, // two
		{4.2, 3}, {8.1, 0}, // four
		{8.3, 3}, {16.2, 0},
		{16.4, 3}, {32.3, 0},
		{32.5, 3}, {64.4, 0}, // 32 s
		{64.6, 3}, {96.5, 0}, // and no longer
		{200, 3}, {200.9, 0}, {201.1, 3}, // it begins anew after a quiet time
	} {
		told := 0
		for range 10 {
			if !p.limits(5, at(step.at)) {
				told++
			}
		}
		if told != step.told {
			t.Errorf("at %v s: %d told; want %d", step.at, told, step.told)
		}
		if p.limits(6, at(step.at)) {
			t.Errorf("at %v s: another process is limited", step.at)
		}
	}
	for pid := range 1000 {
		p.limits(pid, at(300))
	}
	p.limits(1, at(400))
	if len(p.counts) > 1 || len(p.pauses) > 1 {
		t.Errorf("%d counts and %d pauses are kept", len(p.counts), len(p.pauses))
	}
}

// TestRecent holds that what is asked for stays one, and that memory is bounded.
func TestRecent(t *testing.T) {
	i := newInterner()
	first := i.name([]byte("kept"))
	for n := range 5 * internedNames {
		i.name(fmt.Append(nil, n))
		if got := i.name([]byte("kept")); got != first {
			t.Fatal(got)
		}
	}
	if n := len(i.names.young) + len(i.names.old); n > 2*internedNames {
		t.Errorf("%d names", n)
	}
}
