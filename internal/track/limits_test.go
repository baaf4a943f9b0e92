package track

import (
	"errors"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/snapshot"
	"github.com/patchsensor/patchsensor/internal/trace"
)

func TestLimitProcesses(t *testing.T) {
	s := seeded(Limits{Processes: 8})
	at := base + 10*ms
	for pid := 2; pid <= 10; pid++ {
		s.Apply(forkOf(1, pid, at))
	}
	if c := s.Count(); c.Processes != 8 || c.Evicted != 2 {
		t.Errorf("%+v", c)
	}
	if _, all := s.Dirty(); all {
		t.Error("a full snapshot is wanted although there is no room for it")
	}
	for pid := 2; pid <= 3; pid++ {
		s.Apply(event(trace.Exit, at+ms, pid, at, 1))
	}
	if _, all := s.Dirty(); !all {
		t.Error("there is room, and those left out are not looked for")
	}
}

func TestLimitLoads(t *testing.T) {
	s := seeded(Limits{Loads: 20})
	at := base + 10*ms
	hog := readingOf(2, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	list := []snapshot.Process{readingOf(1, 1, 1, 2), hog, readingOf(3, 3, 1, 2, 3, 4)}
	s.Seed(list, at, at)
	want(t, s, 1, false, 1, 2)
	want(t, s, 3, false, 1, 2, 3, 4)
	p, info, _ := s.Process(2)
	if !errors.Is(p.Err, ErrLimit) || len(p.Mappings) != 0 || !info.Dirty || s.Count().Evicted != 1 {
		t.Errorf("%+v, %+v", p, info)
	}
	want(t, s, 2, true) // 6 of 20: it may be asked for again
	s.Apply(mapOf(at+ms, 3, 3, 1, 5))
	for n := 20; n < 26; n++ {
		s.Apply(mapOf(at+ms, 1, 1, 1, n))
	}
	want(t, s, 2, false) // no room
	// Forks take no room.
	for pid := 10; pid < 100; pid++ {
		s.Apply(forkOf(3, pid, at+2*ms))
	}
	if c := s.Count(); c.Evicted != 1 || c.Loads != 13 {
		t.Errorf("%+v", c)
	}
}

// TestManyMappings holds that a process that maps very much is read instead of told.
func TestManyMappings(t *testing.T) {
	s := seeded(Limits{})
	at := base + 10*ms
	for n := range maxTold + 100 {
		s.Apply(mapOf(at, 1, 1, 1, 100+n))
	}
	if n := len(filesOf(s, 1)); n != maxTold {
		t.Errorf("%d mappings", n)
	}
	// All of them are found again in a list of another order.
	p := readingOf(1, 1, 1, 2)
	for n := maxTold; n >= 0; n-- {
		p.Mappings = append(p.Mappings, snapshot.Mapping{Start: uint64(n+1) << 12, End: uint64(n+2) << 12, File: testFile(100 + n)})
	}
	s.Update([]int{1}, []snapshot.Process{p}, at+settle/2, at+settle)
	got, info, _ := s.Process(1)
	if len(got.Mappings) != maxTold+3 || info.Dirty {
		t.Fatalf("%d mappings, dirty %v", len(got.Mappings), info.Dirty)
	}
}

func TestFiles(t *testing.T) {
	s := seeded(Limits{}, readingOf(2, 2, 1, 2))
	one, _, _ := s.Process(1)
	two, _, _ := s.Process(2)
	if one.Mappings[1].File != two.Mappings[1].File {
		t.Error("one file, two values")
	}
	at := base + 10*ms
	newer := readingOf(2, 2, 1, 2)
	newer.Mappings[1].File.Ctime = 9
	s.Update([]int{2}, []snapshot.Process{newer}, at, at)
	two, _, _ = s.Process(2)
	if one.Mappings[1].File.Ctime != 1 || two.Mappings[1].File.Ctime != 9 {
		t.Error("a file value was changed, or the newer one not taken")
	}
	// Files that nobody has any more are forgotten, and their names.
	for i := range 20 * minFiles {
		start := at + time.Duration(i)
		s.Apply(forkOf(1, 3, start))
		s.Apply(mapOf(start, 3, start, 2, 1000+i))
		s.Apply(event(trace.Exit, start+1, 3, start, 2))
	}
	if n := s.Count().Files; n > 2*minFiles {
		t.Errorf("%d files are known", n)
	}
	if spent := s.files.budget - s.files.names; spent > 2*minFiles*len("/lib/99999") {
		t.Errorf("%d bytes of names", spent)
	}
}

// TestNames holds that names are kept within bounds.
func TestNames(t *testing.T) {
	s := seeded(Limits{Loads: 4})
	e := mapOf(base+2*ms, 1, 1, 1, 3)
	e.Name = "/a/name/that/is/longer/than/four/times/eight"
	s.Apply(e)
	s.Apply(mapOf(base+2*ms, 1, 1, 1, 4))
	s.Apply(event(trace.Exit, base+3*ms, 1, 1, 1))
	ended := s.Ended()
	if len(ended) != 1 || len(ended[0].Names) != 4 || ended[0].Names[2] != "" || ended[0].Names[3] != "/lib/4" {
		t.Errorf("%+v", ended)
	}
}
